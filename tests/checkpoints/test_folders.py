"""Which file of a folder is taken."""

import pytest

from bit_keras.checkpoints import CheckpointError, locate
from bit_keras.checkpoints.folders import weight_file


def _make(folder, *names) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (["best.npz", "weights.npz", "config.json", "other.h5"], "best.npz"),
        (["weights.npz", "config.json"], "weights.npz"),
        (["config.json", "model.safetensors", "pytorch_model.bin", "README.md"], "model.safetensors"),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            "model.safetensors.index.json",
        ),
        (["birds.keras", ".hidden.npz"], "birds.keras"),
        (["saved_model.pb", "a.npz", "b.npz"], None),
    ],
)
def test_the_file_that_is_taken(tmp_path, caplog, names, taken):
    caplog.set_level("INFO", "bit_keras")
    _make(tmp_path / "run", *names)
    path = tmp_path / "run" / (taken or "")
    assert weight_file(tmp_path / "run") == path
    assert weight_file(path) == path
    assert locate(tmp_path / "run") == (path, None)
    where = "of the run in" if path.suffix == ".npz" else "in the folder"
    assert caplog.messages == ([f"{where} {tmp_path / 'run'}: {path.name}"] if taken else [])


def test_several_files_are_listed(tmp_path):
    _make(tmp_path, *(f"epoch{k:02d}.h5" for k in range(12)))
    with pytest.raises(
        CheckpointError, match=r"12 weight files, give the path of one: epoch00\.h5, .*09\.h5 and 2 more"
    ):
        weight_file(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "is a folder without weights: it must hold best.npz or weights.npz, .* it holds no files"),
        (["a.txt"], "that ends in .npz, .h5, .keras, .safetensors, .safetensors.index.json; it holds a.txt"),
        (["config.json"], "of a run that has written no weights yet"),
    ],
)
def test_without_weights(tmp_path, names, words):
    _make(tmp_path, *names)
    with pytest.raises(FileNotFoundError, match=words):
        weight_file(tmp_path)


def test_other_paths(tmp_path):
    assert weight_file(tmp_path / "nothing") == tmp_path / "nothing"
