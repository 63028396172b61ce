"""Checks of what a detector is trained on: {"boxes": [N, G, 4], "labels": [N, G]}."""

from collections.abc import Mapping

import keras
import numpy as np

from bit_keras.system.checks import WrongType, describe


def check_structure(targets) -> None:
    """Checks names and shapes, which are known before a step runs.

    Args:
        targets: {"boxes": float [N, G, 4], 0 padded; "labels": integers [N, G], -1 padded}, G of 1 or more.

    Raises:
        TypeError: they are not a dict with these names; also a ValueError.
        ValueError: a shape is another one.
    """
    if not isinstance(targets, Mapping) or set(targets) != {"boxes", "labels"}:
        received = f"a dict with {', '.join(map(str, targets))}" if isinstance(targets, Mapping) else describe(targets)
        raise WrongType(
            'the targets of a detector must be {"boxes": [N, G, 4], "labels": [N, G]}, boxes as top, left, bottom, '
            f"right in pixels; got {received}"
        )
    boxes, labels = (tuple(np.shape(targets[name])) for name in ("boxes", "labels"))
    if len(boxes) != 3 or boxes[2] != 4:
        raise ValueError(f"boxes must be [N, G, 4], got shape {boxes}")
    if boxes[1] == 0:
        raise ValueError("boxes must have room for at least one box per image: pad with zeros and the label -1")
    if len(labels) != 2 or any(None not in pair and pair[0] != pair[1] for pair in zip(labels, boxes)):
        raise ValueError(f"labels must be [N, G], one per box; got shape {labels} for boxes {boxes}")


def check_targets(targets, num_classes: int) -> None:
    """Checks targets with values: their structure, labels and boxes.

    Args:
        targets: as in `check_structure`.
        num_classes: of the detector.

    Raises:
        TypeError, ValueError: as in `check_structure`; or labels are not integers below `num_classes`, or a box is NaN,
            infinite, or has its bottom above its top or its right edge left of its left one.
    """
    check_structure(targets)
    boxes, labels = (keras.ops.convert_to_numpy(targets[name]) for name in ("boxes", "labels"))
    if not np.issubdtype(labels.dtype, np.integer):
        raise WrongType(f"labels must be integers, got {labels.dtype}")
    if labels.size and labels.max() >= num_classes:
        raise ValueError(
            f"labels must be less than num_classes={num_classes}, got {labels.max()}: they count from 0, with -1 for "
            "padding"
        )
    if labels.size and labels.min() < -1:
        raise ValueError(f"labels must be -1, for padding, or more, got {labels.min()}")
    boxes = boxes[labels >= 0]
    if not np.isfinite(boxes).all():
        raise ValueError("boxes must be finite, got NaN or infinity")
    if is_turned := (boxes[:, 2:] < boxes[:, :2]).any(-1).nonzero()[0].tolist():
        raise ValueError(
            f"boxes must be top, left, bottom, right in this order, got {boxes[is_turned[0]].tolist()}, as for "
            f"{len(is_turned) - 1} more"
        )
