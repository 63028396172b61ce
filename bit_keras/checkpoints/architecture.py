"""The shapes of a network's weights, and the network that a file's shapes belong to."""

import os
import re
from collections.abc import Mapping

from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.names import (
    DETECTOR_HEADS,
    HEAD_PATH,
    MAX_DEPTH,
    backbone_layers,
    is_of_detector,
    weight_key,
)
from bit_keras.zoo.variants import VARIANTS, Variant

_STEM = weight_key("root_block/standardized_conv2d", "kernel")
_UNIT = re.compile(r"resnet/block([1-4])/unit(\d\d)/a/group_norm/gamma")


def weight_shapes(variant: Variant, num_classes: int | None = None) -> dict[str, tuple[int, ...]]:
    """Returns {official key: shape} of every weight, in the order of the network.

    Args:
        variant: the architecture.
        num_classes: outputs of the head, None for no head.
    """
    shapes = {}
    for path, shape in backbone_layers(variant):
        weights = ("gamma", "beta") if path.endswith("group_norm") else ("kernel",)
        shapes |= {weight_key(path, weight): shape for weight in weights}
    if num_classes is not None:
        shapes[weight_key(HEAD_PATH, "kernel")] = (1, 1, variant.num_features, num_classes)
        shapes[weight_key(HEAD_PATH, "bias")] = (num_classes,)
    return shapes


def infer_variant(shapes: Mapping[str, tuple[int, ...]]) -> Variant | None:
    """Returns the architecture with the stem and the units of a file, None if no variant has them.

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
        CheckpointError: the file holds another variant than the requested one, or none was requested and the file
            holds no known variant; or it holds a detector.

    Example:
        >>> from bit_keras.checkpoints import locate, read_weights, resolve_variant, shapes_of
        >>> path, _ = locate("BiT-mini-R17x0.5")
        >>> resolve_variant(path, shapes_of(read_weights(path)), requested=None)
        'R17x0.5'
    """
    if any(map(is_of_detector, shapes)):
        raise CheckpointError(f"{path} holds a detector: bit_keras.detection.Detector.from_preset loads it")
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
    """Returns the number of outputs of the head in a file.

    Args:
        path: the file, for messages.
        shapes: {official key: shape} of the file.

    Raises:
        CheckpointError: the file has no head.

    Example:
        >>> from bit_keras.checkpoints import head_size, locate, read_weights, shapes_of
        >>> path, variant = locate("BiT-mini-R17x0.5")
        >>> head_size(path, shapes_of(read_weights(path)))
        360
    """
    shape = shapes.get(weight_key(HEAD_PATH, "bias"))
    if shape is None or len(shape) != 1:
        raise CheckpointError(f"{path} holds no head: give num_classes= for a new one")
    return shape[0]


def detector_sizes(path: str | os.PathLike, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int, int] | None:
    """Returns number of classes, width and depth of the detector in a file; None if it holds none.

    Args:
        path: the file, for messages.
        shapes: {official key: shape} of the file.

    Raises:
        CheckpointError: the file holds parts of a detector that do not tell its sizes.

    Example:
        >>> from bit_keras.checkpoints import detector_sizes, read_weights, shapes_of
        >>> detection.save_npz(detection.Detector("R17x0.5", num_classes=3, width=32, depth=1), "detector.npz")
        >>> detector_sizes("detector.npz", shapes_of(read_weights("detector.npz")))  # classes, width, depth
        (3, 32, 1)
    """
    if not any(map(is_of_detector, shapes)):
        return None
    classes, boxes = (shapes.get(weight_key(f"{head}/prediction/conv2d", "bias"), ()) for head in DETECTOR_HEADS)
    width = shapes.get(weight_key("pyramid/level3/conv2d", "kernel"), ())[-1:]
    convolutions = [weight_key(f"class_head/conv{index}/conv2d", "kernel") for index in range(1, MAX_DEPTH + 1)]
    depth = sum(key in shapes for key in convolutions)
    # A cell has 4 outputs per anchor for the box, and one per anchor and class.
    if not (len(classes) == len(boxes) == len(width) == 1 and depth and boxes[0] and classes[0] * 4 % boxes[0] == 0):
        raise CheckpointError(
            f"{path} holds an incomplete detector: class outputs {classes or 'missing'}, box outputs "
            f"{boxes or 'missing'}, width {width or 'missing'}, depth {depth}"
        )
    return classes[0] * 4 // boxes[0], width[0], depth


def _units(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """Number of units in each block."""
    blocks = [match[1] for match in map(_UNIT.fullmatch, shapes) if match]
    return tuple(blocks.count(block) for block in "1234")
