"""Anchors: the boxes that a detector's outputs are relative to, nine per cell of every level of the pyramid.

Source: "Focal Loss for Dense Object Detection", arXiv 1708.02002, section 4: areas of 32^2 on P3 to 512^2 on P7, three
scales and three aspect ratios each.
"""

import math

from keras import ops

LEVELS = (3, 4, 5, 6, 7)
_SIZE = 4  # side of the smallest square anchor, in strides
_SCALES = (1, 2 ** (1 / 3), 2 ** (2 / 3))
_RATIOS = (0.5, 1, 2)  # height / width, at the same area
PER_CELL = len(_SCALES) * len(_RATIOS)


def cells(size, level: int):
    """Returns the cells of a level along a side of `size` pixels, a number or a scalar tensor: one per stride begun."""
    stride = 2**level
    return (size + stride - 1) // stride


def anchor_count(height: int, width: int) -> int:
    """Returns the number of anchors of an image of `height` x `width` pixels."""
    return PER_CELL * sum(cells(height, level) * cells(width, level) for level in LEVELS)


def anchor_sizes(level: int) -> list[tuple[float, float]]:
    """Returns (height, width) in pixels of the anchors of a cell, in their order: by ratio, then by scale."""
    sides = [_SIZE * 2**level * scale for scale in _SCALES]
    return [(side * math.sqrt(ratio), side / math.sqrt(ratio)) for ratio in _RATIOS for side in sides]


def anchor_boxes(height, width):
    """Returns all anchors of an image.

    Every strided layer of BiT and of the pyramid pads all sides alike, so cell i of level l looks at the pixel 2^l i,
    whose centre is 2^l i + 0.5. The TPU code, whose network pads below and right, has (i + 0.5) 2^l.

    Args:
        height, width: of the network's input in pixels, integers or scalar tensors.

    Returns:
        float32 [A, 4], in the order of the network's outputs: by level, row, column and position in the cell. Anchors
        at the border reach beyond the image.
    """
    return ops.concatenate([_of_level(height, width, level) for level in LEVELS], axis=0)


def _of_level(height, width, level: int):
    rows, columns = (ops.arange(cells(size, level), dtype="float32") * 2**level + 0.5 for size in (height, width))
    sizes = ops.convert_to_tensor(anchor_sizes(level), "float32")  # [9, 2]
    centres = ops.stack(ops.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]  # [H, W, 1, 2]
    corners = [centres - sizes / 2, centres + sizes / 2]  # [H, W, 9, 2]
    return ops.reshape(ops.concatenate(corners, axis=-1), (-1, 4))
