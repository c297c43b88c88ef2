"""State: everything that an optimization needs to continue as if it had never stopped, and the file of the state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from netlens.heatmaps import ResultError
from netlens.results import storage

_TENSOR = "tensor"


@dataclass(frozen=True, eq=False)
class State:
    """The state of an optimization: tensors and numbers, and no code.

    Args:
        step: The number of finished steps.
        parameters: The tensors that the optimization changes, each (N, ...).
        history: (step, N), the objective at each step.
        optimizers: The state of each optimizer, by the index of the tensor. There is one optimizer for all samples, or
            one for each sample.
        done: (N,), whether a sample has finished early.
    """

    step: int
    parameters: tuple[Tensor, ...]
    history: Tensor
    optimizers: tuple[Mapping[int, Mapping[str, Any]], ...]
    done: Tensor

    def packed(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors by name, and a header with everything else, as values of JSON."""
        tensors = {f"parameters.{i}": tensor for i, tensor in enumerate(self.parameters)}
        tensors |= {"history": self.history, "done": self.done}
        optimizers = [
            [[position, _without_tensors(memory, tensors)] for position, memory in optimizer.items()]
            for optimizer in self.optimizers
        ]
        return tensors, {"step": self.step, "parameters": len(self.parameters), "optimizers": optimizers}

    @classmethod
    def unpacked(cls, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> State:
        """The inverse of `packed`."""
        return cls(
            step=header["step"],
            parameters=tuple(tensors[f"parameters.{i}"] for i in range(header["parameters"])),
            history=tensors["history"],
            optimizers=tuple(
                {position: _with_tensors(memory, tensors) for position, memory in optimizer}
                for optimizer in header["optimizers"]
            ),
            done=tensors["done"],
        )

    def save(self, path: str | Path) -> Path:
        """Write the state to a .safetensors file. If this fails, an earlier file stays unchanged."""
        if Path(path).suffix != ".safetensors":
            raise ResultError(f"{path} must end in .safetensors.")
        tensors, header = self.packed()
        return storage.write(path, storage.pack(".safetensors", tensors, {"state": header}))

    @classmethod
    def load(cls, path: str | Path) -> State:
        """Read a file that `save` wrote: the same bits, on the CPU."""
        tensors, header = storage.unpack(path)
        if "state" not in header:
            raise ResultError(f"{path} holds no state of an optimization.")
        with storage.readable(path):
            return cls.unpacked(tensors, header["state"])


def _without_tensors(value: Any, tensors: dict[str, Tensor]) -> Any:
    """The value in which a name replaces each tensor. The tensors are added to `tensors` by these names."""
    if isinstance(value, Tensor):
        name = f"optimizer.{len(tensors)}"
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {str(key): _without_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_tensors(item, tensors) for item in value]
    return value


def _with_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `_without_tensors`."""
    if isinstance(value, Mapping):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_tensors(item, tensors) for item in value]
    return value
