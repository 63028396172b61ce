"""Safetensors files in shards, and their index."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bit_keras.checkpoints import CheckpointError, read_weights, write_safetensors
from tests.checkpoints.official import random_arrays

ARRAYS = random_arrays()
INDEX = "model.safetensors.index.json"
SHARDS = [f"model-0000{k}-of-00003.safetensors" for k in (1, 2, 3)]


@pytest.fixture
def folder(tmp_path):
    """What save_pretrained writes with a small max_shard_size."""
    write_safetensors(ARRAYS, tmp_path / "all.safetensors")
    tensors = load_file(tmp_path / "all.safetensors")
    (tmp_path / "all.safetensors").unlink()
    placed = {name: SHARDS[number % 3] for number, name in enumerate(sorted(tensors))}
    for shard in SHARDS:
        save_file({name: tensors[name] for name in tensors if placed[name] == shard}, tmp_path / shard)
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}, indent=2))
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", ["", INDEX])
def test_the_folder_or_the_index(folder, name):
    read = read_weights(folder / name)
    assert set(read) == set(ARRAYS)
    assert all(np.array_equal(read[key], ARRAYS[key]) for key in ARRAYS)


def test_one_shard_alone(folder):
    with pytest.raises(CheckpointError, match=rf"one of several shards: give the index of all of them, .*{INDEX}"):
        read_weights(folder / SHARDS[1])
    only = (folder / SHARDS[0]).rename(folder / "model-00001-of-00001.safetensors")
    with pytest.raises(CheckpointError, match=r"holds no BiT|not tensors of"):  # it is read, but lacks the stem
        read_weights(only)


def _edit(folder, edit) -> None:
    content = json.loads((folder / INDEX).read_text())
    edit(content)
    (folder / INDEX).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda c: c["weight_map"].popitem(), "differ: only one of them has stem.conv.weight"),
        (lambda c: c["weight_map"].update({"a": SHARDS[0]}), "differ: only one of them has a"),
        (lambda c: c["weight_map"].update({"a": "gone.safetensors"}), "missing beside it: gone.safetensors"),
        (lambda c: c["weight_map"].update({"a": "../a.safetensors"}), "must lie beside the index, got '../a.safetens"),
        (lambda c: c["weight_map"].update({"a": "/a.safetensors"}), "must lie beside the index"),
        (lambda c: c["weight_map"].update({"a": ""}), "must lie beside the index, got ''"),
        (lambda c: c.update(weight_map={"a": 1}), "no index of safetensors files"),
        (lambda c: c.pop("weight_map"), "no index of safetensors files"),
    ],
)
def test_damaged_indices(folder, edit, words):
    _edit(folder, edit)
    with pytest.raises(CheckpointError, match=words):
        read_weights(folder / INDEX)


@pytest.mark.parametrize("text", ["{", '{"weight_map": ' + "[" * 10**5, " {}"])
def test_text_that_is_no_index(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match="is text, and no index of safetensors files"):
        read_weights(tmp_path / "config.json")
