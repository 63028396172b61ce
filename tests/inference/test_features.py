"""Features of linear probes, compared with TensorFlow's own image operations."""

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.inference.features import features_of


class _Pixels:
    """A backbone whose features are the pixels of the images."""

    @staticmethod
    def predict_on_batch(images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1)


@pytest.fixture(scope="module")
def source() -> data.Source:
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (5, 9, 7, 3), np.uint8)
    images[0] = 255
    return data.from_arrays(images[3:], [0, 1], images, np.array([0, 1, 1, 0, 1]))


def test_images_are_resized_to_the_crop(source):
    features, labels = features_of(_Pixels, source, crop=6)
    expected = tf.image.resize(source.test.images, (6, 6)).numpy() / 127.5 - 1
    np.testing.assert_allclose(features, expected.reshape(5, -1), atol=1e-6)
    assert labels.tolist() == [0, 1, 1, 0, 1]


def test_central_squares_are_those_of_big_vision(source):
    """decode|resize(8)|central_crop(5)|value_range(-1,1), where resize returns uint8 as it gets."""
    features, _ = features_of(_Pixels, source, crop=5, resize=8)
    resized = tf.cast(tf.clip_by_value(tf.image.resize(source.test.images, (8, 8)), 0, 255), tf.uint8)
    cropped = tf.image.crop_to_bounding_box(resized, 1, 1, 5, 5).numpy()
    np.testing.assert_allclose(features, (cropped / 127.5 - 1).reshape(5, -1), atol=1e-6)
