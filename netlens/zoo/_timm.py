"""The networks of timm. Its adapter knows their preprocessing and classes."""

from __future__ import annotations

from types import ModuleType

from torch import nn

from netlens.checkpoints import SkipInit, check_weights_exist, existing_file, load_weights
from netlens.errors import WeightsError, closest
from netlens.extras import extra
from netlens.weights import PRETRAINED, RANDOM
from netlens.zoo._hub import cached, reachable
from netlens.zoo._source import WORDS, Opened, Source, Weights, one_line

_PREFIX = "timm/"


class Timm(Source):
    """Names such as "timm/resnet50.a1_in1k". The tag after the dot names the published weights."""

    def has(self, name: str) -> bool:
        return name.startswith(_PREFIX)

    def open(self, name: str, weights: Weights) -> Opened:
        timm, own_name = _library(name), _checked(name)
        if weights == RANDOM:
            return Opened(timm.create_model(own_name).eval())
        if weights == PRETRAINED:
            return Opened(_pretrained(timm, name, own_name).eval())
        path = existing_file(weights, name)
        with SkipInit():
            network = timm.create_model(own_name)
        head = load_weights(network, path)
        return Opened(network.eval(), head=head)

    def check(self, name: str, weights: Weights) -> None:
        _checked(name)
        check_weights_exist(name, weights, WORDS)


def _library(name: str) -> ModuleType:
    with extra("timm", f"{name} needs timm", error=WeightsError):
        import timm
    module: ModuleType = timm
    return module


def _checked(name: str) -> str:
    timm = _library(name)
    own_name = name.removeprefix(_PREFIX)
    architecture, _, tag = own_name.partition(".")
    if not timm.is_model(architecture):
        raise WeightsError(
            f"timm has no network {architecture!r}. Closest: {closest(architecture, timm.list_models())}."
        )
    if tag:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        if tag not in tags:
            raise WeightsError(f"timm has no weights {tag!r} of {architecture}. Closest: {closest(tag, tags)}.")
    return own_name


def _pretrained(timm: ModuleType, name: str, own_name: str) -> nn.Module:
    """The network with timm's published weights. timm reads .safetensors, or tensors only."""
    repository = timm.get_pretrained_cfg(own_name).hf_hub_id
    source: dict[str, str] = {}
    if repository and not reachable():
        file = cached(repository, "model.safetensors")
        if file is None:
            raise WeightsError(
                f"the weights of {name} are not cached, and the hub of Hugging Face cannot be reached; fetch "
                f"model.safetensors of {repository} elsewhere and pass its path as "
                "weights= or --weights, or pass 'random'."
            )
        source = {"file": str(file)}
    try:
        network: nn.Module = timm.create_model(own_name, pretrained=True, pretrained_cfg_overlay=source)
    except (RuntimeError, OSError) as error:
        raise WeightsError(f"{name} has no weights ({one_line(error)}); give a file, or 'random'.") from error
    return network
