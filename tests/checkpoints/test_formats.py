"""The format of a file is detected from its content."""

import hashlib

import pytest

from bit_keras import BiT
from bit_keras.checkpoints import CheckpointError, read_weights, write_npz, write_safetensors
from bit_keras.checkpoints.formats import detect_format
from bit_keras.zoo import presets
from bit_keras.zoo.variants import VARIANTS
from tests.checkpoints.official import random_arrays, write_legacy_h5

ARRAYS = random_arrays()


def _write_keras(_, path):
    BiT("R17x0.5", 2).save(path)


def _write_weights_h5(_, path):
    BiT("R17x0.5", 2).save_weights(path)


WRITERS = {
    "npz": (write_npz, "a.npz"),
    "h5": (write_legacy_h5, "a.h5"),
    "safetensors": (write_safetensors, "a.safetensors"),
    "keras": (_write_keras, "a.keras"),
    "weights.h5": (_write_weights_h5, "a.weights.h5"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_the_name(tmp_path, name):
    write, file = WRITERS[name]
    write(ARRAYS, tmp_path / file)
    path = (tmp_path / file).rename(tmp_path / "download")
    assert detect_format(path) == name.removeprefix("weights.")
    assert len(read_weights(path)) == 54


@pytest.mark.parametrize("content", [b"", b"<!doctype html><html>Please log in", b"version https://git-lfs.github.com"])
def test_unknown_content(tmp_path, content):
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"begins with b'.*all known formats: npz, h5, safetensors, SavedModel"):
        read_weights(tmp_path / "weights.bin")


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such weight file"):
        read_weights(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"is a folder without weights: it must hold .* saved_model\.pb"):
        read_weights(tmp_path)


@pytest.fixture
def wrong_upload(tmp_path, monkeypatch):
    """A file under the name of another network, whose MD5 is that of a faulty file in the table."""
    path = tmp_path / "BiT-S-R50x3.h5"
    write_legacy_h5(random_arrays(VARIANTS["R17x0.5"]), path)
    rows = dict(presets.PRESETS)
    row = rows["BiT-S-R50x3"]
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    files = tuple(presets.dataclasses.replace(f, md5=md5) if f.fault else f for f in row.files)
    monkeypatch.setitem(presets.PRESETS, row.name, presets.dataclasses.replace(row, files=files))
    return path


def test_the_wrong_uploads_are_refused_by_md5(wrong_upload):
    words = r"BiT-S-R50x3\.h5: the published .* holds the weights of BiT-S-R50x1.*64 .*instead of 192; use .*x3\.npz"
    with pytest.raises(CheckpointError, match=words):
        read_weights(wrong_upload)


def test_a_file_of_that_name_with_other_content_is_read(wrong_upload):
    write_legacy_h5(ARRAYS, wrong_upload)
    assert len(read_weights(wrong_upload)) == 54


def test_the_wrong_uploads_are_refused_by_shape(wrong_upload):
    path = wrong_upload.rename(wrong_upload.with_name("renamed.h5"))
    with pytest.raises(CheckpointError, match=r"renamed\.h5 holds R17x0\.5, not R50x3"):
        BiT.from_preset(path, variant="R50x3")
