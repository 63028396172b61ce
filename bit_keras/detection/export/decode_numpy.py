"""From the raw outputs of a detector to boxes, in NumPy alone.

For ONNX and LiteRT files, whose runtimes do not suppress boxes. This file imports nothing else: copy it beside your
program; exports of these files contain a copy.

    # images: float32 [N, H, W, 3] in [0, 1], RGB, upright
    class_logits, box_deltas = onnxruntime.InferenceSession("model.onnx").run(["class", "box"], {"images": images})
    boxes, scores, classes, num = decode_numpy(class_logits, box_deltas, H, W)

The network was trained on images whose longer side was resized to the resolution of its card, in the top left corner
of a square, with 0.5 below or on the right. `content` is then the size of the resized image, and its boxes, divided by
that and multiplied by the size of the original image, are in pixels of the latter.
"""

import math

import numpy as np

# Anchors: "Focal Loss for Dense Object Detection", arXiv 1708.02002, section 4.
_LEVELS = (3, 4, 5, 6, 7)
_SIZE = 4  # side of the smallest square anchor, in strides
_SCALES = (1, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1, 2)  # height / width, at the same area
# Largest logarithm of a box's side in anchor sides: exp of more could overflow.
_LARGEST = math.log(1000 / 16)


def decode_numpy(
    class_logits: np.ndarray,
    box_deltas: np.ndarray,
    height: int,
    width: int,
    content: np.ndarray | None = None,
    *,
    score: float = 0.05,
    iou: float = 0.5,
    limit: int = 100,
    candidates: int = 5000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns the boxes that a detector's outputs stand for, after suppression per class.

    Args:
        class_logits: float32 [N, A, K], output "class".
        box_deltas: float32 [N, A, 4], output "box".
        height, width: of the images that the network got, in pixels.
        content: [N, 2] height and width of what is not padding in these images; None if there is no padding.
        score: boxes with this score or less are left out, in [0, 1].
        iou: a box goes if its IoU with a better one of the same class is more than this, in [0, 1].
        limit: number of boxes to keep per image.
        candidates: number of pairs of anchor and class with the best scores that are looked at, per image.

    Returns:
        boxes float32 [N, limit, 4], [top, left, bottom, right] in pixels, by falling score; 0 beyond `num`;
        scores float32 [N, limit] in [0, 1], 0 beyond `num`;
        classes int32 [N, limit], indices, -1 beyond `num`;
        num int32 [N], boxes of each image.

    Raises:
        ValueError: the outputs are not those of images of that size.
    """
    anchors = anchor_boxes(height, width)
    if class_logits.shape[1] != len(anchors) or box_deltas.shape[1:] != anchors.shape:
        raise ValueError(
            f"images of {height} x {width} pixels have {len(anchors)} anchors, the outputs have shapes "
            f"{class_logits.shape} and {box_deltas.shape}"
        )
    count = len(class_logits)
    sizes = np.full((count, 2), (height, width)) if content is None else np.asarray(content)
    boxes, scores = np.zeros((count, limit, 4), np.float32), np.zeros((count, limit), np.float32)
    classes, num = np.full((count, limit), -1, np.int32), np.zeros(count, np.int32)
    for image in range(count):
        found = best_boxes(class_logits[image], box_deltas[image], anchors, score, candidates)
        found = clipped(*found, np.tile(sizes[image], 2).astype(np.float32))
        kept = _suppress(*found, iou, limit)
        num[image] = len(kept)
        for values, array in zip(found, (boxes, scores, classes)):
            array[image, : len(kept)] = values[kept]
    return boxes, scores, classes, num


def anchor_boxes(height: int, width: int) -> np.ndarray:
    """Returns the anchors of an image, float32 [A, 4], in the order of the outputs: level, row, column, shape.

    Cell i of level l is centred at 2^l i + 0.5.
    """
    boxes = []
    for level in _LEVELS:
        stride = 2**level
        sides = [_SIZE * stride * scale for scale in _SCALES]
        sizes = [(side * math.sqrt(ratio), side / math.sqrt(ratio)) for ratio in _RATIOS for side in sides]
        half = np.array(sizes, np.float32) / 2  # [9, 2]
        rows, columns = (np.arange(-(-size // stride), dtype=np.float32) * stride + 0.5 for size in (height, width))
        centres = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]  # [H, W, 1, 2]
        boxes.append(np.concatenate([centres - half, centres + half], axis=-1).reshape(-1, 4))
    return np.concatenate(boxes)


def best_boxes(logits, deltas, anchors, score: float, candidates: int):
    """Returns boxes [k, 4], scores [k] and classes [k] of one image, by falling score."""
    least = -math.inf if score <= 0 else math.inf if score >= 1 else math.log(score / (1 - score))
    flat = logits.reshape(-1)
    position = np.flatnonzero(flat > least)
    position = position[np.argsort(-flat[position], kind="stable")[:candidates]]
    anchor, classes = np.divmod(position, logits.shape[1])
    centres, sizes = (anchors[:, :2] + anchors[:, 2:])[anchor] / 2, (anchors[:, 2:] - anchors[:, :2])[anchor]
    centres = centres + deltas[anchor, :2] * sizes
    sizes = sizes * np.exp(np.minimum(deltas[anchor, 2:], _LARGEST))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=-1)
    scores = 1 / (1 + np.exp(-np.maximum(flat[position].astype(np.float64), -700)))  # exp of more overflows
    return boxes, scores.astype(np.float32), classes.astype(np.int32)


def clipped(boxes, scores, classes, size):
    """Returns the boxes that reach into the content of the image, cut off at its border."""
    boxes = np.clip(boxes, 0, size)
    is_box = (boxes[:, 2:] > boxes[:, :2]).all(-1) & (scores > 0)
    return boxes[is_box], scores[is_box], classes[is_box]


def _suppress(boxes, scores, classes, iou: float, limit: int) -> list[int]:
    """Returns the indices of the boxes to keep, which are sorted by falling score."""
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    kept, left = [], np.arange(len(boxes))
    while left.size and len(kept) < limit:
        best, left = left[0], left[1:]
        kept.append(int(best))
        sides = np.minimum(boxes[best, 2:], boxes[left, 2:]) - np.maximum(boxes[best, :2], boxes[left, :2])
        common = np.maximum(sides, 0).prod(-1)
        is_same = common > iou * (area[best] + area[left] - common)
        left = left[~(is_same & (classes[left] == classes[best]))]
    return kept
