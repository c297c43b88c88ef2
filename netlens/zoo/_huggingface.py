"""The networks of Hugging Face transformers: from the hub, or from a folder. Code of a repository is never run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from netlens.adapters.huggingface import PROCESSORS
from netlens.checkpoints import check_weights_exist, load_weights
from netlens.errors import WeightsError
from netlens.extras import extra
from netlens.weights import PRETRAINED
from netlens.zoo._hub import cached, reachable
from netlens.zoo._source import WORDS, Opened, Source, Weights, one_line

_PREFIX = "hf/"
_CONFIG = "config.json"
_CODE = "trust_remote_code"


class HuggingFace(Source):
    """Names such as "hf/google/vit-base-patch16-224"; and folders with config.json and .safetensors."""

    def has(self, name: str) -> bool:
        # a folder that happens to have the name of a network of torchvision does not hide that network
        is_folder = Path(name).is_dir() and ((Path(name) / _CONFIG).is_file() or len(Path(name).parts) > 1)
        return name.startswith(_PREFIX) or is_folder

    def open(self, name: str, weights: Weights) -> Opened:
        self.check(name, weights)
        if (folder := _folder_of_timm(name)) is not None:
            return _of_timm(name, folder, weights)
        transformers = _library(name)
        location = name.removeprefix(_PREFIX)
        options = {"trust_remote_code": False, "local_files_only": Path(location).is_dir() or not reachable()}
        if not Path(location).is_dir() and options["local_files_only"] and cached(location, _CONFIG) is None:
            raise WeightsError(
                f"{name} is not cached, and the hub of Hugging Face cannot be reached; fetch its {_CONFIG} and "
                ".safetensors elsewhere, and pass the path of their folder."
            )
        with _quiet(transformers), _errors_of_one_line(name):
            config = transformers.AutoConfig.from_pretrained(location, **options)
            network = _network(transformers, config, location, weights, options)
            if not options["local_files_only"]:
                _fetch_processor(location)
        return Opened(network.eval(), head=None if weights in WORDS else load_weights(network, weights))

    def check(self, name: str, weights: Weights) -> None:
        if not name.startswith(_PREFIX) and not (Path(name) / _CONFIG).is_file():
            raise WeightsError(f"the folder {name} has no {_CONFIG}; give the folder of a network of Hugging Face.")
        check_weights_exist(name, weights, WORDS)


def _library(name: str) -> ModuleType:
    with extra("hf", f"{name} needs transformers", error=WeightsError):
        import transformers
    module: ModuleType = transformers
    return module


def _network(
    transformers: ModuleType, config: Any, location: str, weights: Weights, options: dict[str, bool]
) -> nn.Module:
    named = (getattr(config, "architectures", None) or [""])[0]
    cls = getattr(transformers, named, None) or transformers.AutoModelForImageClassification
    if weights != PRETRAINED:
        network: nn.Module = (cls.from_config if hasattr(cls, "from_config") else cls)(config)
        return network
    # float32, because half precision is slow and coarse on a CPU
    network, loading_info = cls.from_pretrained(
        location, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **options
    )
    missing = sorted(map(str, [*loading_info["missing_keys"], *loading_info["mismatched_keys"]]))
    if missing:
        raise WeightsError(
            f"{location} has no weights for {missing[0]!r} of {type(network).__name__} ({len(missing)} tensors); give "
            "a network whose weights are whole."
        )
    return network


def _fetch_processor(location: str) -> None:
    """Download the processor of a network, if it has one, to where its adapter looks for it."""
    from huggingface_hub import hf_hub_download

    for file in PROCESSORS:
        with suppress(OSError):  # a network need not have one; then its adapter says that the preprocessing is a guess
            hf_hub_download(location, file)


def _folder_of_timm(name: str) -> Path | None:
    """The folder, if its config is one of timm, which names an architecture and no `model_type`."""
    path = Path(name)
    if not path.is_dir():
        return None
    try:
        config = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path / _CONFIG} cannot be read ({one_line(error)}); save the network again.") from error
    return path if isinstance(config, dict) and "architecture" in config and "model_type" not in config else None


def _of_timm(name: str, folder: Path, weights: Weights) -> Opened:
    with extra("timm", f"{name} is a network of timm", error=WeightsError):
        import timm
    with _errors_of_one_line(name):
        network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=weights == PRETRAINED)
    head = None if weights in WORDS else load_weights(network, weights)
    return Opened(network.eval(), head=head)


@contextmanager
def _errors_of_one_line(name: str) -> Iterator[None]:
    """Within the block, errors of the library become errors of one line."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        if _CODE in str(error):
            raise WeightsError(
                f"{name} needs code of its own repository, which netlens never runs; make the network yourself, and "
                "give the module to NetLens."
            ) from error
        raise WeightsError(
            f"{name} cannot be opened ({one_line(error)}); pass a folder with {_CONFIG} and .safetensors instead."
        ) from error


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Within the block, the library reports nothing and shows no bars."""
    log = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()
