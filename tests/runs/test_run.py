"""Which split chooses the best weights, and which one the final number is of."""

import csv
import json
import shutil
import signal

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import data, training
from bit_keras.distill import DistillConfig
from bit_keras.finetune import FinetuneConfig
from bit_keras.pretrain import PretrainConfig
from bit_keras.runs import network
from bit_keras.runs import run as training_run
from bit_keras.runs.opening import open_source

SETTINGS = {"model": "R17x0.5", "steps": 12, "eval_every": 1, "batch_size": 8, "resolution": 8, "base_lr": 0.3}


@pytest.fixture
def saved(monkeypatch) -> dict:
    """Replaces the network by one linear layer, which begins with zeros, and draws no figures.

    Returns {file: the card it was written with}, and under "report" the arguments of the report.
    """

    def build(variant, num_classes, dtype=None, remat=False):
        return keras.Sequential(
            [
                keras.Input((None, None, 3)),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(num_classes, kernel_initializer="zeros"),
            ]
        )

    def save(model, path):
        cards[path.name] = model.card
        np.savez(path, *model.get_weights())

    cards = {}
    monkeypatch.setattr(network, "BiT", build)
    monkeypatch.setattr(training_run, "BiT", keras.Sequential)
    monkeypatch.setattr(training_run, "save_npz", save)
    monkeypatch.setattr(training_run.report, "write", lambda *arguments: cards.update(report=arguments))
    return cards


