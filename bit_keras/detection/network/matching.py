"""Which anchors of an image answer for which box, and what they should predict.

Source: arXiv 1708.02002, section 4, "Anchors"; the best anchor of every box as in the TPU code
(tensorflow/tpu, models/official/retinanet) and in "Faster R-CNN", arXiv 1506.01497, section 3.1.2.
"""

from typing import NamedTuple

import keras
from keras import ops

POSITIVE, NEGATIVE = 0.5, 0.4  # IoU from which on an anchor is a box's, and below which it is background
BACKGROUND, IGNORED = -1, -2  # in place of a class
# Anchors of the same size that contain a small box have the same IoU but for rounding, which differs between backends.
_TIE = 1e-5


class Targets(NamedTuple):
    """What the anchors of a batch should predict.

    Attributes:
        classes: int32 [N, A], the class, BACKGROUND or IGNORED.
        deltas: float32 [N, A, 4], the box relative to the anchor where `classes` is a class; elsewhere of no meaning.
    """

    classes: object
    deltas: object


def match(anchors, boxes, labels) -> Targets:
    """Assigns boxes to anchors.

    An anchor whose IoU with a box is POSITIVE or more belongs to the box with the highest IoU, the first one of equals.
    The best anchor of every box, the first one of equals, belongs to it in any case; an anchor that is the best one of
    several boxes to that with the highest IoU. Of the others those below NEGATIVE are background, the rest is ignored.
    A box that overlaps no anchor gets none.

    Args:
        anchors: float32 [A, 4].
        boxes: float32 [N, G, 4], G of 1 or more.
        labels: int32 [N, G], negative for padding.
    """
    is_box = (labels >= 0)[:, None]  # [N, 1, G]
    iou = keras.utils.bounding_boxes.compute_iou(anchors, boxes, "yxyx")  # [N, A, G]
    iou = ops.where(is_box, iou, -ops.ones_like(iou))
    forced = _best_anchors(iou)
    chosen = ops.argmax(iou + ops.cast(forced, iou.dtype), axis=-1)  # [N, A]
    highest = ops.max(iou, axis=-1)
    is_positive = ops.logical_or(highest >= POSITIVE, ops.any(forced, axis=-1))
    otherwise = ops.where(highest < NEGATIVE, BACKGROUND, IGNORED)
    classes = ops.where(is_positive, ops.cast(ops.take_along_axis(labels, chosen, axis=1), "int32"), otherwise)
    matched = ops.take_along_axis(boxes, chosen[..., None], axis=1)  # [N, A, 4]
    return Targets(ops.cast(classes, "int32"), encode(anchors, matched))


def encode(anchors, boxes):
    """Returns boxes [N, A, 4] relative to anchors [A, 4].

    That is the offset of the centre in anchor sizes, y first, and the logarithms of height and width in anchor sizes:
    the coding of Faster R-CNN, without further factors.
    """
    return keras.utils.bounding_boxes.encode_box_to_deltas(anchors, boxes, "yxyx", "yxyx")


def _best_anchors(iou):
    """Tells which pairs are a box and its best anchor: bool [N, A, G]."""
    best = ops.max(iou, axis=1, keepdims=True)  # [N, 1, G]
    first = ops.argmax(ops.cast(iou >= best - _TIE, "int32"), axis=1)  # [N, G]
    positions = ops.arange(ops.shape(iou)[1], dtype="int32")[None, :, None]
    return ops.logical_and(positions == ops.cast(first, "int32")[:, None], best > 0)
