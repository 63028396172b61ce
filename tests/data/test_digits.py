import re
from pathlib import Path

import numpy as np
import sklearn.datasets

from bit_keras import data
from bit_keras.data.loaders import streams

PACKAGE = Path(data.__file__).parent


def test_digits_are_those_of_scikit_learn():
    source = data.load("digits")
    images = np.stack([image for split in (source.train, source.test) for image, _ in streams.in_order(split)])
    labels = np.concatenate([source.train.labels, source.test.labels])
    digits = sklearn.datasets.load_digits()
    np.testing.assert_array_equal(labels, digits.target)
    for channel in range(3):
        np.testing.assert_allclose(images[..., channel], digits.images * 255 / 16, atol=0.5)
    assert images.min() == 0
    assert images.max() == 255


def test_attributes():
    source = data.load("digits")
    assert (source.name, source.num_train, source.num_test, source.image_size) == ("digits", 1437, 360, (8, 8))
    assert source.class_names == tuple("0123456789")
    assert source.describe()["kind"] == "bundled"


def test_documented_command_makes_the_bundled_file(tmp_path, monkeypatch):
    command = re.search(r"```python\n(.*?)```", (PACKAGE / "digits.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "bit_keras/data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    with np.load(tmp_path / "bit_keras/data/digits.npz") as made, np.load(PACKAGE / "digits.npz") as bundled:
        assert made.files == bundled.files == ["images", "labels"]
        for key in bundled.files:
            assert made[key].dtype == bundled[key].dtype
            np.testing.assert_array_equal(made[key], bundled[key])
