"""Targets that a detector refuses."""

import numpy as np
import pytest

from bit_keras.detection.network.targets import check_targets

pytestmark = pytest.mark.any_backend

GOOD = {"boxes": np.array([[[1, 2, 3, 4], [0, 0, 0, 0]]], "float32"), "labels": np.array([[2, -1]])}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.array([[3, -1]])}, "labels must be less than num_classes=3, got 3: they count from 0"),
        ({"labels": np.array([[0, -2]])}, "labels must be -1, for padding, or more, got -2"),
        ({"labels": np.array([[0.0, 1.0]])}, "labels must be integers, got float64"),
        ({"labels": np.array([0, 1])}, r"labels must be \[N, G\], one per box; got shape \(2,\)"),
        ({"labels": np.array([[0, 1, 2]])}, r"got shape \(1, 3\) for boxes \(1, 2, 4\)"),
        ({"boxes": np.zeros((1, 2, 5))}, r"boxes must be \[N, G, 4\], got shape \(1, 2, 5\)"),
        ({"boxes": np.zeros((1, 0, 4))}, "boxes must have room for at least one box"),
        ({"boxes": np.full((1, 2, 4), np.nan)}, "boxes must be finite"),
        ({"boxes": np.array([[[3, 2, 1, 4], [0, 0, 0, 0]]])}, r"in this order, got \[3, 2, 1, 4\], as for 0 more"),
        ({"scores": np.zeros(3)}, "got a dict with boxes, labels, scores"),
    ],
)
def test_refused(change, message):
    check_targets(GOOD, 3)
    with pytest.raises(ValueError, match=message):
        check_targets({**GOOD, **change}, 3)


def test_padding_is_not_looked_at():
    check_targets({**GOOD, "boxes": np.array([[[1, 2, 3, 4], [np.nan, 5, 4, 3]]])}, 3)


def test_other_kinds():
    with pytest.raises(TypeError, match=r"the targets of a detector must be .* got None"):
        check_targets(None, 3)
