"""MONAI's networks for images and volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from monai.networks import nets
from torch import nn

from benchmarks.matrix._subject import Built, Subject, image, volume


def subjects() -> Iterator[Subject]:
    unet = {"in_channels": 1, "out_channels": 3, "channels": (8, 16, 32), "strides": (2, 2)}
    kernels = {"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2]}
    plain = {"in_channels": 1, "out_channels": 3}
    transformer = {"img_size": 32, "hidden_size": 48, "mlp_dim": 96, "num_heads": 4}
    makers: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
        "UNet": (nets.UNet, {**unet, "num_res_units": 2}),
        "BasicUNet": (nets.BasicUNet, {**plain, "features": (8, 8, 16, 16, 32, 8)}),
        "BasicUNetPlusPlus": (nets.BasicUNetPlusPlus, {**plain, "features": (8, 8, 16, 16, 32, 8)}),
        "AttentionUnet": (nets.AttentionUnet, unet),
        "DynUNet": (nets.DynUNet, {**plain, **kernels, "filters": [8, 16, 32]}),
        "SegResNet": (nets.SegResNet, {**plain, "init_filters": 8}),
        "VNet": (nets.VNet, {}),
        "HighResNet": (nets.HighResNet, plain),
        "FlexibleUNet": (nets.FlexibleUNet, {**plain, "backbone": "efficientnet-b0"}),
        "UNETR": (nets.UNETR, {**plain, **transformer, "feature_size": 8}),
        "SwinUNETR": (nets.SwinUNETR, {**plain, "feature_size": 12}),
        "MedNeXt": (nets.MedNeXt, {**plain, "init_filters": 8}),
        "DenseNet121": (nets.DenseNet121, plain),
        "ResNet": (nets.resnet18, {"n_input_channels": 1, "num_classes": 3}),
        "SEResNet50": (nets.SEResNet50, {"in_channels": 1, "num_classes": 3}),
        "EfficientNetBN": (nets.EfficientNetBN, {"model_name": "efficientnet-b0", "in_channels": 1, "num_classes": 3}),
        "ViT": (
            nets.ViT,
            {"in_channels": 1, "patch_size": 8, **transformer, "num_layers": 2, "classification": True},
        ),
        "AutoEncoder": (nets.AutoEncoder, {**unet, "strides": (2, 2, 2)}),
    }

    def build(name: str, dims: int) -> Built:
        make, options = makers[name]
        options = {**options, "spatial_dims": dims}
        if name == "DynUNet":
            options["norm_name"] = "instance"
        if name in ("EfficientNetBN",):
            options["pretrained"] = False
        x = image(64, 64, 1) if dims == 2 else volume(32)
        if name in ("UNETR", "ViT"):
            x = image(32, 32, 1) if dims == 2 else volume(32)
        if name in ("SwinUNETR", "FlexibleUNet", "EfficientNetBN", "DenseNet121"):
            x = image(64, 64, 1) if dims == 2 else volume(64)
        return Built(make(**options), x)

    for name in makers:
        for dims in (2, 3):
            yield Subject(f"{name}, {dims}-D", "MONAI", partial(build, name, dims))
