"""Hugging Face's vision networks, each from a tiny configuration.

A configuration gets fewer and narrower layers by the names of its fields. The few that need other values are in
`SPECIAL`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PretrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from benchmarks.matrix._subject import Built, Subject, image

TASKS = {
    "image classification": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "semantic segmentation": "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
    "instance segmentation": "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES",
    "universal segmentation": "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
    "image segmentation": "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES",
    "object detection": "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "depth estimation": "MODEL_FOR_DEPTH_ESTIMATION_MAPPING_NAMES",
    "backbone": "MODEL_FOR_BACKBONE_MAPPING_NAMES",
}

SIZE = 128  # of images, in pixels
SMALL: dict[str, Any] = {
    "image_size": SIZE,
    "pretrain_image_size": SIZE,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "vocab_size": 99,
    "num_queries": 10,
}
"""The value of a field of this name, if the configuration has the field with a larger number."""

_OCR_CONVOLUTIONS: dict[str, Any] = {"reduce_channel": (1, 1, 0), "return_channel": (1, 1, 0)}
for _ratio, _size in (("long", 7), ("mid", 5), ("short", 3)):
    _OCR_CONVOLUTIONS[f"vertical_long_to_small_conv_{_ratio}ratio"] = ((_size, 1), (1, 1), (_size // 2, 0))
    _OCR_CONVOLUTIONS[f"horizontal_small_to_long_conv_{_ratio}ratio"] = ((1, _size), (1, 1), (0, _size // 2))
    _OCR_CONVOLUTIONS[f"symmetric_conv_long_{_ratio}ratio"] = ((_size, _size), (1, 1), (_size // 2, _size // 2))
_OCR = {"intraclass_block_config": _OCR_CONVOLUTIONS, "scale_factor_list": [1, 2, 4, 8], "kernel_list": [3, 2, 2]}
_FOUR = [1, 2, 3, 4]  # all layers of a small transformer
_STAGES = ["stage1", "stage2", "stage3", "stage4"]
_HGNET = CONFIG_MAPPING["hgnet_v2"](out_features=_STAGES)  # the backbone of OCR that the default configurations lack

SPECIAL: dict[str, dict[str, Any]] = {
    "beit": {"out_indices": _FOUR},
    "convnext": {"hidden_sizes": [96, 192, 384, 768]},
    "convnextv2": {"hidden_sizes": [96, 192, 384, 768]},
    "cvt": {"depth": (1, 2, 3)},
    "data2vec-vision": {"out_indices": _FOUR},
    "depth_anything": {"reassemble_hidden_size": 64},
    "depth_pro": {"patch_size": 32, "intermediate_hook_ids": (3, 1), "merge_padding_value": 0},
    "donut-swin": {"window_size": 4},
    "dpt": {"backbone_out_indices": [0, 1, 2, 3]},
    "efficientnet": {"width_coefficient": 1.0, "depth_coefficient": 1.0, "hidden_dim": 1280},
    "focalnet": {"hidden_sizes": [192, 384, 768, 768]},
    "imagegpt": {"n_positions": 64, "n_layer": 2, "n_embd": 64, "use_cache": False},
    "lw_detr": {"projector_scale_factors": [1.0], "num_feature_levels": 1},
    "perceiver": {
        "num_latents": 32,
        "d_latents": 64,
        "num_self_attends_per_block": 2,
        "num_cross_attention_heads": 1,
        "num_self_attention_heads": 4,
    },
    "pp_doclayout_v2": {"class_thresholds": [0.5] * 25, "class_order": list(range(25))},
    "pp_lcnet_v4": {"_out_features": _STAGES, "_out_indices": _FOUR},
    "pp_ocrv5_server_det": _OCR,
    "pp_ocrv6_medium_det": {**_OCR, "backbone_config": _HGNET},
    "pp_ocrv6_small_det": {"layer_list_out_channels": [128, 512, 1024, 2048], "backbone_config": _HGNET},
    "prompt_depth_anything": {"reassemble_hidden_size": 64},
    "rf_detr_dinov2": {"patch_size": 16, "window_block_indexes": [0, 2]},
    "sapiens2": {"num_key_value_heads_per_layer": [4, 2, 2, 4]},
    "sapiens2_head": {
        "upsample_out_channels": [32, 32],
        "upsample_kernel_sizes": [4, 4],
        "conv_out_channels": [32],
        "conv_kernel_sizes": [1],
    },
    "gemma3_text": {"layer_types": ["full_attention"] * 4, "head_dim": 16, "num_key_value_heads": 2},
    "shieldgemma2": {
        "mm_tokens_per_image": 16,
        "boi_token_index": 96,
        "eoi_token_index": 97,
        "image_token_index": 98,
        "yes_token_index": 4,
        "no_token_index": 5,
    },
    "swin": {"window_size": 4},
    "timm_backbone": {"backbone": "resnet18"},
}
"""Values of the few fields that the rules do not shrink, by type of configuration."""

SIZES = {
    "PerceiverForImageClassificationFourier": 224,
    "PerceiverForImageClassificationConvProcessing": 224,
    "DepthProForDepthEstimation": SIZE,
}
"""The sizes of images for networks that take no other."""


def _numbers(below: int, *shape: int) -> Tensor:
    return torch.randint(0, below, shape, generator=torch.Generator().manual_seed(0))


def inputs_of(kind: str, size: int, config: PretrainedConfig) -> dict[str, Tensor]:
    """The inputs of a network of this type. The first of them is the one to be explained."""
    pixels = image(size, size)
    if kind == "imagegpt":  # a picture is a sequence of the numbers of colors
        return {"input_ids": _numbers(config.vocab_size - 1, 1, config.n_positions)}
    if kind == "siglip2":  # a picture is a list of its patches
        patch = config.vision_config.patch_size
        patches = (
            pixels.unfold(2, patch, patch).unfold(3, patch, patch).permute(0, 2, 3, 4, 5, 1).flatten(1, 2).flatten(2)
        )
        side = size // patch
        mask = torch.ones(1, side * side, dtype=torch.int32)
        return {"pixel_values": patches, "pixel_attention_mask": mask, "spatial_shapes": torch.tensor([[side, side]])}
    if kind == "shieldgemma2":  # a question about the picture
        begin, end, token = config.boi_token_index, config.eoi_token_index, config.image_token_index
        numbers = torch.tensor([[begin, *[token] * config.mm_tokens_per_image, end, 1, 2, 3]])
        return {"pixel_values": pixels, "input_ids": numbers, "token_type_ids": (numbers == token).long()}
    if kind == "oneformer":
        return {"pixel_values": pixels, "task_inputs": _numbers(config.text_encoder_vocab_size, 1, config.task_seq_len)}
    if kind == "videomt":
        return {"pixel_values_videos": image(size, size, 6).view(1, 2, 3, size, size)}
    return {"pixel_values": pixels}


def tiny(config: PretrainedConfig) -> PretrainedConfig:
    """The same configuration with few and narrow layers, in place, and so in the configurations within it."""
    for name, value in list(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            tiny(value)
        elif name in SMALL and isinstance(value, int) and value > SMALL[name]:
            setattr(config, name, SMALL[name])
        elif name == "image_size" and isinstance(value, (tuple, list)):
            setattr(config, name, type(value)((SIZE, SIZE)))
        elif name == "depths":
            setattr(config, name, type(value)(min(depth, 2) for depth in value))
    for name, value in SPECIAL.get(config.model_type, {}).items():
        setattr(config, name, value)
    depth = getattr(config, "num_hidden_layers", None)
    if len(getattr(config, "stage_names", ())) > len(SMALL) and depth is not None:  # one stage per layer
        names = ["stem", *(f"stage{number}" for number in range(1, depth + 1))]
        config.stage_names, last = names, names[-len(config.out_features) :]
        config._out_features, config._out_indices = last, [names.index(name) for name in last]
    return config


def build(kind: str, name: str) -> Built:
    config = tiny(CONFIG_MAPPING[kind]())
    network = getattr(transformers, name)(config)
    size = getattr(config, "image_size", None)
    size = SIZES.get(name, size if isinstance(size, int) else SIZE)
    dims = {"siglip2": (1,), "videomt": (1, 3, 4)}.get(kind)
    return Built(network, inputs_of(kind, size, config), dims)


def subjects() -> list[Subject]:
    """Every network of a vision task, once."""
    by_name: dict[str, Subject] = {}
    for task, mapping in TASKS.items():
        for kind, names in getattr(modeling_auto, mapping).items():
            for name in (names,) if isinstance(names, str) else names:
                by_name.setdefault(name, Subject(name, task, partial(build, kind, name)))
    return list(by_name.values())
