"""Resizing in NumPy, compared with TensorFlow; `test_image_formats` compares the decoders."""

import io
import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from bit_keras.data.loaders import preprocessing, preprocessing_numpy
from bit_keras.zoo.fits import FITS

_RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [(7, 11), (1, 5), (33, 20), (97, 64)])
@pytest.mark.parametrize("side", [1, 4, 7, 20, 33, 128])
def test_bilinear_is_that_of_tensorflow(size, side):
    image = _RNG.integers(0, 256, (*size, 3), np.uint8)
    expected = tf.image.resize(image, (side, side)).numpy()
    result = preprocessing_numpy.bilinear(image, side, side)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result / 127.5, expected / 127.5, atol=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_is_that_of_tensorflow(orientation):
    image = _RNG.integers(0, 256, (5, 7, 3), np.uint8)
    expected = preprocessing.upright(image, tf.constant(orientation))
    np.testing.assert_array_equal(preprocessing_numpy.upright(image, orientation), expected)


def _independent_square(image, side, fit):
    """Pillow's affine transform is bilinear without antialiasing as well; of 8 bits."""
    if fit in ("crop", "inner"):
        part = min(image.size) if fit == "crop" else math.floor(15 / 16 * min(image.size) + 0.5)
        margins = [(pixels - part) // 2 for pixels in image.size]
        image = image.crop((*margins, *(margin + part for margin in margins)))
    size = (side, side) if fit != "pad" else ImageOps.contain(image, (side, side)).size
    scale = [before / after for before, after in zip(image.size, size)]
    small = image.transform(size, Image.Transform.AFFINE, (scale[0], 0, 0, 0, scale[1], 0), Image.Resampling.BILINEAR)
    square = np.zeros((side, side, 3))
    top, left = ((side - pixels) // 2 for pixels in (small.height, small.width))
    square[top : top + small.height, left : left + small.width] = np.asarray(small) / 127.5 - 1
    return square


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize(
    ("size", "side"), [((40, 60), 24), ((61, 40), 24), ((32, 32), 20), ((9, 200), 16), ((5, 7), 31)]
)
def test_fit(size, side, fit):
    image = Image.fromarray(_RNG.integers(0, 256, (*size, 3), np.uint8)).resize(size[::-1], Image.Resampling.BOX)
    expected = _independent_square(image, side, fit)
    ours = preprocessing_numpy.test_image(np.asarray(image), crop=side, fit=fit)
    theirs = preprocessing.test_image(tf.constant(image), crop=side, fit=fit)
    np.testing.assert_allclose(ours, expected, atol=1.01 / 127.5)
    np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize(("size", "rows"), [((40, 60), 16), ((1, 1000), 1), ((60, 40), 24)])
def test_padding_is_mid_grey_around_the_whole_image(size, rows):
    image = np.full((*size, 3), 255, np.uint8)
    is_padding = preprocessing_numpy.square(image, 24, "pad")[..., 0] == 0
    assert np.count_nonzero(~is_padding.all(axis=1)) == rows
    top = (24 - rows) // 2
    assert not is_padding[top : top + rows].all(axis=1).any()


def test_a_file_becomes_an_upright_square():
    pixels, tags, file = _RNG.integers(0, 256, (6, 10, 3), np.uint8), Image.Exif(), io.BytesIO()
    tags[0x0112] = 8
    Image.fromarray(pixels).save(file, "PNG", exif=tags)
    for fit in FITS:
        expected = preprocessing_numpy.square(np.rot90(pixels), 8, fit)
        np.testing.assert_array_equal(preprocessing_numpy.test_image(file.getvalue(), crop=8, fit=fit), expected)
