"""From the outputs of a detector to boxes: candidates on the backend, then clipping and suppression in NumPy."""

import functools
import math
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import ops

from bit_keras.detection.network.anchors import anchor_boxes, anchor_count
from bit_keras.detection.network.nms import Detections, suppress
from bit_keras.system.checks import check_integer, known_arguments

# As the TPU code evaluates; its graph for serving has the score.
CANDIDATES, KEPT, IOU, SCORE = 5_000, 100, 0.5, 0.05
# Largest logarithm of a box's side in anchor sides: exp of more could overflow. As torchvision's BoxCoder.
_LARGEST = math.log(1000 / 16)


def candidates(outputs: dict, height, width, count: int = CANDIDATES, score: float = SCORE) -> tuple:
    """Returns the pairs of anchor and class with the highest scores, as boxes; an anchor may yield several.

    Args:
        outputs: of a detector, {"class": logits [N, A, K], "box": deltas [N, A, 4]}.
        height, width: of the images that the network got, in pixels; integers or scalar tensors.
        count: number of pairs per image, k; fewer if there are not as many.
        score: pairs with this score or less have score 0.

    Returns:
        boxes float32 [N, k, 4] in pixels of those images, beyond which they may reach; scores float32 [N, k] in
        [0, 1], falling; classes int32 [N, k].
    """
    logits, deltas = (ops.cast(outputs[name], "float32") for name in ("class", "box"))
    num_classes = logits.shape[-1]
    flat = ops.reshape(logits, (ops.shape(logits)[0], -1))
    pairs = ops.shape(flat)[1]
    k = min(count, pairs) if isinstance(pairs, int) else ops.minimum(count, pairs)
    highest, position = ops.top_k(flat, k)
    position = ops.cast(position, "int32")
    anchor = position // num_classes  # [N, k]
    deltas = ops.take_along_axis(deltas, anchor[..., None], axis=1)
    deltas = ops.concatenate([deltas[..., :2], ops.minimum(deltas[..., 2:], _LARGEST)], axis=-1)
    anchors = ops.take(anchor_boxes(height, width), anchor, axis=0)  # [N, k, 4]
    boxes = keras.utils.bounding_boxes.decode_deltas_to_boxes(anchors, deltas, "yxyx", "yxyx")
    scores = ops.sigmoid(highest)
    return boxes, ops.where(scores > score, scores, 0.0), position % num_classes


def select(boxes, scores, classes, sizes, iou: float = IOU, limit: int = KEPT) -> Detections:
    """Clips candidates to the content of their images, and suppresses all but the best ones per class.

    Args:
        boxes, scores, classes: as `candidates` returns them, tensors or arrays; those with score 0 are left out.
        sizes: [N, 2] height and width in pixels of the content of every image, which padding may surround below and
            right.
        iou: threshold, see `nms.suppress`.
        limit: number of boxes to keep per image.
    """
    boxes, scores, classes = (ops.convert_to_numpy(each) for each in (boxes, scores, classes))
    sizes = np.asarray(sizes, "float32").reshape(-1, 2)
    if len(sizes) != len(boxes):
        raise ValueError(f"sizes must be [N, 2] for the {len(boxes)} images of the batch, got {len(sizes)} rows")
    found = Detections(
        np.zeros((len(boxes), limit, 4), "float32"),
        np.zeros((len(boxes), limit), "float32"),
        np.full((len(boxes), limit), -1, "int32"),
        np.zeros(len(boxes), "int32"),
    )
    for image, size in enumerate(sizes):
        clipped = np.clip(boxes[image], 0, np.tile(size, 2))
        is_box = (scores[image] > 0) & (clipped[:, 2:] > clipped[:, :2]).all(-1)  # not in the padding
        of_image = clipped[is_box], scores[image][is_box], classes[image][is_box]
        kept = suppress(*of_image, iou, limit)
        for values, array in zip(of_image, found):
            array[image, : len(kept)] = values[kept]
        found.num[image] = len(kept)
    return found


@known_arguments((), unchecked=("outputs", "sizes"))
def detect(
    outputs: dict,
    image_size: tuple[int, int],
    sizes: Sequence | None = None,
    score: float = SCORE,
    iou: float = IOU,
    limit: int = KEPT,
    count: int = CANDIDATES,
) -> Detections:
    """Returns the boxes that a detector's outputs stand for.

    Args:
        outputs: {"class": logits [N, A, K], "box": deltas [N, A, 4]} of a detector or of its folded network.
        image_size: height and width in pixels of the images that the network got.
        sizes: [N, 2] height and width of the content of every image, see `select`; None for images without padding.
        score: boxes with this score or less are left out, in [0, 1).
        iou: a box goes if its IoU with a better one of the same class is more than this, in [0, 1].
        limit: number of boxes to keep per image.
        count: number of candidates per image.

    Raises:
        ValueError: an argument is out of its range, or the outputs are not those of images of that size.

    Example:
        >>> from bit_keras.detection.network.decoding import detect
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=2, width=32, depth=1)
        >>> images = np.zeros((1, 64, 64, 3), "float32")
        >>> found = detect(detector(images), image_size=(64, 64), score=0.5)
        >>> found.boxes.shape, found.num  # room for 100 boxes, and none found
        ((1, 100, 4), array([0], dtype=int32))
    """
    height, width = (check_integer("image_size", size) for size in image_size)
    check_integer("limit", limit)
    check_integer("count", count)
    for name, value in {"score": score, "iou": iou}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be in [0, 1], got {value}")
    expected, received = anchor_count(height, width), outputs["class"].shape[1]
    if received != expected:
        raise ValueError(
            f"image_size must be that of the images of these outputs: {height} x {width} pixels have {expected:,} "
            f"anchors, the outputs have {received:,}"
        )
    sizes = [(height, width)] * len(outputs["class"]) if sizes is None else sizes
    found = _compiled_candidates()(outputs, height, width, count, score)
    return select(*found, sizes, iou, limit)


@functools.cache
def _compiled_candidates() -> Callable:
    """Returns `candidates`, on jax as one program per shape: there, operations that run one by one take seconds."""
    if keras.backend.backend() != "jax":
        return candidates
    import jax

    return jax.jit(candidates, static_argnames=("height", "width", "count", "score"))
