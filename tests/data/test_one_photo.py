"""One portrait photograph, which its EXIF data turn, is the same image wherever it is decoded."""

import dataclasses
import io
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import data
from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.saved_models.decoding import decode_rows

SIDE = 24
_Y, _X = np.mgrid[0:1:40j, 0:1:60j]
# Smooth, with four different corners: the JPEG decoders of TensorFlow and Pillow then differ by few units.
PIXELS = np.stack([255 * _X, 255 * _Y, 128 * (1 - _X * _Y)], axis=-1).astype(np.uint8)
UPRIGHT = np.rot90(PIXELS, -1)


@pytest.fixture(scope="module", params=["JPEG", "PNG"])
def photo(request) -> bytes:
    tags, file = Image.Exif(), io.BytesIO()
    tags[0x0112] = 6
    Image.fromarray(PIXELS).save(file, request.param, exif=tags, **_EXACT.get(request.param, {}))
    return file.getvalue()


_EXACT = {"JPEG": {"quality": 100, "subsampling": 0}}


@pytest.fixture(scope="module")
def folder(photo, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    for path in ("train/a", "train/b", "test/a", "test/b"):
        (root / path).mkdir(parents=True)
        (root / path / "1.JPG").write_bytes(photo)
    return root


@pytest.mark.parametrize("fit", ["squash", "pad", "crop"])
def test_evaluation_and_serving(photo, folder, fit):
    expected = preprocessing_numpy.square(UPRIGHT, SIDE, fit)
    source = data.load(folder)
    assert source.image_size == (60, 40)
    # As of TFDS and TFRecord files: encoded images without their names.
    encoded = dataclasses.replace(source, test=Examples(np.array([photo] * 2, object), np.array([0, 1])))
    for each in (source, encoded):
        for loader in data.LOADERS:
            images, _ = next(iter(data.test_batches(each, batch_size=2, crop=SIDE, fit=fit, loader=loader)))
            np.testing.assert_allclose(images[0], expected, atol=0.05)
    rows, served, errors = decode_rows(tf.constant([photo]), SIDE, fit)
    assert rows.numpy().tolist() == [0]
    assert errors.numpy().tolist() == [b""]
    np.testing.assert_allclose(served[0], expected, atol=0.05)


@pytest.mark.parametrize("loader", data.LOADERS)
def test_training(folder, loader):
    options = {"batch_size": 2, "resize": SIDE, "crop": SIDE, "seed": 0, "random_crop": False, "flip": False}
    for fit in ("squash", "pad", "crop"):
        images, _ = next(iter(data.train_batches(data.load(folder), **options, fit=fit, loader=loader)))
        np.testing.assert_allclose(images[0], preprocessing_numpy.square(UPRIGHT, SIDE, fit), atol=0.05)


def test_pretraining_crops_upright_pixels(folder):
    for loader in data.LOADERS:
        batches = data.train_batches(
            data.load(folder), batch_size=2, resize=SIDE, crop=SIDE, seed=0, min_area=1.0, flip=False, loader=loader
        )
        images, _ = next(iter(batches))  # no window of the whole area has the right aspect ratio
        np.testing.assert_allclose(images[0], preprocessing_numpy.square(UPRIGHT, SIDE), atol=0.05)


def test_a_client_of_litert_or_onnx(folder):
    client = runpy.run_path(str(Path(__file__).parents[1] / "consumers" / "edge_images.py"))
    image = client["photo"](folder / "test" / "a" / "1.JPG", SIDE) / 127.5 - 1
    np.testing.assert_allclose(image, preprocessing_numpy.square(UPRIGHT, SIDE), atol=0.05)
