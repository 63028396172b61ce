"""Anchors, compared with torchvision's and with the cells that the pyramid has."""

import keras
import numpy as np
import pytest

from bit_keras.detection.network.anchors import LEVELS, PER_CELL, anchor_boxes, anchor_count, anchor_sizes, cells
from tests import torchvision_operators  # noqa: F401  before torchvision

pytestmark = pytest.mark.any_backend


def _boxes(height: int, width: int) -> np.ndarray:
    return keras.ops.convert_to_numpy(anchor_boxes(height, width))


@pytest.mark.parametrize("level", LEVELS)
def test_sizes_are_those_of_torchvision(level):
    import torch
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    side = 2 ** (level + 2)
    scales = [side * 2 ** (k / 3) for k in range(3)]
    generator = AnchorGenerator(sizes=((1,),))
    left, top, right, bottom = generator.generate_anchors(scales, [0.5, 1.0, 2.0], torch.float64).numpy().T
    expected = np.stack([bottom - top, right - left], axis=-1)
    np.testing.assert_allclose(anchor_sizes(level), expected, atol=1.01)  # it rounds every corner to whole pixels
    np.testing.assert_allclose(np.prod(anchor_sizes(level), axis=1), np.tile(np.square(scales), 3))


@pytest.mark.parametrize("size", [(100, 150), (1, 1), (128, 64), (129, 33)])
def test_order_centres_and_number(size):
    received = _boxes(*size)
    expected = [
        [row * 2**level + 0.5, column * 2**level + 0.5, *sizes]
        for level in (3, 4, 5, 6, 7)
        for row in range(-(-size[0] // 2**level))
        for column in range(-(-size[1] // 2**level))
        for sizes in anchor_sizes(level)
    ]
    centre, side = np.split(np.array(expected), 2, axis=1)
    np.testing.assert_allclose(received, np.concatenate([centre - side / 2, centre + side / 2], axis=1), atol=1e-4)
    assert received.dtype == "float32"
    assert received.shape == (anchor_count(*size), 4)


def test_a_cell_has_nine_anchors_and_sides_have_a_cell_per_stride_begun():
    assert PER_CELL == len(anchor_sizes(3)) == 9
    assert [cells(size, 3) for size in (1, 8, 9, 100)] == [1, 1, 2, 13]
    assert anchor_count(1024, 1024) == 196_416  # of the TPU code at this size
