"""Single images are those of test batches."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras import data
from bit_keras.data import single


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files of several formats and sizes, one of them turned by EXIF, in two classes."""
    root, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {"0.jpg": {}, "1.jpg": {"exif": exif}, "2.png": {}, "3.png": {"exif": exif}, "4.bmp": {}, "5.JPEG": {}}
    for name, options in files.items():
        for kind in ("a", "b"):
            (root / kind).mkdir(exist_ok=True)
            image = Image.fromarray(random.integers(0, 256, (20, 31 + int(name[0]), 3), np.uint8))
            image.save(root / kind / name, **options)
    (root / "a" / "grey.png").write_bytes((root / "a" / "2.png").read_bytes())
    Image.fromarray(random.integers(0, 256, (90, 80), np.uint8)).save(root / "a" / "grey.png")
    return root


@pytest.mark.parametrize("loader", data.LOADERS)
def test_files_are_those_of_test_batches(folder, loader):
    source = data.load(folder)
    read = single.file_reader(16, loader=loader)
    for split in (source.train, source.test):
        ((images, _),) = data.test_batches(
            data.Source("all", source.class_names, (1, 1), split, split, {"kind": "folder"}),
            batch_size=100,
            crop=16,
            loader=loader,
        )
        for name, image in zip(split.images, np.asarray(images), strict=True):
            np.testing.assert_allclose(read(Path(name).read_bytes()), image, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("loader", [None, *data.LOADERS])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n damaged", b"\xff\xd8\xff\xe0"])
def test_what_cannot_be_decoded(loader, content):
    with pytest.raises(ValueError, match="cannot be decoded"):
        single.file_reader(16, loader=loader)(content)


def test_the_loader_is_checked(monkeypatch):
    with pytest.raises(ValueError, match=r"loader must be one of tf.data, grain; got 'torch'"):
        single.file_reader(16, loader="torch")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ImportError, match=r"tf\.data needs the package tensorflow"):
        single.file_reader(16, loader="tf.data")
    assert single.file_reader(16).__module__ == "bit_keras.data.single"  # Pillow's
