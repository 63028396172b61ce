"""Resizing in NumPy, compared with TensorFlow; `test_image_formats` compares the decoders."""

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.data.loaders import preprocessing, preprocessing_numpy

_RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(7, 11), (1, 5), (33, 20), (97, 64)])
@pytest.mark.parametrize("side", [1, 4, 7, 20, 33, 128])
def test_bilinear_is_that_of_tensorflow(size, side):
    image = _RNG.integers(0, 256, (*size, 3), np.uint8)
    expected = tf.image.resize(image, (side, side)).numpy()
    result = preprocessing_numpy.bilinear(image, side)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result / 127.5, expected / 127.5, atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_that_of_tensorflow(orientation):
    image = _RNG.integers(0, 256, (5, 7, 3), np.uint8)
    expected = preprocessing.upright(image, tf.constant(orientation))
    np.testing.assert_array_equal(preprocessing_numpy.upright(image, orientation), expected)
