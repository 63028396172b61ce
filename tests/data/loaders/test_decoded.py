"""The cache of decoded images."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import data
from bit_keras.data import batches
from bit_keras.data.loaders import preprocessing, preprocessing_numpy
from bit_keras.data.loaders.decoded import keeping_decoder


@pytest.fixture
def decoded(monkeypatch):
    """Numbers of the decoded images in order, for both loaders."""
    numbers = []

    def note(image):
        numbers.append(int(image[0, 0, 0]))
        return image

    def decode_tf(image, decode=preprocessing.decode):
        if image.dtype != tf.string:
            return image
        return tf.ensure_shape(tf.numpy_function(note, [decode(image)], tf.uint8), (None, None, 3))

    def decode_numpy(image, decode=preprocessing_numpy.decode):
        return note(decode(image))

    monkeypatch.setattr(preprocessing, "decode", decode_tf)
    monkeypatch.setattr(preprocessing_numpy, "decode", decode_numpy)
    return numbers


@pytest.mark.parametrize("loader", data.LOADERS)
def test_images_are_decoded_once(decoded, image_folder, loader):
    source = data.load(image_folder)
    decoded.clear()  # opening a folder decodes every image
    dataset = data.test_batches(source, batch_size=4, crop=9, keep=True, loader=loader)
    passes = [[np.asarray(images) for images, _ in dataset] for _ in range(3)]
    assert sorted(decoded) == list(range(100, 111))
    for first, *others in zip(*passes, strict=True):
        for other in others:
            np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("loader", data.LOADERS)
def test_images_that_take_too_much_are_not_kept(decoded, image_folder, loader, monkeypatch):
    source = data.load(image_folder)
    needed = 11 * 6 * 9 * 3 + sum(path.stat().st_size for path in image_folder.glob("test/*/*.png"))
    for limit, passes in ((needed, 1), (needed - 1, 2)):
        monkeypatch.setattr(batches, "KEEP_BYTES", limit)
        decoded.clear()
        dataset = data.test_batches(source, batch_size=4, crop=9, keep=True, loader=loader)
        for _ in range(2):
            list(dataset)
        assert sorted(decoded) == sorted(passes * list(range(100, 111)))


@pytest.mark.parametrize("loader", data.LOADERS)
def test_training_batches_are_the_same(image_folder, loader):
    source = data.load(image_folder)
    arguments = {"batch_size": 8, "resize": 12, "crop": 9, "seed": 3, "loader": loader}
    kept, others = (data.train_batches(source, keep=keep, **arguments) for keep in (True, False))
    for (images, labels), (expected, expected_labels) in itertools.islice(zip(kept, others), 12):  # 2 passes
        np.testing.assert_array_equal(images, expected)
        np.testing.assert_array_equal(labels, expected_labels)


def test_photographs_are_kept_upright():
    tags, file = Image.Exif(), io.BytesIO()
    tags[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG", exif=tags)
    decode = tf.function(keeping_decoder())
    for _ in range(2):
        np.testing.assert_array_equal(decode(tf.constant(file.getvalue())), np.rot90(pixels, -1))


def test_training_keeps_images_of_any_source(decoded, any_source):
    dataset = data.train_batches(any_source, batch_size=8, resize=12, crop=9, seed=3)
    list(dataset.take(20))
    # At the end of a pass, both copies of an image may be decoded at the same time if they are neighbours.
    assert len(decoded) <= any_source.num_train + 8
