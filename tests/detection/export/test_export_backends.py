"""A SavedModel of a detector, written on every backend."""

import numpy as np
import pytest

import bit_keras
from bit_keras.detection.export import saved_model as export
from bit_keras.detection.network.decoding import detect
from tests.detection.exported import NAMES, random_detector, random_images

pytestmark = pytest.mark.any_backend


def test_every_backend(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_CHECK_SIZES", ((1, 64, 64),))  # each shape takes a compilation
    detector = random_detector()
    settings = {"score": 0.9, "limit": 50}
    path = bit_keras.export_saved_model(detector, tmp_path / "saved_model", "serving", resolution=64, **settings)

    import tensorflow as tf  # not at the top: the library must not need it on other backends

    images = random_images(1, 64, 64)
    loaded = tf.saved_model.load(path)
    found = {name: value.numpy() for name, value in loaded.signatures["serving_default"](images=images).items()}
    expected = detect(detector.predict_on_batch(2 * images - 1), (64, 64), **settings)
    assert expected.num[0] > 5
    # Rounding of other backends may change which boxes are suppressed; the best ones stay.
    np.testing.assert_allclose(found["boxes"][0, :3], expected.boxes[0, :3], rtol=0, atol=0.05)
    np.testing.assert_allclose(found["scores"][0, :3], expected.scores[0, :3], rtol=0, atol=1e-3)
    assert abs(int(found["num"][0]) - int(expected.num[0])) <= 2
    assert [name.decode() for name in found["classes"][0, :3]] == [NAMES[k] for k in expected.classes[0, :3]]
