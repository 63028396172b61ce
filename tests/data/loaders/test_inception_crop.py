"""The crops of pre-training in both loaders, located by images whose pixels contain their coordinates."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import data
from bit_keras.data.loaders import preprocessing, preprocessing_numpy

SIDE = 200


def _source(image: np.ndarray, count: int = 8) -> data.Source:
    images = np.repeat(image[None], count, axis=0)
    return data.from_arrays(images, np.zeros(count, int), images, np.zeros(count, int))


@pytest.fixture(scope="module")
def ramp() -> np.ndarray:
    """An image whose red is the row, green the column, and blue 0."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1).astype(np.uint8)


def _crops(source, loader, count, **changes) -> np.ndarray:
    arguments = {"batch_size": 50, "resize": 16, "crop": 16, "seed": 0, "min_area": 0.3, "flip": False}
    batches = data.train_batches(source, **{**arguments, **changes}, loader=loader)
    images = np.concatenate([np.asarray(images) for images, _ in itertools.islice(batches, count // 50)])
    return images * 127.5 + 127.5


@pytest.mark.parametrize("loader", data.LOADERS)
def test_areas_and_aspects_are_those_asked_for(ramp, loader):
    crops = _crops(_source(ramp), loader, 400)
    # A crop of n pixels, resized to 16, spans n * 15 / 16 pixels from its first to its last pixel.
    heights, widths = (np.abs(crops[:, -1, -1, channel] - crops[:, 0, 0, channel]) * 16 / 15 for channel in (0, 1))
    areas, aspects = heights * widths / SIDE**2, widths / heights
    assert 0.29 < areas.min() < 0.34
    assert 0.9 < areas.max() < 1.01
    assert 0.74 < aspects.min() < 0.79
    assert 1.26 < aspects.max() < 1.35
    for sizes, channel in ((heights, 0), (widths, 1)):
        first = (crops[:, 0, 0, channel] + crops[:, -1, -1, channel]) / 2 - (sizes - 1) / 2
        is_small = sizes < 150
        places = first[is_small] / (SIDE - sizes[is_small])  # uniform in [0, 1]
        assert abs(np.mean(places) - 0.5) < 0.07
        assert abs(np.std(places) - 12**-0.5) < 0.04


@pytest.mark.parametrize("loader", data.LOADERS)
def test_half_of_the_crops_are_mirrored(ramp, loader):
    crops = _crops(_source(ramp), loader, 400, flip=True)
    assert 0.4 < np.mean(crops[:, 0, 0, 1] > crops[:, 0, -1, 1]) < 0.6


@pytest.mark.parametrize("loader", data.LOADERS)
def test_a_crop_of_everything_is_the_image(loader):
    image = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    crops = _crops(_source(image), loader, 50, min_area=1.0)
    (whole, _), *_ = data.test_batches(_source(image), batch_size=8, crop=16)
    np.testing.assert_allclose(crops, np.repeat(np.asarray(whole)[:1] * 127.5 + 127.5, 50, axis=0), atol=1e-3)


@pytest.mark.parametrize("loader", data.LOADERS)
def test_batch_k_is_a_function_of_seed_and_k(ramp, loader):
    source = _source(ramp)
    crops = _crops(source, loader, 100)
    np.testing.assert_array_equal(_crops(source, loader, 50, start_step=1), crops[50:])
    assert not np.array_equal(_crops(source, loader, 100, seed=1), crops)


def test_of_a_jpeg_only_the_crop_is_decoded_and_it_is_the_same(ramp):
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, "JPEG", quality=95, subsampling=0)
    encoded = tf.constant(stream.getvalue())
    decoded = preprocessing.decode(encoded)
    for number in range(20):
        seed = tf.constant([3, number], tf.int64)
        crops = [preprocessing.pretraining_image(x, seed, crop=16, min_area=0.1) for x in (encoded, decoded)]
        np.testing.assert_allclose(*crops, atol=1e-6)


def test_a_window_that_never_fits_gives_way_to_the_whole_image():
    bits = np.zeros(preprocessing_numpy.PRETRAINING_BITS, np.uint64)
    image = np.random.default_rng(0).integers(0, 256, (10, 100, 3), np.uint8)  # too flat for any crop of this area
    crop = preprocessing_numpy.pretraining_image(image, bits, crop=8, min_area=0.9)
    np.testing.assert_array_equal(crop, preprocessing_numpy.test_image(image, crop=8))


def test_refuses_areas_out_of_range(ramp):
    for area in (0, 1.5):
        with pytest.raises(ValueError, match=r"min_area must lie in \(0, 1\], got"):
            _crops(_source(ramp), None, 50, min_area=area)
