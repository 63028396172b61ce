"""From outputs to boxes, compared with a computation in NumPy."""

import keras
import numpy as np
import pytest

from bit_keras.detection.network.anchors import anchor_boxes, anchor_count
from bit_keras.detection.network.decoding import candidates, detect, select
from bit_keras.detection.network.matching import encode

pytestmark = pytest.mark.any_backend

SIZE, CLASSES = (40, 70), 3


@pytest.fixture(scope="module")
def outputs() -> dict:
    random = np.random.default_rng(0)
    anchors = anchor_count(*SIZE)
    return {
        "class": random.normal(-3, 1.5, (2, anchors, CLASSES)).astype("float32"),
        "box": random.normal(0, 0.3, (2, anchors, 4)).astype("float32"),
    }


def _numpy(values) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(value) for value in values]


def _decoded(outputs: dict) -> np.ndarray:
    anchors = keras.ops.convert_to_numpy(anchor_boxes(*SIZE)).astype("float64")
    side, centre = anchors[:, 2:] - anchors[:, :2], (anchors[:, 2:] + anchors[:, :2]) / 2
    offset, logarithm = np.split(outputs["box"].astype("float64"), 2, axis=-1)
    centre, side = centre + offset * side, side * np.exp(logarithm)
    return np.concatenate([centre - side / 2, centre + side / 2], axis=-1)


@pytest.mark.parametrize("count", [50, 10**6])
def test_candidates_are_the_highest_pairs(outputs, count):
    boxes, scores, classes = _numpy(candidates(outputs, *SIZE, count=count))
    assert classes.dtype == "int32"
    decoded = _decoded(outputs)
    for image, logits in enumerate(outputs["class"]):
        flat = logits.reshape(-1)
        order = np.argsort(-flat, kind="stable")[:count]
        expected = 1 / (1 + np.exp(-flat[order].astype("float64")))
        expected[expected <= 0.05] = 0
        np.testing.assert_allclose(scores[image], expected, rtol=1e-5)
        assert classes[image].tolist() == (order % CLASSES).tolist()
        np.testing.assert_allclose(boxes[image], decoded[image, order // CLASSES], rtol=1e-4, atol=1e-3)


def test_a_box_that_is_coded_comes_back(outputs):
    anchors = anchor_boxes(*SIZE)
    box = np.array([3.5, 10.25, 30.0, 61.0], "float32")
    deltas = encode(anchors, keras.ops.convert_to_tensor(np.tile(box, (1, anchors.shape[0], 1))))
    logits = np.full((1, anchors.shape[0], CLASSES), -9, "float32")
    logits[0, [5, 400], 2], logits[0, 7, 0] = [3, 2], 1
    found = detect({"class": logits, "box": keras.ops.convert_to_numpy(deltas)}, SIZE)
    assert found.num.tolist() == [2]  # the second of class 2 overlaps the first
    np.testing.assert_allclose(found.boxes[0, :2], [box, box], atol=1e-3)
    assert found.classes[0, :3].tolist() == [2, 0, -1]
    np.testing.assert_allclose(found.scores[0, :3], [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1)), 0], rtol=1e-5)


def test_huge_deltas_stay_finite(outputs):
    boxes, *_ = _numpy(candidates({**outputs, "box": np.full_like(outputs["box"], 1e4)}, *SIZE, count=20))
    assert np.isfinite(boxes).all()


def test_clipped_to_the_content_and_not_found_in_the_padding(outputs):
    content = [(40, 50), (20, 70)]
    found = detect(outputs, SIZE, content, score=0.0)
    whole = detect(outputs, SIZE, score=0.0)
    for image, (height, width) in enumerate(content):
        boxes = found.boxes[image, : found.num[image]]
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= [height, width]).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert whole.boxes[image].max(0)[2:].tolist() == list(SIZE)
    in_padding = [np.array(value)[None] for value in ([[30.0, 5, 38, 9]], [0.9], [1])]
    assert select(*in_padding, [(25, 70)]).num.tolist() == [0]
    assert select(*in_padding, [(35, 70)]).boxes[0, 0].tolist() == [30, 5, 35, 9]


def test_limits_and_thresholds(outputs):
    found = detect(outputs, SIZE, limit=7)
    assert [value.shape for value in found] == [(2, 7, 4), (2, 7), (2, 7), (2,)]
    assert [str(value.dtype) for value in found] == ["float32", "float32", "int32", "int32"]
    assert (np.diff(found.scores) <= 0).all()
    assert detect(outputs, SIZE, score=1.0).num.tolist() == [0, 0]
    nothing = detect(outputs, SIZE, score=1.0)
    assert (set(nothing.classes.ravel()), nothing.boxes.any(), nothing.scores.any()) == ({-1}, False, False)
    assert (detect(outputs, SIZE, iou=1.0).num >= detect(outputs, SIZE, iou=0.1).num).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": (64, 64)}, r"image_size must be that of the images .* 64 x 64 pixels have \d+ anchors"),
        ({"image_size": (40, 0)}, "image_size must be 1 or more, got 0"),
        ({"score": 1.5}, r"score must be in \[0, 1\], got 1.5"),
        ({"iou": -0.1}, r"iou must be in \[0, 1\], got -0.1"),
        ({"iou": float("nan")}, "iou must be a finite number"),
        ({"limit": 0}, "limit must be 1 or more, got 0"),
        ({"sizes": [(40, 70)]}, r"sizes must be \[N, 2\] for the 2 images of the batch, got 1 rows"),
    ],
)
def test_bad_arguments(outputs, arguments, message):
    with pytest.raises(ValueError, match=message):
        detect(outputs, **{"image_size": SIZE} | arguments)
