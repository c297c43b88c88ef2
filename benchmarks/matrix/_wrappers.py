"""What people put around a network: wrappers of torch and of other libraries, and of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

import torch
import torchvision
from torch import Tensor, nn

from benchmarks.matrix._subject import Built, Subject, image, with_random_weights

SIZE = 64


class Normalized(nn.Module):
    """A network that normalizes images itself, with buffers."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.network((x - self.mean) / self.std)
        return scores


class Ensemble(nn.Module):
    """The mean of the probabilities of several networks."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([network(x).softmax(1) for network in self.networks]).mean(0)


class Passing(nn.Module):
    """A wrapper that hands on whatever it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.network(*args, **kwargs)


class Checkpointed(nn.Module):
    """A network that stores no activations of its first part while it trains."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        from torch.utils.checkpoint import checkpoint

        scores: Tensor = checkpoint(self.network, x, use_reentrant=False)
        return scores


class HalfInside(nn.Module):
    """A network that runs in bfloat16 inside, whatever its weights are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            scores: Tensor = self.network(x)
        return scores.float()


class Frames(nn.Module):
    """A clip (N, T, 3, H, W), frame by frame, with a recurrent layer behind."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.fc = nn.Identity()
        self.network = network
        self.memory = nn.GRU(512, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, clip: Tensor) -> Tensor:
        frames = torch.stack([self.network(clip[:, number]) for number in range(clip.shape[1])], 1)
        scores: Tensor = self.head(self.memory(frames)[0][:, -1])
        return scores


def resnet() -> nn.Module:
    network: nn.Module = torchvision.models.resnet18()
    return network.eval()


def lora(network: nn.Module, targets: list[str]) -> nn.Module:
    import peft

    config = peft.LoraConfig(target_modules=targets, r=4, init_lora_weights=False)
    wrapped: nn.Module = peft.get_peft_model(network, config)
    return wrapped


def lora_in_timm() -> nn.Module:
    import timm

    return lora(timm.create_model("vit_tiny_patch16_224"), ["qkv"])


def lora_in_transformers() -> nn.Module:
    from benchmarks.matrix import _huggingface

    return lora(_huggingface.build("vit", "ViTForImageClassification").network, ["q_proj", "v_proj"])


def exported() -> nn.Module:
    network: nn.Module = torch.export.export(with_random_weights(resnet()), (image(SIZE, SIZE),)).module()
    return network


def compiled() -> nn.Module:
    network: Any = torch.compile(resnet(), backend="eager")
    return cast(nn.Module, network)


def weight_normed() -> nn.Module:
    network: Any = resnet()
    nn.utils.parametrizations.weight_norm(network.conv1)
    nn.utils.parametrizations.spectral_norm(network.fc)
    return cast(nn.Module, network)


def fused() -> nn.Module:
    network: Any = resnet()
    network.conv1, network.bn1 = nn.utils.fusion.fuse_conv_bn_eval(network.conv1, network.bn1), nn.Identity()
    return cast(nn.Module, network)


def normalized_before() -> nn.Module:
    normalize: nn.Module = torchvision.transforms.Normalize((0.5,) * 3, (0.2,) * 3)
    return nn.Sequential(normalize, resnet())


def features_of_timm() -> nn.Module:
    import timm

    network: nn.Module = timm.create_model("resnet18", features_only=True)
    return network


def features_of_torchvision() -> nn.Module:
    from torchvision.models.feature_extraction import create_feature_extractor

    network: nn.Module = create_feature_extractor(resnet(), ["layer2", "layer4"])
    return network


WRAPPERS: dict[str, Callable[[], nn.Module]] = {
    "DataParallel": lambda: nn.DataParallel(resnet()),
    "AveragedModel": lambda: torch.optim.swa_utils.AveragedModel(resnet()),
    "torch.export": exported,
    "torch.fx": lambda: torch.fx.symbolic_trace(resnet()),
    "torch.compile": compiled,
    "PEFT, LoRA in a ViT of timm": lora_in_timm,
    "PEFT, LoRA in a ViT of transformers": lora_in_transformers,
    "weight norm and spectral norm": weight_normed,
    "fused convolution and batch norm": fused,
    "normalization inside": lambda: Normalized(resnet()),
    "normalization in a Sequential": normalized_before,
    "ensemble": lambda: Ensemble(resnet(), torchvision.models.squeezenet1_1()),
    "*args, **kwargs": lambda: Passing(resnet()),
    "checkpoint": lambda: Checkpointed(resnet()),
    "autocast": lambda: HalfInside(resnet()),
    "features of timm": features_of_timm,
    "feature extractor of torchvision": features_of_torchvision,
    "frames and a GRU": lambda: Frames(resnet()),
}


def build(name: str) -> Built:
    network = WRAPPERS[name]()
    if name == "torch.export":  # which has no eval mode, and random weights already
        return Built(network, image(SIZE, SIZE), fixed=True)
    if name == "frames and a GRU":
        return Built(network, image(3 * SIZE, SIZE).view(1, 3, 3, SIZE, SIZE), dims=(3, 4))
    if name == "PEFT, LoRA in a ViT of transformers":
        return Built(network, {"pixel_values": image(128, 128)})
    return Built(network, image(224, 224) if name == "PEFT, LoRA in a ViT of timm" else image(128, 128))


def subjects() -> Iterator[Subject]:
    """Wrappers around a ResNet, if nothing else is said."""
    for name in WRAPPERS:
        yield Subject(name, "wrappers", partial(build, name))
