"""Non-maximum suppression, per class, in NumPy."""

from typing import NamedTuple

import numpy as np


class Detections(NamedTuple):
    """Detected boxes of N images, by falling score.

    Attributes:
        boxes: float32 [N, limit, 4] in pixels of the network's input; 0 beyond `num`.
        scores: float32 [N, limit] in [0, 1]; 0 beyond `num`.
        classes: int32 [N, limit], indices of classes; -1 beyond `num`.
        num: int32 [N], boxes of each image.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    num: np.ndarray


def suppress(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, iou: float = 0.5, limit: int = 100):
    """Returns the indices of the boxes of one image to keep, by falling score; of equal scores the first is first.

    A box goes if its IoU with a kept one of the same class is more than `iou`.

    Args:
        boxes: [k, 4].
        scores: [k].
        classes: [k], integers.
        iou: threshold in [0, 1].
        limit: number of boxes to keep at most.

    Returns:
        int64, at most [limit].
    """
    kept, left = [], np.argsort(-scores, kind="stable")
    while left.size and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(best)
        is_rival = classes[left] == classes[best]
        left = left[~(is_rival & (iou_matrix(boxes[best : best + 1], boxes[left])[0] > iou))]
    return np.array(kept, np.int64)


def iou_matrix(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of boxes [n, 4] with others [k, 4]: [n, k]; 0 where both are empty."""
    sides = np.minimum(boxes[:, np.newaxis, 2:], others[:, 2:]) - np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    common = np.maximum(sides, 0).prod(-1)
    union = _area(boxes)[:, np.newaxis] + _area(others) - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)
