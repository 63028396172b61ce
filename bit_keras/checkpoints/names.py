"""Names of layers and of the entries in the official weight files.

An official key such as "resnet/block2/unit01/a/standardized_conv2d/kernel" is the prefix "resnet", the path
of a layer and the name of a weight. The Keras layer carries the path with "_" for "/", which Keras forbids.
"""

import re
from collections.abc import Iterator

import numpy as np

from bit_keras.zoo.variants import VARIANTS, UnitRow, Variant

HEAD = "head"
# Weights of a head with LoRA, whose kernel is kernel + scale * a @ b.
LORA = ("lora_kernel_a", "lora_kernel_b", "lora_scale")
# Official path of the head, a 1x1 convolution in the files and a dense layer here.
HEAD_PATH = "head/conv2d"
# Of a detector: the levels of its pyramid, those of them that read a stage of the backbone, and its heads.
PYRAMID_LEVELS, LATERAL_LEVELS = (3, 4, 5, 6, 7), (3, 4, 5)
DETECTOR_HEADS = ("class_head", "box_head")
MAX_DEPTH = 16  # convolutions in a head; RetinaNet has 4


def layer_name(path: str) -> str:
    """Keras name of the layer at an official path."""
    return path.replace("/", "_")


def unit_path(row: UnitRow) -> str:
    """Official path of a residual unit, for example "block2/unit01"."""
    return f"block{row.block}/unit{row.unit:02d}"


def backbone_layers(variant: Variant) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields every layer of the backbone that has weights, in the order of the network.

    A layer is its official path and the shape of its weights: the kernel [height, width, inputs, filters] of a
    convolution; scale and shift [channels] of a normalization.
    """
    yield "root_block/standardized_conv2d", (7, 7, 3, variant.stem_filters)
    for row in variant.unit_rows():
        path, inputs, filters, outputs = unit_path(row), row.inputs, row.filters, row.outputs
        yield f"{path}/a/group_norm", (inputs,)
        yield f"{path}/a/standardized_conv2d", (1, 1, inputs, filters)
        yield f"{path}/b/group_norm", (filters,)
        yield f"{path}/b/standardized_conv2d", (3, 3, filters, filters)
        yield f"{path}/c/group_norm", (filters,)
        yield f"{path}/c/standardized_conv2d", (1, 1, filters, outputs)
        if row.has_projection:
            yield f"{path}/a/proj/standardized_conv2d", (1, 1, inputs, outputs)
    yield "group_norm", (variant.num_features,)


def backbone_paths(variant: Variant) -> Iterator[str]:
    """Yields the official path of every layer of the backbone that has weights, in the order of the network."""
    return (path for path, _ in backbone_layers(variant))


def detector_paths(depth: int) -> Iterator[str]:
    """Yields the path of every layer that a detector has above its backbone and that has weights.

    No published file has them; they are named as the official ones.

    Args:
        depth: convolutions in each head before its prediction.
    """
    for level in PYRAMID_LEVELS:
        if level in LATERAL_LEVELS:
            yield f"pyramid/level{level}/lateral/conv2d"
        yield f"pyramid/level{level}/conv2d"
        yield f"pyramid/level{level}/group_norm"
    for head in DETECTOR_HEADS:
        for index in range(1, depth + 1):
            yield f"{head}/conv{index}/conv2d"
            yield from (f"{head}/conv{index}/level{level}/group_norm" for level in PYRAMID_LEVELS)
        yield f"{head}/prediction/conv2d"


def layer_path(name: str) -> str | None:
    """Official path of the layer that Keras calls `name` in any BiT or detector, None if none has such a layer."""
    return _LAYER_PATHS.get(name)


def weight_key(path: str, weight: str) -> str:
    """Official key of one weight of the layer at `path`."""
    return f"resnet/{path}/{weight}"


_LAYER_PATHS = {
    **{layer_name(path): path for row in VARIANTS.values() for path in backbone_paths(row)},
    **{layer_name(path): path for path in detector_paths(MAX_DEPTH)},
    HEAD: HEAD_PATH,
}


def is_head(key: str) -> bool:
    """Tells whether an official key belongs to the head."""
    return key.startswith(f"resnet/{HEAD}/")


def is_of_detector(key: str) -> bool:
    """Tells whether a key belongs to the layers of a detector above its backbone."""
    return key.startswith(tuple(f"resnet/{part}/" for part in ("pyramid", *DETECTOR_HEADS)))


def as_convolution(key: str, array: np.ndarray) -> np.ndarray:
    """Returns a head's dense kernel [C, K] as the 1x1 convolution [1, 1, C, K] of the official files, else `array`."""
    return array[None, None] if key == weight_key(HEAD_PATH, "kernel") and array.ndim == 2 else array


def normalize_key(key: str) -> str:
    """Removes the number that some files append to layers: "standardized_conv2d_17" is "standardized_conv2d"."""
    return re.sub(r"(standardized_conv2d|group_norm|conv2d)_\d+(?=/)", r"\1", key)
