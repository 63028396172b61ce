"""Files of Keras 3."""

import errno
import os
import zipfile

import h5py
import keras
import numpy as np
import pytest

from bit_keras import BiT, load_weights
from bit_keras.checkpoints import CheckpointError, read_npz, read_weights
from bit_keras.checkpoints.readers import keras_file

SMALL = "R17x0.5"
SAVERS = {"model.keras": "save", "model.weights.h5": "save_weights"}


@pytest.fixture(scope="module")
def model(golden_npz) -> BiT:
    return BiT.from_preset(golden_npz)


def _save(model, path):
    getattr(model, SAVERS[path.name])(path)
    return path


def _same(arrays, golden_npz) -> bool:
    golden = read_npz(golden_npz)
    return set(arrays) == set(golden) and all(np.array_equal(arrays[key], golden[key]) for key in golden)


@pytest.mark.any_backend
@pytest.mark.parametrize("name", SAVERS)
def test_round_trip_is_exact(model, golden_npz, tmp_path, name):
    assert _same(read_weights(_save(model, tmp_path / name)), golden_npz)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EMFILE])
def test_errors_of_the_system_are_not_blamed_on_the_file(model, tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    path = _save(model, tmp_path / "model.keras")
    monkeypatch.setattr(zipfile.ZipFile, "extract", fail)
    with pytest.raises(OSError, match=os.strerror(code)):
        read_weights(path)


@pytest.mark.parametrize("name", SAVERS)
def test_a_compiled_model_has_more_to_save(golden_npz, tmp_path, name):
    model = BiT.from_preset(golden_npz)
    model.compile("sgd", "mse", metrics=["mae"])
    model.evaluate(np.zeros((1, 32, 32, 3)), np.zeros((1, 10)), verbose=0)
    model.optimizer.build(model.trainable_variables)
    assert _same(read_weights(_save(model, tmp_path / name)), golden_npz)


@pytest.mark.parametrize("name", SAVERS)
def test_bfloat16_comes_as_float32(golden_npz, tmp_path, name):
    model = BiT.from_preset(golden_npz, dtype="bfloat16")
    arrays = read_weights(_save(model, tmp_path / name))
    assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    for key, array in read_npz(golden_npz).items():
        np.testing.assert_allclose(arrays[key], array, rtol=2**-8, atol=0)


@pytest.mark.parametrize("name", SAVERS)
def test_a_new_head(model, tmp_path, name):
    path = _save(model, tmp_path / name)
    loaded = BiT.from_preset(path, num_classes=4)
    assert loaded.num_classes == 4
    other = BiT(SMALL, 10)
    load_weights(other, path)
    assert all(np.array_equal(a, b) for a, b in zip(other.get_weights(), model.get_weights(), strict=True))


def test_another_model_is_refused(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="tail")])
    other.save(tmp_path / "model.keras")
    with pytest.raises(CheckpointError, match="is of layer 'tail', which no BiT has"):
        read_weights(tmp_path / "model.keras")


def _edit_dataset(path, name: str, edit) -> None:
    """Edits the group of variables of the layer called `name`."""
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda _, node: found.append(node) if node.attrs.get("name") == name else None)
        edit(found[0])


def _nan(group):
    group["0"][...] = np.nan


def _one_too_many(group):
    group["2"] = np.ones(3)


def _rename(group):
    group.attrs["name"] = "block1_unit01_b_group_norm"


def _unknown(group):
    group.attrs["name"] = "block9_unit01_b_group_norm"


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_nan, "must be finite"),
        (_one_too_many, "is one weight or one layer too many for block1/unit01/a/group_norm"),
        (_rename, "is one weight or one layer too many for block1/unit01/b/group_norm"),
        (_unknown, "is of layer 'block9_unit01_b_group_norm', which no BiT has"),
        (lambda group: group.attrs.pop("name"), "is of layer 'None', which no BiT has|of layer None"),
    ],
)
def test_what_is_wrong_is_named(model, tmp_path, edit, words):
    path = _save(model, tmp_path / "model.weights.h5")
    _edit_dataset(path, "block1_unit01_a_group_norm", edit)
    with pytest.raises(CheckpointError, match=words):
        read_weights(path)


def test_a_configuration_is_never_run(tmp_path, model):
    """Weights are found by the names of their layers; a malicious config.json is never read."""
    path = _save(model, tmp_path / "model.keras")
    with zipfile.ZipFile(path) as archive:
        content = archive.read("model.weights.h5")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda"')
        archive.writestr("model.weights.h5", content)
    assert len(read_weights(path)) == 54


def test_a_bomb_is_refused_before_it_is_inflated(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.weights.h5", bytes(2**26))
    with pytest.raises(CheckpointError, match="promises arrays of 67108864 bytes"):
        read_weights(tmp_path / "model.keras")


@pytest.mark.parametrize("name", SAVERS)
@pytest.mark.parametrize("fraction", [0.01, 0.5, 0.99])
def test_truncated_files(model, tmp_path, name, fraction):
    path = _save(model, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(CheckpointError, match="no readable"):
        read_weights(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "x.keras", "w", method) as archive:
        archive.writestr(keras_file.WEIGHTS, b"weights")
        archive.writestr("config.json", "{}")
    with pytest.raises(CheckpointError, match=r"is no readable Keras archive: .* must be stored or deflated"):
        read_weights(tmp_path / "x.keras")
    assert keras_file.read_card(tmp_path / "x.keras") is None