def _images(seed: int, count: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns dark and light images, which overlap the more, the larger their spread is."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    means = np.array([90, 160])[labels] + random.normal(0, spread, count)
    noise = random.normal(0, 30, (count, 8, 8, 3))
    return np.clip(means[:, None, None, None] + noise, 0, 255).astype(np.uint8), labels


TRAIN, VALIDATION = _images(0, 40, spread=10), _images(1, 30, spread=60)


def _source(validation: bool = True) -> data.Source:
    """Returns data whose test labels are the opposite of those of the same images for validation.

    So the accuracy falls on the test split where it rises on the validation split: each chooses other weights.
    """
    images, labels = VALIDATION
    more = {"validation_images": images, "validation_labels": labels} if validation else {}
    return data.from_arrays(*TRAIN, images[:20], 1 - labels[:20], class_names=("dark", "light"), name="lamps", **more)


def _accuracy(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    logits = keras.ops.convert_to_numpy(model(images.astype("float32") / 127.5 - 1))
    return float(np.mean(logits.argmax(axis=1) == labels))


def _rows(folder) -> list[dict[str, float]]:
    with open(folder / "metrics.csv", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.any_backend
def test_validation_chooses_and_test_is_the_number(tmp_path, saved, capsys):
    result = bit_keras.finetune(dataset=_source(), workdir=tmp_path / "run", **SETTINGS)
    accuracies = [row["val_accuracy"] for row in _rows(tmp_path / "run")]
    assert len(accuracies) == 12
    assert accuracies[0] < max(accuracies) > 0.6, "the first weights are the best ones on the test split"
    best = accuracies.index(max(accuracies)) + 1
    summary = result.summary
    assert (summary["best_step"], summary["best_validation_accuracy"]) == (best, max(accuracies))
    assert (summary["train_examples"], summary["validation_examples"], summary["test_examples"]) == (40, 30, 20)
    assert summary["best_chosen_on"] == "30 validation examples"
    assert "best_test_accuracy" not in summary

    images, labels = VALIDATION
    model = result.model
    assert summary["test_accuracy"] == pytest.approx(_accuracy(model, images[:20], 1 - labels[:20]))
    assert accuracies[-1] == pytest.approx(_accuracy(model, images, labels))
    with np.load(tmp_path / "run" / "best.npz") as archive:
        model.set_weights([archive[name] for name in archive.files])
    assert _accuracy(model, images, labels) == pytest.approx(max(accuracies))

    card = saved["weights.npz"]
    assert (card.accuracy, card.accuracy_on) == (summary["test_accuracy"], "20 test examples of lamps")
    assert (card.data["num_validation"], card.data["num_test"]) == (30, 20)
    card = saved["best.npz"]
    assert card.accuracy == max(accuracies)
    assert card.accuracy_on == "30 validation examples of lamps, which chose these weights"
    assert saved["report"][-3:] == ("validation", [], []), "the label of the learning curve; no files, no faults"
    lines = capsys.readouterr().out
    assert "lamps: 40 training, 30 validation and 20 test examples of 2 classes" in lines
    assert "best.npz will be chosen on 30 validation examples" in lines
    assert f"best.npz of update {best}, chosen on 30 validation examples" in lines


def test_without_validation_the_test_split_chooses(tmp_path, saved):
    result = bit_keras.finetune(dataset=_source(validation=False), workdir=tmp_path / "run", verbose=False, **SETTINGS)
    accuracies = [row["val_accuracy"] for row in _rows(tmp_path / "run")]
    assert result.summary["best_test_accuracy"] == max(accuracies)
    assert result.summary["best_chosen_on"] == "the same 20 test examples that test_accuracy is measured on"
    assert accuracies[-1] == pytest.approx(result.test_accuracy)
    assert "validation_examples" not in result.summary
    assert saved["best.npz"].accuracy_on is None
    assert saved["report"][-3:] == ("test", [], [])


def test_a_run_that_was_begun_without_validation_continues_without_it(tmp_path, saved, capsys):
    folder, settings = tmp_path / "run", {**SETTINGS, "steps": 5, "eval_every": 5}
    before = bit_keras.finetune(dataset=_source().without_validation(), workdir=folder, **settings)
    record = (folder / "config.json").read_text()
    assert "validation" not in record, "that of an earlier version"
    capsys.readouterr()
    after = bit_keras.finetune(dataset=_source(), workdir=folder, **settings)
    lines = capsys.readouterr().out
    assert f"{folder} was begun without the validation split, and continues without it" in lines
    assert "this run was finished before" in lines
    assert after.summary == before.summary
    assert (folder / "config.json").read_text() == record


def test_a_held_out_share_is_another_run(tmp_path, saved):
    folder, settings = tmp_path / "run", {**SETTINGS, "steps": 5, "eval_every": 5, "verbose": False}
    source = _source(validation=False)
    result = bit_keras.finetune(dataset=source, workdir=folder, validation=0.2, **settings)
    assert [result.summary[f"{split}_examples"] for split in ("train", "validation", "test")] == [32, 8, 20]
    record = json.loads((folder / "config.json").read_text())
    assert (record["validation"], record["data"]["held_out"]) == (0.2, {"share": 0.2, "seed": 0})
    for change, message in (({"validation": 0.3}, r"validation: 0\.2 there, 0\.3"), ({}, r"data: .*held_out")):
        with pytest.raises(FileExistsError, match=message):
            bit_keras.finetune(dataset=source, workdir=folder, **change, **settings)
    with pytest.raises(data.DataError, match=r"lamps has a validation split of 30 examples, .* got validation=0\.2"):
        bit_keras.finetune(dataset=_source(), workdir=tmp_path / "third", validation=0.2, **settings)
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize("kind", [FinetuneConfig, PretrainConfig, DistillConfig])
def test_the_seed_of_the_training_does_not_change_the_held_out_images(kind):
    names = {"model": "R17x0.5", "dataset": "digits", "workdir": "w"}
    names |= {"teacher": "labels"} if kind is DistillConfig else {}
    first, second = (open_source(kind(**names, validation=0.1, seed=seed), "digits") for seed in (0, 5))
    assert first.describe() == second.describe() == data.load("digits").hold_out(0.1).describe()
    np.testing.assert_array_equal(first.validation.images, second.validation.images)
    for nothing in (None, 0.0):  # as in earlier versions, whose runs resume
        assert "validation" not in json.dumps(kind(**names, validation=nothing).identity(data.load("digits")))


class Events(keras.callbacks.Callback):
    """Records what it sees; ends the training in an epoch, or sends Ctrl-C in it."""

    def __init__(self, folder, ends_in: int | None = None, interrupts_in: int | None = None):
        super().__init__()
        self.folder, self.ends_in, self.interrupts_in = folder, ends_in, interrupts_in
        self.epochs, self.begins = [], 0

    def on_train_begin(self, logs=None):
        self.begins += 1

    def on_train_batch_end(self, batch, logs=None):
        if self.params["steps"] == 4 and batch == 1 and self.interrupts_in == len(self.epochs):
            signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, epoch, logs=None):
        row = _rows(self.folder)[-1]  # already written
        assert row == {"epoch": epoch, **{name: float(value) for name, value in logs.items()}}
        self.epochs.append(epoch)
        if epoch == self.ends_in:
            self.model.stop_training = True


@pytest.mark.any_backend
def test_callbacks_of_the_user_see_every_evaluation_after_it_is_written(tmp_path, saved):
    settings = {**SETTINGS, "eval_every": 4, "dataset": _source(), "workdir": tmp_path / "run"}
    first = Events(tmp_path / "run", interrupts_in=1)
    with pytest.raises(training.TrainingInterrupted, match="SIGINT") as error:
        bit_keras.finetune(callbacks=[first], **settings)
    assert error.value.__notes__ == ["The same call, or the same cell of a notebook, resumes the training."]
    assert (first.epochs, first.begins) == ([0], 1)

    second = Events(tmp_path / "run")
    result = bit_keras.finetune(callbacks=iter([second]), **settings)
    assert (second.epochs, second.begins) == ([1, 2], 2), "the rest of the interrupted epoch is a fit of its own"
    assert result.history == _rows(tmp_path / "run")
    assert [row["step"] for row in result.history] == [4, 8, 12]
    assert "callbacks" not in json.loads((tmp_path / "run" / "config.json").read_text())

    third = Events(tmp_path / "run")
    bit_keras.finetune(callbacks=[third], **settings)  # finished before
    assert third.begins == 0


@pytest.mark.any_backend
def test_a_callback_may_end_the_training(tmp_path, saved):
    settings = {**SETTINGS, "eval_every": 4, "dataset": _source(), "workdir": tmp_path / "run"}
    stops = Events(tmp_path / "run", ends_in=1)
    result = bit_keras.finetune(callbacks=[stops], **settings)
    assert stops.epochs == [0, 1]
    assert (result.summary["steps"], result.history[-1]["step"]) == (8, 8)
    images, labels = VALIDATION
    assert result.test_accuracy == pytest.approx(_accuracy(result.model, images[:20], 1 - labels[:20]))
    assert bit_keras.finetune(**settings).summary["steps"] == 12, "the same call trains on"


class Does(keras.callbacks.Callback):
    """Calls a function after a number of batches."""

    def __init__(self, function, after: int):
        super().__init__()
        self.function, self.left = function, after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            self.function()


def test_a_folder_is_in_use_until_the_run_ends(tmp_path, saved):
    settings = {**SETTINGS, "dataset": _source(), "workdir": tmp_path / "run", "verbose": False}
    refused = []

    def start_again():
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(BlockingIOError, match="is in use by process") as error:
            bit_keras.finetune(**settings)
        refused.append(str(error.value))
        assert sorted(tmp_path.rglob("*")) == before

    bit_keras.finetune(callbacks=[Does(start_again, after=6)], **settings)
    assert len(refused) == 1
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("settings", [{}, {"checkpoint_every": 1, "eval_every": 12}])
def test_a_run_whose_folder_is_removed_ends_and_leaves_nothing(tmp_path, saved, settings):
    settings = {**SETTINGS, "dataset": _source(), "workdir": tmp_path / "run", "verbose": False, **settings}
    with pytest.raises(FileNotFoundError, match="run was removed or replaced while a run was writing to it"):
        bit_keras.finetune(callbacks=[Does(lambda: shutil.rmtree(tmp_path / "run"), after=6)], **settings)
    assert not (tmp_path / "run" / "checkpoint").exists()
    shutil.rmtree(tmp_path / "run", ignore_errors=True)
    assert bit_keras.finetune(**settings).summary["steps"] == 12


def test_a_damaged_log_is_written_anew_and_a_damaged_checkpoint_is_named(tmp_path, saved):
    settings = {**SETTINGS, "eval_every": 4, "dataset": _source(), "workdir": tmp_path / "run", "verbose": False}
    with pytest.raises(training.TrainingInterrupted):
        bit_keras.finetune(callbacks=[Does(lambda: signal.raise_signal(signal.SIGINT), after=6)], **settings)
    log, checkpoint = tmp_path / "run" / "metrics.csv", tmp_path / "run" / "checkpoint" / "last.weights.h5"
    log.write_bytes(log.read_bytes()[:30])
    good = checkpoint.read_bytes()
    checkpoint.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match=r"last\.weights\.h5 cannot be resumed from.*delete it"):
        bit_keras.finetune(**settings)
    checkpoint.write_bytes(good)
    result = bit_keras.finetune(**settings)
    assert result.history == _rows(tmp_path / "run")
    assert [row["step"] for row in result.history] == [4, 8, 12]
