"""Matching and coding of boxes, compared with torchvision and with loops in NumPy."""

import keras
import numpy as np
import pytest

from bit_keras.detection.network.anchors import anchor_boxes
from bit_keras.detection.network.matching import BACKGROUND, IGNORED, match
from tests import torchvision_operators  # noqa: F401  before torchvision

pytestmark = pytest.mark.any_backend


def _compiled(function):
    """On jax, single operations take seconds."""
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def _match(anchors, boxes, labels):
    arrays = np.asarray(anchors, "float32"), np.asarray(boxes, "float32"), np.asarray(labels, "int32")
    targets = _compiled(match)(*map(keras.ops.convert_to_tensor, arrays))
    return tuple(map(keras.ops.convert_to_numpy, targets))


def _random_boxes(*shape: int, size: int = 100) -> np.ndarray:
    corners = np.sort(np.random.default_rng(1).uniform(0, size, (*shape, 2, 2)), axis=-2)
    return np.concatenate([corners[..., 0, :], corners[..., 1, :] + 4], axis=-1).astype("float32")


def _iou(anchors: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """[A, G], box by box."""
    table = np.zeros((len(anchors), len(boxes)))
    for a, anchor in enumerate(anchors.astype("float64")):
        for g, box in enumerate(boxes.astype("float64")):
            common = max(min(anchor[2], box[2]) - max(anchor[0], box[0]), 0) * max(
                min(anchor[3], box[3]) - max(anchor[1], box[1]), 0
            )
            areas = [(each[2] - each[0]) * (each[3] - each[1]) for each in (anchor, box)]
            table[a, g] = common / (sum(areas) - common)
    return table


def test_matches_are_those_of_torchvision():
    import torch
    from torchvision.models.detection._utils import Matcher

    anchors = keras.ops.convert_to_numpy(anchor_boxes(100, 100))
    # Of equally good anchors torchvision takes those that rounding makes equal, so every box has one best anchor here.
    boxes = _random_boxes(60)
    iou = _iou(anchors, boxes)
    boxes = boxes[(iou > iou.max(0) - 1e-4).sum(0) == 1][:15].reshape(3, 5, 4)
    labels = np.arange(15).reshape(3, 5)
    classes, _ = _match(anchors, boxes, labels)
    matcher = Matcher(0.5, 0.4, allow_low_quality_matches=True)
    assert (matcher.BELOW_LOW_THRESHOLD, matcher.BETWEEN_THRESHOLDS) == (BACKGROUND, IGNORED)
    for image in range(3):
        iou = _iou(anchors, boxes[image])
        found = matcher(torch.from_numpy(iou.T.copy())).numpy()
        expected = np.where(found >= 0, labels[image][np.maximum(found, 0)], found)
        # The best anchor of a box keeps its own best box there; here it gets the box that it is the best one of.
        best = iou.argmax(0)
        expected[best] = labels[image]
        assert {BACKGROUND, IGNORED} < set(expected)
        np.testing.assert_array_equal(classes[image], expected)


def test_codes_are_those_of_torchvision():
    import torch
    from torchvision.models.detection._utils import BoxCoder

    anchors, boxes = _random_boxes(7), _random_boxes(1, 7)[:, ::-1]
    classes, deltas = _match(anchors, boxes, np.zeros((1, 7)))
    iou = _iou(anchors, boxes[0])
    matched = boxes[0][(iou + _is_best(iou)).argmax(1)]
    swap = [1, 0, 3, 2]  # x first there
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    expected = coder.encode_single(torch.from_numpy(matched[:, swap]), torch.from_numpy(anchors[:, swap])).numpy()
    is_positive = classes[0] >= 0
    assert is_positive.sum() >= 5
    np.testing.assert_allclose(deltas[0][is_positive], expected[:, swap][is_positive], atol=1e-5)


def _is_best(iou: np.ndarray) -> np.ndarray:
    table = np.zeros_like(iou)
    table[iou.argmax(0), np.arange(iou.shape[1])] = iou.max(0) > 0
    return table


ANCHORS = [[0, 0, 10, 10], [0, 20, 10, 30], [0, 40, 10, 50], [0, 60, 10, 70]]


@pytest.mark.parametrize(
    ("boxes", "labels", "expected"),
    [
        # IoU 1, 0.45 and 0: matched, ignored beside a better anchor, background
        ([[0, 0, 10, 10], [0, 20, 10, 34.4]], [3, 4], [3, 4, BACKGROUND, BACKGROUND]),
        # No box
        ([[0, 0, 0, 0], [0, 0, 0, 0]], [-1, -1], [BACKGROUND] * 4),
        # The label decides what is padding, not the coordinates
        ([[0, 0, 10, 10], [0, 20, 10, 30]], [-1, 5], [BACKGROUND, 5, BACKGROUND, BACKGROUND]),
        # IoU 0.1 alone: the best anchor; of two with the same IoU, the first
        ([[0, 20, 1, 30], [0, 34, 10, 36]], [1, 2], [BACKGROUND, 1, BACKGROUND, BACKGROUND]),
        ([[0, 5, 10, 25], [0, 0, 0, 0]], [7, -1], [7, BACKGROUND, BACKGROUND, BACKGROUND]),
        # Two boxes, one best anchor: the higher IoU; of two equal boxes the first
        ([[0, 40, 10, 46], [0, 40, 10, 49]], [1, 2], [BACKGROUND, BACKGROUND, 2, BACKGROUND]),
        ([[0, 40, 10, 49], [0, 40, 10, 49]], [1, 2], [BACKGROUND, BACKGROUND, 1, BACKGROUND]),
        # An anchor that is one box's best one goes to it, even if it overlaps another box more
        ([[0, 0, 10, 10], [-8, 0, 2, 10]], [1, 2], [1, BACKGROUND, BACKGROUND, BACKGROUND]),
        # Without area, and outside of all anchors
        ([[5, 5, 5, 5], [500, 500, 600, 600]], [1, 2], [BACKGROUND] * 4),
    ],
)
def test_ties_and_padding(boxes, labels, expected):
    classes, deltas = _match(ANCHORS, [boxes], [labels])
    assert classes[0].tolist() == expected
    assert np.isfinite(deltas).all()


def test_between_the_thresholds_is_ignored():
    # IoU with the only box: 1, 0.5, 0.45 and 0.39
    anchors = [[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 4.5], [0, 0, 10, 3.9]]
    classes, _ = _match(anchors, [[[0, 0, 10, 10]]], [[6]])
    assert classes[0].tolist() == [6, 6, IGNORED, BACKGROUND]


def test_a_small_box_gets_the_first_of_the_anchors_that_contain_it():
    anchors = keras.ops.convert_to_numpy(anchor_boxes(64, 64))
    box = [30.0, 30.0, 32.0, 32.0]  # in many anchors of 32 x 32, and with the same IoU in all of them
    classes, _ = _match(anchors, [[box]], [[0]])
    iou = _iou(anchors, np.array([box]))[:, 0]
    tied = np.flatnonzero(iou > iou.max() - 1e-6)
    assert len(tied) > 5
    assert np.flatnonzero(classes[0] == 0).tolist() == tied[:1].tolist()
