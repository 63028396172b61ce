"""Conversion between all formats, and its checks."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras import BiT, checkpoints, convert
from bit_keras.checkpoints import CheckpointError, read_npz, read_weights
from bit_keras.convert import TOLERANCE
from tests import torchvision_operators  # noqa: F401  before timm

ENDINGS = (".npz", ".safetensors", ".weights.h5", ".keras", "")


def _same(path, golden) -> bool:
    arrays = read_weights(path)
    return set(arrays) == set(golden) and all(np.array_equal(arrays[key], golden[key]) for key in golden)


def _left_behind(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_from_every_other(check_here, golden_npz, tmp_path, ending):
    golden = read_npz(golden_npz)
    with check_here():
        first = convert.convert(golden_npz, tmp_path / f"first{ending}")
    assert (first.path, first.variant, first.num_classes) == (tmp_path / f"first{ending}", "R17x0.5", 10)
    assert first.source_difference is None  # the official code no longer runs
    runs = ending in (".safetensors", ".keras", "")
    assert (first.difference is not None) == runs
    assert _same(first.path, golden)
    for other in {".npz", ".safetensors"} - {ending}:
        second = convert.convert(first.path, tmp_path / f"second{other}", run_source=True)
        assert (second.source_difference is not None) == runs
        assert all(d < 1e-5 for d in (second.source_difference, second.difference, first.difference) if d is not None)
        assert _same(second.path, golden)


@pytest.mark.parametrize("name", ["source.keras", "source"])
def test_a_program_is_run_only_when_asked(golden_npz, tmp_path, monkeypatch, name):
    golden = read_npz(golden_npz)
    if name == "source":
        root = tf.train.Checkpoint()
        root.variables = [tf.Variable(array, name=key) for key, array in golden.items()]
        tf.saved_model.save(root, str(tmp_path / name))
    else:
        BiT.from_preset(golden_npz).save(tmp_path / name)

    def run_foreign(*_, **__):
        raise AssertionError("the source was run")

    monkeypatch.setattr(tf.saved_model, "load", run_foreign)
    monkeypatch.setattr(keras.saving, "load_model", run_foreign)
    done = convert.convert(tmp_path / name, tmp_path / "a.npz")
    assert (done.source_difference, done.source_is_program) == (None, True)
    assert _same(done.path, golden)
    with pytest.raises(AssertionError, match="the source was run"):
        convert.convert(tmp_path / name, tmp_path / "b.npz", run_source=True)
    assert _left_behind(tmp_path) == ["a.npz", name]


def test_a_new_head(golden_npz, tmp_path):
    headless = {key: array for key, array in read_npz(golden_npz).items() if "/head/" not in key}
    checkpoints.write_npz(headless, tmp_path / "features.npz")
    with pytest.raises(CheckpointError, match="holds no head: give num_classes="):
        convert.convert(tmp_path / "features.npz", tmp_path / "model.safetensors")
    done = convert.convert(tmp_path / "features.npz", tmp_path / "model.safetensors", num_classes=3)
    assert (done.num_classes, done.difference) == (3, 0)
    assert not read_weights(tmp_path / "model.safetensors")["resnet/head/conv2d/kernel"].any()


@pytest.mark.parametrize("name", ["birds", "bird.v1.2", "model.v2", "runs.best"])
def test_names_with_dots_have_no_ending(name):
    assert convert._writer(Path("folder.npz", name)) is convert._WRITERS[""]


@pytest.mark.parametrize("name", ["weights.zip", "weights.h5", "weights.npz.old", "weights.NPZ", "birds.tar.gz"])
def test_endings_that_no_format_has(golden_npz, tmp_path, name):
    words = r"must end in \.npz, \.safetensors, \.weights\.h5, \.keras, or have no ending for a SavedModel, got"
    with pytest.raises(ValueError, match=words):
        convert.convert(golden_npz, tmp_path / name)
    assert not _left_behind(tmp_path)


def test_what_is_there_stays(golden_npz, tmp_path):
    (tmp_path / "a.npz").write_text("mine")
    (tmp_path / "folder").mkdir()
    for name, overwrite in (("a.npz", False), ("folder", False), ("folder", True)):
        with pytest.raises(FileExistsError, match="--overwrite replaces a file, never a directory"):
            convert.convert(golden_npz, tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "a.npz").read_text() == "mine"
    convert.convert(golden_npz, tmp_path / "a.npz", overwrite=True)
    assert _same(tmp_path / "a.npz", read_npz(golden_npz))


def test_the_source_must_be_what_was_asked_for(golden_npz, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds R17x0\.5, not R50x1"):
        convert.convert(golden_npz, tmp_path / "a.npz", variant="R50x1")
    with pytest.raises(ValueError, match="no file is called"):
        convert.convert(tmp_path / "nothing.npz", tmp_path / "a.npz")
    assert not _left_behind(tmp_path)


def test_a_copy_with_one_other_number_is_not_kept(golden_npz, tmp_path, monkeypatch):
    write = checkpoints.write_npz

    def write_wrong(arrays, path, card):
        gamma = arrays["resnet/group_norm/gamma"]
        write(arrays | {"resnet/group_norm/gamma": np.nextafter(gamma, np.float32(9))}, path, card)

    monkeypatch.setattr(checkpoints, "write_npz", write_wrong)
    with pytest.raises(RuntimeError, match=r"a\.npz was read again and differs in resnet/group_norm/gamma$"):
        convert.convert(golden_npz, tmp_path / "a.npz")
    assert not _left_behind(tmp_path)


@pytest.mark.parametrize("side", ["source", "copy"])
@pytest.mark.parametrize("value", [2 * TOLERANCE, np.nan])
def test_other_logits_in_the_formats_own_library(golden_npz, tmp_path, monkeypatch, side, value):
    model = BiT.from_preset(golden_npz)

    def peer(path, *_):
        is_source = path == golden_npz
        scale = 1 + value if is_source == (side == "source") else 1
        return lambda images: scale * np.asarray(model(images))

    monkeypatch.setattr(convert, "peer", peer)
    monkeypatch.setattr(convert, "_CHECK_SIZES", ((1, 32, 32),))
    message = r"gives different logits in its own library, by .* of their scale; allowed is"
    with pytest.raises(RuntimeError, match=message):
        convert.convert(golden_npz, tmp_path / "a.npz")
    assert not _left_behind(tmp_path)


def test_program(run_program, golden_h5, golden_npz, tmp_path):
    result = run_program("bit_keras.convert", golden_h5, tmp_path / "a.npz")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [
        f"{tmp_path / 'a.npz'}: R17x0.5 with 10 classes, read again, bit-identical",
        "  logits of the source: not compared: no other library that runs this format is installed",
        "  logits of the copy:   not compared: no other library that runs this format is installed",
    ]
    assert _same(tmp_path / "a.npz", read_npz(golden_npz))


def test_program_that_fails_writes_nothing(run_program, golden_npz, tmp_path):
    (tmp_path / "half.npz").write_bytes(golden_npz.read_bytes()[:-100])
    result = run_program("bit_keras.convert", tmp_path / "half.npz", tmp_path / "a.safetensors")
    assert result.returncode == 1
    assert "half.npz is no readable npz file" in result.stderr
    assert "Traceback" not in result.stderr
    assert _left_behind(tmp_path) == ["half.npz"]


def test_program_lists_what_was_published(run_program):
    result = run_program("bit_keras.convert", "--list", "BiT-S-*")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 8
    assert lines[1].split()[:3] == ["BiT-S-R50x1", "R50x1", "1000"]
    assert run_program("bit_keras.convert", "only-one").returncode != 0
