"""The worst mistakes of a detector: objects that are not there, and objects that it does not find."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bit_keras.detection.evaluation.coco import Evaluator

IOU = 0.5  # of a box and what finds it


class Mistake(NamedTuple):
    """A false alarm or a missed object.

    Attributes:
        index: of the image in `source.test`.
        label: its class.
        box: [4], [top, left, bottom, right] in pixels of the original image.
        score: of a false alarm; None for a missed object.
        other: the class that is there, or that was found there, in place of it, with an IoU of 0.5 or more; None if
            nothing is.
    """

    index: int
    label: int
    box: np.ndarray
    score: float | None = None
    other: int | None = None


def false_alarms(evaluator: Evaluator, most: int) -> list[Mistake]:
    """Returns the detections with the highest scores whose IoU with every box of their class is below 0.5.

    What lies for the most part in an ignored box of its class is none, by COCO's rule for crowds; a second detection of
    the same object is none either.
    """
    found = sorted(_false_alarms(evaluator), key=lambda mistake: -mistake.score)
    return found[:most]


def misses(evaluator: Evaluator, most: int, score: float) -> list[Mistake]:
    """Returns the largest objects that no detection of their class and above a score has an IoU of 0.5 or more with.

    Ignored boxes are none.
    """
    found = sorted(_misses(evaluator, score), key=lambda mistake: -_area(mistake.box))
    return found[:most]


def _false_alarms(evaluator: Evaluator) -> Iterator[Mistake]:
    for index, truth in enumerate(evaluator.source.test.boxes):
        boxes, scores, classes = evaluator.found(index)
        overlaps = overlap(boxes, truth.corners, truth.ignored)
        of_class = classes[:, None] == truth.labels
        is_right = ((overlaps >= IOU) & of_class).any(axis=1)
        for number in np.flatnonzero(~is_right):
            other = _other(overlaps[number], truth.labels)
            yield Mistake(index, int(classes[number]), boxes[number], float(scores[number]), other)


def _misses(evaluator: Evaluator, score: float) -> Iterator[Mistake]:
    for index, truth in enumerate(evaluator.source.test.boxes):
        truth = truth.take(~truth.ignored)
        boxes, scores, classes = evaluator.found(index)
        boxes, classes = boxes[scores > score], classes[scores > score]
        overlaps = overlap(boxes, truth.corners, truth.ignored)
        of_class = classes[:, None] == truth.labels
        is_found = ((overlaps >= IOU) & of_class).any(axis=0)
        for number in np.flatnonzero(~is_found):
            other = _other(overlaps[:, number], classes)
            yield Mistake(index, int(truth.labels[number]), truth.corners[number], other=other)


def _other(overlaps: np.ndarray, labels: np.ndarray) -> int | None:
    """Returns the class of the box that overlaps most, None if none does by 0.5 or more."""
    best = overlaps.argmax() if overlaps.size else None
    return int(labels[best]) if best is not None and overlaps[best] >= IOU else None


def overlap(boxes: np.ndarray, truth: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Returns the IoU of D boxes with G true ones, float64 [D, G]; for an ignored one the part of the box in it."""
    from pycocotools import mask

    if not len(boxes) or not len(truth):
        return np.zeros((len(boxes), len(truth)))
    return mask.iou(_xywh(boxes), _xywh(truth), ignored.astype(np.uint8).tolist())


def _xywh(boxes: np.ndarray) -> np.ndarray:
    top, left, bottom, right = boxes.astype(np.float64).T
    return np.stack([left, top, right - left, bottom - top], axis=-1)


def _area(box: np.ndarray) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
