"""Non-maximum suppression, compared with TensorFlow's and with loops."""

import keras
import numpy as np
import pytest

from bit_keras.detection.network.nms import suppress

pytestmark = pytest.mark.any_backend


def _random(count: int, num_classes: int):
    random = np.random.default_rng(0)
    corners = random.uniform(0, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 30, (count, 2))], axis=1).astype("float32")
    return boxes, random.uniform(0, 1, count).astype("float32"), random.integers(0, num_classes, count)


def _overlap(a, b) -> float:
    common = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - common
    return common / union if union else 0


@pytest.mark.parametrize("iou", [0.0, 0.3, 0.5, 1.0])
def test_every_class_is_suppressed_by_itself(iou):
    boxes, scores, classes = _random(150, 4)
    kept = []
    for index in sorted(range(150), key=lambda each: -scores[each]):
        if all(classes[index] != classes[k] or _overlap(boxes[index], boxes[k]) <= iou for k in kept):
            kept.append(index)
    assert 10 < len(kept) <= 150
    assert suppress(boxes, scores, classes, iou, limit=1000).tolist() == kept
    assert suppress(boxes, scores, classes, iou, limit=7).tolist() == kept[:7]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="NumPy here: compared with TensorFlow's once")
def test_one_class_is_suppressed_as_by_tensorflow():
    import tensorflow as tf

    boxes, scores, _ = _random(300, 1)
    expected = tf.image.non_max_suppression(boxes, scores, 60, 0.5).numpy()
    assert suppress(boxes, scores, np.zeros(300, int), limit=60).tolist() == expected.tolist()


def test_equal_scores_keep_their_order_and_empty_boxes_touch_nothing():
    boxes = np.array([[0, 0, 5, 5], [0, 0, 5, 5], [2, 2, 2, 2], [2, 2, 2, 2]], "float32")
    assert suppress(boxes, np.full(4, 0.5), np.zeros(4, int)).tolist() == [0, 2, 3]
    assert suppress(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int)).tolist() == []
