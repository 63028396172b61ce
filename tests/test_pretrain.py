"""Pre-training: its settings, its loss, and a small complete run."""

import csv
import json
import re

import keras
import numpy as np
import pytest

from bit_keras import BiT, data
from bit_keras.checkpoints import read_npz
from bit_keras.pretrain import PretrainConfig, SigmoidCrossEntropy, pretrain

pytestmark = pytest.mark.usefixtures("tiny")

SETTINGS = {"batch_size": 16, "resolution": 16, "min_area": 0.5, "epochs": 2, "eval_every": 8}


def _stripes(count: int, seed: int):
    """Returns images of horizontal or vertical stripes with random phase, 12 x 12 pixels, and their labels."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    rows = (np.arange(12) + random.integers(0, 4, (count, 1))) % 4 < 2
    images = np.where(labels[:, None, None] == 1, rows[:, None, :], rows[:, :, None])
    return np.repeat(images[..., None] * np.uint8(255), 3, axis=-1).astype(np.uint8), labels


@pytest.fixture(scope="module")
def source() -> data.Source:
    return data.from_arrays(*_stripes(128, 0), *_stripes(20, 1), name="stripes")


@pytest.mark.any_backend
def test_the_sigmoid_loss_is_the_sum_over_the_classes_in_numpy():
    logits = np.array([[3.0, -2.0, 0.5], [-40.0, 40.0, 0.0]], "float32")
    labels = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], "float32")  # two classes are true for the first image
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    with np.errstate(divide="ignore"):
        losses = -np.where(labels == 1, np.log(p), np.log1p(-p)).sum(axis=-1)
    loss = SigmoidCrossEntropy()(labels, logits)
    assert float(loss) == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.any_backend
def test_a_network_learns_from_random_weights(source, tmp_path):
    result = pretrain("tiny", source, tmp_path / "run", **{**SETTINGS, "epochs": 6, "eval_every": 48})
    assert result.test_accuracy > 0.8
    assert json.loads((tmp_path / "run" / "report" / "summary.json").read_text())["steps"] == 48
    again = BiT.from_preset(tmp_path / "run" / "weights.npz")
    images, _ = next(iter(data.test_batches(source, batch_size=20, crop=16)))
    expected = result.model.predict_on_batch(np.asarray(images))
    np.testing.assert_allclose(again.predict_on_batch(np.asarray(images)), expected, atol=1e-5 * np.abs(expected).max())


def test_the_schedule_and_the_head_are_those_of_the_paper(source, tmp_path):
    pretrain("tiny", source, tmp_path / "run", **SETTINGS, loss="sigmoid", weight_decay=0.1)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(float(row["step"])) for row in rows] == [8, 16]
    # 16 updates: drops after 5, 11 and 14, the last update two drops below 0.03 * 16 / 256.
    assert float(rows[0]["learning_rate"]) == pytest.approx(0.03 * 16 / 256 / 10)
    assert float(rows[1]["learning_rate"]) == pytest.approx(0.03 * 16 / 256 / 1000)
    assert float(rows[0]["loss"]) < 1.5  # the sum over the two classes, initially 1.5


def test_a_run_that_was_cut_off_ends_like_an_uninterrupted_one(source, tmp_path, monkeypatch):
    settings = {**SETTINGS, "epochs": 0.75, "eval_every": 6, "checkpoint_every": 3}
    pretrain("tiny", source, tmp_path / "whole", **settings)

    class Cut(Exception):
        pass

    from bit_keras import training

    save, saves = training.Checkpoint.save, []

    def save_and_cut(self, running):
        save(self, running)
        saves.append(running)
        if len(saves) == 1:
            raise Cut

    monkeypatch.setattr(training.Checkpoint, "save", save_and_cut)
    with pytest.raises(Cut):
        pretrain("tiny", source, tmp_path / "cut", **settings)
    pretrain("tiny", source, tmp_path / "cut", **settings)
    whole, cut = (read_npz(tmp_path / name / "weights.npz") for name in ("whole", "cut"))
    for key, array in whole.items():
        np.testing.assert_allclose(cut[key], array, rtol=0, atol=1e-6 * np.abs(array).max(), err_msg=key)


def test_imagenet_by_its_name(mock_tfds, tmp_path):
    with mock_tfds("imagenet2012", {"train": 1_281_167, "validation": 50_000}, num_examples=8):
        settings = {"batch_size": 8, "resolution": 8, "epochs": 5 * 8 / 1_281_167}
        result = pretrain("tiny", "imagenet2012", tmp_path / "run", **settings, data_dir=str(tmp_path / "tfds"))
    assert result.summary["steps"] == 5
    assert result.model.num_classes == 1_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "R18x1"}, "model must be one of R17x0.5, R50x1"),
        ({"loss": "hinge"}, "loss must be one of softmax, sigmoid; got 'hinge'"),
        ({"epochs": 0}, "epochs must be more than 0, got 0"),
        ({"min_area": 0}, "min_area must lie in (0, 1], got 0"),
        ({"weight_decay": -1}, "weight_decay must be 0 or more, got -1"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
        ({"accumulate": 3}, "accumulate must divide the batch size 4096, got 3"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        PretrainConfig(**{"model": "R50x1", "dataset": "digits", "workdir": "w", **change})


def test_the_head_bias_of_the_sigmoid_loss():
    from bit_keras.pretrain import _loss

    network = BiT("tiny", 4)
    _loss("sigmoid", network)
    head = keras.ops.convert_to_numpy(network.layers[-1].bias)
    np.testing.assert_allclose(1 / (1 + np.exp(-head)), 1 / (1 + 4), rtol=1e-6)
