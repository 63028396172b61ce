"""What is known about a model before its network is built, and its files on other machines."""

import json
import shutil

import pytest

pytest.importorskip("ray", reason="needs the extra ray")

from bit_keras import detection
from bit_keras.bulk.model import choose_settings, packed, unpacked
from bit_keras.checkpoints import CheckpointError
from bit_keras.inference.predictor import Predictor
from tests.bulk.conftest import NAMES

GIVEN = {
    "what": "both",
    "top": 3,
    "class_names": None,
    "resolution": None,
    "precision": "float32",
    "loader": "grain",
}


def test_as_the_predictor(weights, photos):
    path, settings = choose_settings(weights, **GIVEN)
    assert (settings.class_names, settings.resolution, settings.fit) == (NAMES, 32, "squash")
    predictor = settings.predictor(path, batch_size=4)
    assert (predictor.names, predictor.resolution, predictor.top) == (NAMES, 32, 3)
    _, settings = choose_settings(weights, **{**GIVEN, "class_names": [f"{k}" for k in range(10)], "resolution": 16})
    assert (settings.class_names[9], settings.resolution) == ("9", 16)
    (row,) = predictor.iterate(photos / "a" / "0000.png")
    assert row.features.shape == (1024,)


def test_published_weights_know_their_names_by_their_preset():
    path, settings = choose_settings("BiT-mini-R17x0.5", **GIVEN)
    predictor = Predictor("BiT-mini-R17x0.5")
    assert (settings.class_names, settings.resolution) == (predictor.names, predictor.resolution)
    assert path.is_file()


def test_files_on_another_machine(golden_npz, tmp_path, monkeypatch):
    """Of a run of an earlier version, whose weights have no card."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(golden_npz, run / "weights.npz")
    (run / "config.json").write_text(json.dumps({"data": {"name": "birds"}, "backend": "jax", "fit": "crop"}))
    (run / "task.json").write_text(json.dumps({"resolution": 24, "class_names": NAMES}))
    path, settings = choose_settings(run, **GIVEN)
    assert (settings.class_names, settings.resolution, settings.fit) == (NAMES, 24, "crop")
    files = packed(path)
    assert set(files.contents) == {"weights.npz", "config.json", "task.json"}
    shutil.rmtree(run)
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
    there = unpacked(files)
    assert there.read_bytes() == golden_npz.read_bytes()
    assert unpacked(files) == there
    assert choose_settings(there, **GIVEN)[1] == settings


def test_a_saved_model(reusable_saved_model, tmp_path, monkeypatch):
    path, settings = choose_settings(reusable_saved_model, **{**GIVEN, "what": "predictions"})
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path))
    there = unpacked(packed(path))
    assert settings.predictor(there, batch_size=2).names == NAMES
    with pytest.raises(ValueError, match=r"a SavedModel gives predictions, .* got what=both"):
        choose_settings(reusable_saved_model, **GIVEN)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"class_names": ["a"]}, ValueError, "must be a name for each output of the network, got 1 for 10"),
        ({"loader": "x"}, ValueError, "loader must be one of"),
    ],
)
def test_refusals(weights, change, error, message):
    with pytest.raises(error, match=message):
        choose_settings(weights, **{**GIVEN, **change})


def test_a_detector_is_no_classifier(tmp_path):
    detection.save_npz(detection.Detector("R17x0.5", 3, width=32, depth=1), tmp_path / "detector.npz")
    with pytest.raises(CheckpointError, match="holds a detector"):
        choose_settings(tmp_path / "detector.npz", **GIVEN)
