"""The names of a batch's images, compared with the batch itself."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from bit_keras import data

PLAIN = {"resize": 6, "crop": 6, "random_crop": False, "flip": False}


def _first_pixels(source, names):
    images = source.train.images[[int(name.rsplit(" ", 1)[1]) for name in names]]
    return (images[:, 0, 0] - 127.5) / 127.5


@pytest.mark.parametrize("loader", data.LOADERS)
@pytest.mark.parametrize("step", [0, 3, 7])  # of 40 examples: batches 3 and 7 cross the end of a pass
def test_the_images_named_are_those_of_the_batch(loader, step):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (40, 6, 6, 3), np.uint8), np.arange(40) % 3
    source = data.from_arrays(images, labels, images, labels)
    common = {"batch_size": 12, "seed": 5, "loader": loader}
    batch, _ = next(itertools.islice(iter(data.train_batches(source, **common, **PLAIN)), step, None))
    names = data.train_names(source, **common, step=step)
    assert len(names) == 12
    np.testing.assert_allclose(np.asarray(batch)[:, 0, 0], _first_pixels(source, names), atol=1e-5)


@pytest.mark.parametrize("loader", data.LOADERS)
def test_files_are_named_by_their_paths(image_folder, loader):
    source = data.load(image_folder)
    names = data.train_names(source, batch_size=4, seed=0, step=1, loader=loader)
    assert len(names) == 4
    assert set(names) < set(source.train.images)


def test_streams_have_no_names(tfds_dir):
    source = data.load("numbered/fixed", data_dir=str(tfds_dir))
    assert data.train_names(source, batch_size=4, seed=0, step=1) == []


def test_test_examples_are_named_by_their_files(image_folder, tfds_dir):
    source = data.load(image_folder)
    assert data.test_names(source) == list(source.test.images)
    assert {Path(name).parent.parent.name for name in data.test_names(source)} == {"test"}
    images, labels = np.zeros((6, 4, 4, 3), np.uint8), np.arange(6) % 3
    assert data.test_names(data.from_arrays(images, labels, images, labels)) == []
    assert data.test_names(data.load("numbered/fixed", data_dir=str(tfds_dir))) == []
