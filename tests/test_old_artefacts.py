"""Files written by version 0.1 of 28 November 2026, before its modules were moved.

`fixtures/version_0_1.tar.xz` holds a BiT R17x0.5 with sparse weights:
- `model.keras`, compiled with the optimizer of a rule and frozen up to block 1, and `logits.npy`, its logits of
  `IMAGES`;
- `weights.npz` of the same network with a head of 3 classes;
- `run`, the workdir of a fine-tuning on the digits that was killed after update 6 of 10, and `uninterrupted.csv`, the
  `metrics.csv` of the same run without the kill.
"""

import csv
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.system.files import extract

IMAGES = np.random.default_rng(1).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("version_0_1")
    with tarfile.open(Path(__file__).parent / "fixtures" / "version_0_1.tar.xz") as archive:
        extract(archive, folder)
    return folder / "files"


@pytest.mark.any_backend
def test_a_keras_file(files):
    model = keras.saving.load_model(files / "model.keras")
    assert type(model) is bit_keras.BiT
    expected = np.load(files / "logits.npy")
    found = keras.ops.convert_to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert model.resolution == 32
    assert [layer.name for layer in model.backbone.layers if layer.weights and not layer.trainable][-1].startswith(
        "block1"
    )
    schedule = model.optimizer.get_config()["learning_rate"]
    assert (schedule["class_name"], schedule["config"]["total_steps"]) == ("WarmupThenDrops", 20)
    assert type(model.optimizer).__name__ == "SGD"


@pytest.mark.any_backend
def test_an_npz_file(files):
    model = bit_keras.BiT.from_preset(files / "weights.npz")
    assert (model.variant.name, model.num_classes) == ("R17x0.5", 3)
    expected = keras.saving.load_model(files / "model.keras").backbone(IMAGES, training=False)
    np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (model.backbone(IMAGES, training=False), expected)))


def test_a_workdir_resumes(files, monkeypatch, capsys):
    monkeypatch.chdir(files)
    settings = {"steps": 10, "eval_every": 2, "resolution": 32, "batch_size": 32, "freeze": "block4", "seed": 3}
    result = bit_keras.finetune("weights.npz", "digits", "run", **settings)
    assert "resuming run after update 6 of 10" in capsys.readouterr().out

    def rows(path: Path) -> list[dict[str, float]]:
        with path.open() as file:
            return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]

    found, expected = rows(files / "run" / "metrics.csv"), rows(files / "uninterrupted.csv")
    for row in (*found, *expected):
        del row["seconds"], row["images_per_second"]
    assert [row["step"] for row in found] == [2, 4, 6, 8, 10]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-4)  # processors round differently
    assert result.test_accuracy == found[-1]["val_accuracy"]
