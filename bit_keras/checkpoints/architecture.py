"""The shapes of a network's weights, and the network that a file's shapes belong to."""

import os
import re
from collections.abc import Mapping

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.names import HEAD_PATH, backbone_paths, weight_key
from bit_keras.zoo.variants import EXPANSION, VARIANTS, Variant

_STEM = weight_key("root_block/standardized_conv2d", "kernel")
_UNIT = re.compile(r"resnet/block([1-4])/unit(\d\d)/a/group_norm/gamma")


def weight_shapes(variant: Variant, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns {official key: shape} of every weight, in the order of the network.

    Args:
        variant: the architecture.
        num_classes: outputs of the head, None for no head.
    """
    shapes = {}
    for path in backbone_paths(variant):
        if path.endswith("group_norm"):
            channels = (_norm_channels(path, variant),)
            shapes |= {weight_key(path, "gamma"): channels, weight_key(path, "beta"): channels}
        else:
            shapes[weight_key(path, "kernel")] = _kernel_shape(path, variant)
    if num_classes is not None:
        shapes[weight_key(HEAD_PATH, "kernel")] = (1, 1, variant.num_features, num_classes)
        shapes[weight_key(HEAD_PATH, "bias")] = (num_classes,)
    return shapes


def infer_variant(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """Returns the architecture with the stem and the units of a file, None if there is no such row.

    Args:
        shapes: {official key: shape} of the file, complete or not.
    """
    for row in VARIANTS.values():
        if row.units == _units(shapes) and shapes.get(_STEM, ())[-1:] == (row.stem_filters,):
            return row
    return None


def resolve_variant(path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]], requested: str | None) -> str:
    """Returns the name of a file's architecture.

    Args:
        path: the file, for messages.
        shapes: {official key: shape} of the file.
        requested: name of the variant that it must be, None for any.

    Raises:
        CheckpointError: the file holds another variant than the requested one, or none was requested and it holds
            none that is known.
    """
    held = infer_variant(shapes)
    if requested is None and held is None:
        stem = shapes.get(_STEM)
        raise CheckpointError(
            f"{path} holds no known architecture: units {_units(shapes)}, stem {'missing' if stem is None else stem}; "
            f"known: {', '.join(VARIANTS)}"
        )
    if requested is not None and held is not None and held.name != requested:
        raise CheckpointError(f"{path} holds {held.name}, not {requested}")
    return requested or held.name


def head_size(path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Returns the outputs of the head in a file; raises CheckpointError if it has none."""
    shape = shapes.get(weight_key(HEAD_PATH, "bias"))
    if shape is None or len(shape) != 1:
        raise CheckpointError(f"{path} holds no head: give num_classes= for a new one")
    return shape[0]


def _units(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Number of units in each block."""
    blocks = [match[1] for match in map(_UNIT.fullmatch, shapes) if match]
    return tuple(blocks.count(block) for block in "1234")


def _position(path: str) -> tuple[int, int, str]:
    """Block, unit and the rest of a path such as "block2/unit01/a/group_norm"."""
    block, unit, rest = path.split("/", 2)
    return int(block.removeprefix("block")), int(unit.removeprefix("unit")), rest


def _input_channels(block: int, unit: int, variant: Variant) -> int:
    if block == unit == 1:
        return variant.stem_filters
    return EXPANSION * variant.bottleneck_filters(block if unit > 1 else block - 1)


def _norm_channels(path: str, variant: Variant) -> int:
    if path == "group_norm":
        return variant.num_features
    block, unit, rest = _position(path)
    return _input_channels(block, unit, variant) if rest.startswith("a/") else variant.bottleneck_filters(block)


def _kernel_shape(path: str, variant: Variant) -> tuple[int, int, int, int]:
    """[height, width, in, out]."""
    if path.startswith("root_block/"):
        return (7, 7, 3, variant.stem_filters)
    block, unit, rest = _position(path)
    inputs, filters = _input_channels(block, unit, variant), variant.bottleneck_filters(block)
    return {
        "a/standardized_conv2d": (1, 1, inputs, filters),
        "a/proj/standardized_conv2d": (1, 1, inputs, EXPANSION * filters),
        "b/standardized_conv2d": (3, 3, filters, filters),
        "c/standardized_conv2d": (1, 1, filters, EXPANSION * filters),
    }[rest]
