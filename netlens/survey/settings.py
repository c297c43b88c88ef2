"""Settings: what torch computes with, the same in each process of a survey."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from netlens.errors import NetLensError
from netlens.version import __version__


@dataclass(frozen=True)
class Settings:
    """Settings of torch on which the last digits of a result depend, and the kind of machine and of software.

    Args:
        device: The type of the device.
        dtype: The default type of numbers.
        precision: The precision of products of matrices in float32.
        onednn: Whether oneDNN computes on the CPU.
        machine: The processor and its instructions, or the GPU.
        versions: Of Python, torch and netlens, with a hash of its code.
    """

    device: str
    dtype: torch.dtype
    precision: str
    onednn: bool
    machine: str
    versions: tuple[str, ...]

    @classmethod
    def now(cls, device: torch.device) -> Settings:
        """The settings of this process for a device."""
        if device.type == "cuda":
            machine = torch.cuda.get_device_name(device)
        else:
            machine = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
        versions = (platform.python_version(), torch.__version__, f"{__version__}+{_code_of_netlens()}")
        precision, onednn = torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled
        return cls(device.type, torch.get_default_dtype(), precision, bool(onednn), machine, versions)

    def agree(self, device: torch.device) -> None:
        """Refuse another kind of machine or software in this process, on which last digits would differ.

        Raises:
            NetLensError: This process has others.
        """
        here = Settings.now(device)
        if (here.machine, here.versions) != (self.machine, self.versions):
            raise NetLensError(
                f"a process of the survey runs on {here.machine} with {_versions(here)}, and the survey itself on "
                f"{self.machine} with {_versions(self)}, so that last digits would differ. Use machines of one kind, "
                "with the same software."
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block, torch computes with these settings, on one thread, without gradients and autocast."""
        threads, before = torch.get_num_threads(), Settings.now(torch.device("cpu"))
        try:
            torch.set_num_threads(1)  # more would add in another order
            self._set()
            with torch.no_grad(), torch.autocast(self.device, enabled=False):
                yield
        finally:
            before._set()
            torch.set_num_threads(threads)

    def _set(self) -> None:
        if torch.get_default_dtype() != self.dtype:
            torch.set_default_dtype(self.dtype)
        if torch.get_float32_matmul_precision() != self.precision:
            torch.set_float32_matmul_precision(self.precision)
        if bool(torch.backends.mkldnn.enabled) is not self.onednn:
            torch.backends.mkldnn.enabled = self.onednn  # type: ignore[assignment]  # a property of the module


def _versions(settings: Settings) -> str:
    names = ("Python", "torch", "netlens")
    return ", ".join(f"{name} {version}" for name, version in zip(names, settings.versions, strict=True))


@cache
def _code_of_netlens() -> str:
    """A hash of the files of netlens, because in a checkout its version says little about its code.

    What Python has compiled says less: pytest compiles the code of its plugins, and so that of netlens, in its own way.
    """
    digest = hashlib.sha256()
    for package in ("netlens", "netlens.adapters"):
        spec = find_spec(package)
        for folder in [] if spec is None else spec.submodule_search_locations or []:
            for path in sorted(Path(folder).rglob("*.py")):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
