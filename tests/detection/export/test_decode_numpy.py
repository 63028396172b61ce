"""The decoder for users without this library: NumPy alone, and the boxes of `detect`."""

import ast
import sys
from pathlib import Path

import numpy as np
import pytest
from keras import ops

from bit_keras.detection.export import decode_numpy as module
from bit_keras.detection.export.decode_numpy import decode_numpy
from bit_keras.detection.network.anchors import anchor_boxes, anchor_count
from bit_keras.detection.network.decoding import detect

pytestmark = pytest.mark.any_backend


def outputs_of(count: int, height: int, width: int, num_classes: int = 4) -> dict[str, np.ndarray]:
    random = np.random.default_rng([height, width])
    anchors = anchor_count(height, width)
    return {
        "class": random.normal(-4, 2.5, (count, anchors, num_classes)).astype(np.float32),
        "box": random.normal(0, 0.6, (count, anchors, 4)).astype(np.float32),
    }


def test_it_imports_nothing_but_numpy():
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports for alias in node.names}
    assert names - sys.stdlib_module_names == {"numpy"}
    assert not any(isinstance(node, ast.ImportFrom) for node in imports)


@pytest.mark.parametrize("size", [(64, 64), (100, 150), (1, 300)])
def test_anchors(size):
    np.testing.assert_allclose(
        module.anchor_boxes(*size), ops.convert_to_numpy(anchor_boxes(*size)), rtol=1e-6, atol=1e-4
    )


@pytest.mark.parametrize(
    ("size", "content", "settings"),
    [
        ((64, 64), None, {}),
        ((100, 150), [(100, 150), (31, 150)], {}),  # the second image has padding
        ((33, 90), None, {"score": 0.4, "iou": 0.2, "limit": 300}),
        ((33, 90), None, {"score": 0.0, "limit": 5}),
        ((33, 90), None, {"score": 1.0}),
    ],
)
def test_boxes_of_detect(size, content, settings):
    outputs = outputs_of(2, *size)
    found = decode_numpy(outputs["class"], outputs["box"], *size, content, candidates=1000, **settings)
    expected = detect(outputs, size, content, count=1000, **settings)
    assert (expected.num == 0).all() == (settings.get("score") == 1.0)
    np.testing.assert_array_equal(found[3], expected.num)
    np.testing.assert_array_equal(found[2], expected.classes)
    np.testing.assert_allclose(found[0], expected.boxes, rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[1], expected.scores, rtol=0, atol=1e-6)
    assert [array.dtype for array in found] == [array.dtype for array in expected]


def test_extreme_outputs_do_not_overflow():
    outputs = outputs_of(1, 16, 16)
    outputs["class"][:, ::2], outputs["class"][:, 1::2], outputs["box"][:] = 1e4, -1e4, 1e3
    boxes, scores, _, num = decode_numpy(outputs["class"], outputs["box"], 16, 16, score=0.0)
    assert np.isfinite(boxes).all()
    assert set(scores[0, : num[0]]) <= {1.0}


def test_outputs_of_another_size_are_refused():
    outputs = outputs_of(1, 64, 64)
    with pytest.raises(ValueError, match="images of 64 x 65 pixels have 909 anchors, the outputs have shapes"):
        decode_numpy(outputs["class"], outputs["box"], 64, 65)
