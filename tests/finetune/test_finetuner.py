"""The whole fine-tuner, with the tiny variant on real digits."""

import csv
import dataclasses
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.checkpoints import read_npz
from bit_keras.figures import report
from bit_keras.finetune import ExportFailed, FinetuneConfig, finetuner
from bit_keras.runs import network
from bit_keras.runs import run as training_run
from bit_keras.saved_models import export as saved_models_export

pytestmark = pytest.mark.usefixtures("tiny")

SMALL = {"model": "tiny", "dataset": "digits", "steps": 12, "batch_size": 16, "resolution": 16, "flip": False}
SMALL["eval_every"] = 100  # only once, at the end


def run(workdir, **changes):
    return bit_keras.finetune(workdir=str(workdir), **{**SMALL, **changes})


def few_images(seed: int = 0) -> data.Source:
    """Ten classes of four images, half of them in the test split: for tests in which nothing is learned."""
    images = np.random.default_rng(seed).integers(0, 256, (40, 8, 6, 3), np.uint8)
    labels = np.arange(40) % 10
    return data.from_arrays(images[:20], labels[:20], images[20:], labels[20:])


class _Stopped(Exception):
    pass


@pytest.fixture
def stopped_at_fit(monkeypatch) -> Callable[..., tuple]:
    """Returns a function that starts a run and returns the arguments of `fit`: model, batches and those with names."""

    def start(workdir, **changes) -> tuple[keras.Model, Iterable, dict]:
        def fit(model, batches, **kwargs):
            arguments.extend((model, batches, kwargs))
            raise _Stopped

        arguments = []
        with monkeypatch.context() as patch:
            patch.setattr(keras.Model, "fit", fit)
            with pytest.raises(_Stopped):
                run(workdir, **changes)
        return tuple(arguments)

    return start


@pytest.mark.any_backend
def test_learns_and_writes_all_that_a_run_should_leave(tmp_path, capsys):
    result = run(tmp_path / "run", schedule="upstream", steps=40, batch_size=32, eval_every=15)
    folder = result.workdir
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == [
        f"test accuracy {result.test_accuracy:.4f} on 360 examples",
        f"weights in {folder / 'weights.npz'}",
        f"report in {folder / 'report'}",
    ]
    assert [line for line in lines if "1,437 training and 360 test examples of 10 classes" in line]
    assert [line for line in lines if "40 updates, learning rate 0.00375 after 2 of warm-up" in line]
    assert len([line for line in lines if " step " in line and "val_accuracy" in line]) == 3
    assert {"config.json", "task.json", "metrics.csv", "tensorboard", "checkpoint", "report", "weights.npz"} <= {
        p.name for p in folder.iterdir()
    }
    assert list((folder / "tensorboard" / "train").glob("events.*"))
    with open(folder / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [15, 30, 40]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"]) - 0.05
    assert result.test_accuracy > 0.2, "chance is 0.1"
    summary = json.loads((folder / "report" / "summary.json").read_text())
    assert summary == result.summary
    assert summary["steps"] == 40
    assert summary["test_examples"] == 360
    assert summary["seconds"] > 0
    assert summary["images_per_second"] > 0

    card = result.model.card
    assert card == bit_keras.BiT.from_preset(folder / "weights.npz").card
    assert (card.variant, card.resolution, card.training_resolution, card.weights) == ("tiny", 16, 16, None)
    assert (card.class_names, card.data["num_train"]) == (tuple("0123456789"), 1437)
    assert (card.accuracy, card.accuracy_on) == (result.test_accuracy, "360 test examples of digits")
    assert bit_keras.BiT.from_preset(folder / "best.npz").card == dataclasses.replace(
        card, accuracy=None, accuracy_on=None
    )
    assert json.loads((folder / "task.json").read_text()) == {"resolution": 16, "class_names": list("0123456789")}

    source = data.load("digits")
    saved = bit_keras.BiT.from_preset(folder / "weights.npz", variant="tiny")
    for a, b in zip(saved.get_weights(), result.model.get_weights()):
        np.testing.assert_array_equal(a, b)
    images, labels = zip(*data.test_batches(source, batch_size=360, crop=16).as_numpy_iterator())
    classes = result.model.predict(images[0], verbose=0).argmax(axis=1)
    assert summary["test_accuracy"] == result.test_accuracy == np.mean(classes == labels[0].argmax(axis=1))
    assert float(rows[-1]["val_accuracy"]) == pytest.approx(result.test_accuracy)


@pytest.fixture
def tiny_network(monkeypatch):
    """Replaces the network by one convolution and draws no figures: for tests of the run itself."""

    def build(variant, num_classes, dtype=None, remat=False):
        return keras.Sequential(
            [
                keras.Input((None, None, 3)),
                keras.layers.Conv2D(8, 3, activation="relu", dtype=dtype),
                keras.layers.GlobalAveragePooling2D(dtype=dtype),
                keras.layers.Dense(num_classes, dtype="float32"),
            ]
        )

    monkeypatch.setattr(network, "BiT", build)
    monkeypatch.setattr(training_run, "save_npz", lambda *arguments: None)
    monkeypatch.setattr(training_run.report, "write", lambda *arguments: None)


class _Killed(Exception):
    pass


def test_a_cut_off_run_goes_on_and_ends_as_it_would_have(tmp_path, monkeypatch, tiny_network, capsys):
    whole = run(tmp_path / "whole", eval_every=4, verbose=False)
    assert capsys.readouterr().out == ""

    written = keras.callbacks.TensorBoard.on_epoch_end

    def cut_off(self, epoch, logs=None):
        if epoch == 1:
            raise _Killed

    monkeypatch.setattr(keras.callbacks.TensorBoard, "on_epoch_end", cut_off)  # after the second row of metrics.csv
    with pytest.raises(_Killed):
        run(tmp_path / "cut", eval_every=4)
    monkeypatch.setattr(keras.callbacks.TensorBoard, "on_epoch_end", written)
    capsys.readouterr()
    resumed = run(tmp_path / "cut", eval_every=4)
    assert f"resuming {tmp_path / 'cut'} after update 4 of 12" in capsys.readouterr().out
    for a, b in zip(whole.model.get_weights(), resumed.model.get_weights()):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(np.abs(a).max(), 1))
    assert resumed.test_accuracy == pytest.approx(whole.test_accuracy, abs=0.01)
    again = run(tmp_path / "cut", eval_every=4)
    assert "this run was finished before: all 12 updates were made" in capsys.readouterr().out
    assert again.summary == resumed.summary


def test_a_preset_file_gets_a_new_head_and_the_rule_of_few_examples(tmp_path, tiny_npz, stopped_at_fit):
    model, batches, fitted = stopped_at_fit(tmp_path, model=str(tiny_npz), variant="tiny", examples_per_class=2)
    assert not any(weights.any() for weights in model.get_layer("head").get_weights())
    with np.load(tiny_npz) as archive:
        kernel = archive["resnet/root_block/standardized_conv2d/kernel"]
    np.testing.assert_array_equal(model.backbone.weights[0].numpy(), kernel)
    schedule = next(c for c in fitted["callbacks"] if isinstance(c, bit_keras.rules.HyperRuleCallback)).schedule
    assert schedule == bit_keras.HyperRule(20, (8, 8), 16, steps=12, resolution=16).schedule
    images, _ = next(iter(batches))
    assert images.shape == (16, 16, 16, 3)


def test_the_head_of_a_run_on_the_same_classes_is_kept_and_any_other_one_is_new(tmp_path, stopped_at_fit, caplog):
    caplog.set_level("INFO", "bit_keras")
    first = run(tmp_path / "first", model="BiT-mini-R17x0.5", dataset=few_images(), steps=5)
    again = {"model": str(tmp_path / "first" / "weights.npz"), "dataset": few_images(), "steps": 5}

    def head(name, **changes):
        model, _, _ = stopped_at_fit(tmp_path / name, **{**again, **changes})
        return model.get_layer("head").get_weights()

    np.testing.assert_array_equal(head("second")[0], first.model.get_layer("head").get_weights()[0])
    assert f"the head of {again['model']} is kept: its 10 classes are those of the data" in caplog.text

    caplog.clear()
    others = few_images(seed=1)  # ten classes, but not the same ones
    assert not any(weight.any() for weight in head("third", dataset=others))
    assert f"a new head of 10 classes; the head of {again['model']} had 10: 0, 1" in caplog.text

    assert not any(weight.any() for weight in head("fourth", new_head=True))
    assert "new_head" not in json.loads((tmp_path / "second" / "config.json").read_text())


def test_other_weights_under_the_same_name_are_another_run(tmp_path, tiny_network, monkeypatch):
    monkeypatch.setattr(finetuner, "open_network", lambda model, num_classes, *rest: network.BiT(model, num_classes))
    weights = tmp_path / "mine.npz"
    weights.write_bytes(b"one")
    run(tmp_path / "run", model=str(weights))
    assert run(tmp_path / "run", model=str(weights)).workdir == tmp_path / "run"
    weights.write_bytes(b"other")
    with pytest.raises(FileExistsError, match=r"weights: \{'model': '[0-9a-f]{64}'\} there"):
        run(tmp_path / "run", model=str(weights))

    record = tmp_path / "run" / "config.json"  # of an earlier version
    config = json.loads(record.read_text())
    del config["weights"]
    record.write_text(json.dumps(config))
    (tmp_path / "run" / "task.json").unlink()
    run(tmp_path / "run", model=str(weights))
    assert json.loads(record.read_text()) == config


# A different value for every setting that affects the results.
OTHER = {
    "model": None,  # below
    "new_head": None,  # below
    "dataset": None,  # tests/data
    "workdir": None,  # every test
    "variant": None,  # above
    "data_dir": None,  # tests/data
    "manual_dir": None,  # tests/data
    "image_column": None,  # tests/data
    "label_column": None,  # tests/data
    "loader": "grain",
    "skip_unreadable": None,  # below
    "validation": 0.5,
    "examples_per_class": 1,
    "seed": 1,
    "small_batch": None,  # test_config.py
    "scale": "linear",
    "accumulate": None,  # below: affects only memory
    "remat": None,  # below: affects only memory
    "freeze": None,  # test_freezing.py: needs the real network
    "batch_size": 8,
    "base_lr": 0.03,
    "schedule": "upstream",
    "steps": 14,
    "resolution": 24,
    "resize": 32,
    "random_crop": False,
    "flip": True,
    "fit": "pad",
    "precision": "mixed_bfloat16",
    "eval_every": None,  # above
    "checkpoint_every": None,  # test_kill.py
    "deterministic": None,  # test_kill.py
    "distribute": None,  # test_distribution.py: affects only speed
    "export_dir": None,  # below
}


def test_the_list_of_other_values_is_complete():
    assert set(OTHER) == {field.name for field in dataclasses.fields(FinetuneConfig)}


def test_every_setting_changes_the_run_and_the_same_settings_do_not(tmp_path, tiny_network):
    images = few_images()

    def weights(name, **changes):
        model = run(tmp_path / name, **{"dataset": images, **changes}).model
        return np.concatenate([w.ravel() for w in model.get_weights()])

    default = weights("default")
    np.testing.assert_allclose(weights("same"), default, rtol=0, atol=1e-6)
    for name, value in OTHER.items():
        if value is not None:
            assert np.abs(weights(name, **{name: value}) - default).max() > 1e-5, f"{name} changes nothing"


def test_accumulated_parts_are_one_batch(tmp_path, tiny_network):
    whole = run(tmp_path / "whole", eval_every=5)
    accumulated = run(tmp_path / "accumulated", eval_every=5, accumulate=4)
    for a, b in zip(whole.model.get_weights(), accumulated.model.get_weights()):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * np.abs(a).max())
    rows = []
    for result in (whole, accumulated):
        with open(result.workdir / "metrics.csv", newline="") as file:
            rows.append(list(csv.DictReader(file)))
    for a, b in zip(*rows, strict=True):
        assert (a["step"], a["learning_rate"]) == (b["step"], b["learning_rate"])
        assert float(a["loss"]) == pytest.approx(float(b["loss"]), rel=1e-4)


def test_a_run_may_go_on_with_rematerialization(tmp_path, tiny_network):
    run(tmp_path / "run")
    assert run(tmp_path / "run", remat=True).workdir == tmp_path / "run"


def test_a_frozen_part_does_not_move(tmp_path, golden_npz, caplog):
    caplog.set_level("INFO", "bit_keras")
    result = run(tmp_path, model=str(golden_npz), freeze="block3", dataset=few_images(), steps=6)
    before, after = read_npz(golden_npz), read_npz(tmp_path / "weights.npz")
    moved = {key.split("/")[1] for key in after if "/head/" not in key and not np.array_equal(before[key], after[key])}
    assert moved == {"block4", "group_norm"}
    trained = sum(v.size for k, v in after.items() if k.split("/")[1] in ("block4", "group_norm", "head"))
    assert f"{trained:,} of {result.summary['parameters']:,} weights are trained" in caplog.text


def test_trains_on_arrays_and_refuses_others_in_the_same_workdir(tmp_path, tiny_network):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (20, 12, 10, 3), np.uint8), np.arange(20) % 2
    source = data.from_arrays(images, labels, images[:6], labels[:6], class_names=("left", "right"))
    result = run(tmp_path, dataset=source)
    assert result.model.output_shape == (None, 2)
    assert result.summary["test_examples"] == 6
    with pytest.raises(FileExistsError, match=r"data: .*fingerprint"):
        run(
            tmp_path,
            dataset=data.from_arrays(images[::-1], labels, images[:6], labels[:6], class_names=("left", "right")),
        )


def test_unreadable_images_are_listed_in_a_file_or_left_out(tmp_path, tiny_network):
    random = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(10):
            keras.utils.save_img(tmp_path / "data" / name / f"{k}.png", random.integers(0, 256, (12, 10, 3)))
    bad = [tmp_path / "data" / "left" / "3.png", tmp_path / "data" / "right" / "7.png"]
    for path in bad:
        path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(data.DataError, match=r"3\.png[\s\S]*all of them: .*run\.unreadable\.txt; --skip_unreadable"):
        run(tmp_path / "run", dataset=str(tmp_path / "data"))
    assert (tmp_path / "run.unreadable.txt").read_text().splitlines() == [str(path) for path in bad]
    assert not (tmp_path / "run").exists()
    result = run(tmp_path / "run", dataset=str(tmp_path / "data"), skip_unreadable=True)
    assert result.summary["train_examples"] + result.summary["test_examples"] == 18


def test_faults_leave_no_workdir(tmp_path):
    workdir = tmp_path / "run"
    with pytest.raises(ValueError, match=r"no file is called 'R51x1': unknown preset"):
        run(workdir, model="R51x1")
    with pytest.raises(data.DataError, match="digits"):
        run(workdir, dataset="digitz")
    with pytest.raises(FileExistsError, match="export_dir must not exist yet"):
        run(workdir, export_dir=str(tmp_path))
    with pytest.raises(ValueError, match="steps must be 5 or more"):
        run(workdir, steps=3)
    assert not workdir.exists()


def test_the_program_says_how_to_go_on_after_a_signal(tmp_path):
    # A process of its own, as in a shell, knows no variant of the tests.
    flags = {**SMALL, "model": "R17x0.5", "steps": 2000, "eval_every": 1000, "workdir": tmp_path / "run"}
    command = [sys.executable, "-m", "bit_keras.finetune", *(f"--{name}={value}" for name, value in flags.items())]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "updates, learning rate" in line:
            break
    events = tmp_path / "run" / "tensorboard"
    while not events.exists() and process.poll() is None:  # created shortly before the first step
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, said
    assert f"stopped by SIGTERM; the state is saved; to resume:\n  python -m {' '.join(command[2:])}" in said
    assert (tmp_path / "run" / "checkpoint" / "last.weights.h5").is_file()


def test_the_program_trains_and_exports(tmp_path, run_program):
    flags = {**SMALL, "steps": 5, "workdir": tmp_path / "run", "export_dir": tmp_path / "saved_model"}
    program = ["bit_keras.finetune", *(f"--{name}={value}" for name, value in flags.items())]
    done = run_program(*program)
    assert done.returncode == 0, done.stderr
    accuracy = json.loads((tmp_path / "run" / "report" / "summary.json").read_text())["test_accuracy"]
    assert f"test accuracy {accuracy:.4f}" in done.stdout
    assert "step 5/5" in done.stderr
    assert "random weights" in done.stderr
    assert (tmp_path / "saved_model" / "assets" / "class_names.txt").read_text().split() == list("0123456789")

    refused = run_program(*program, "--seed=3", f"--export_dir={tmp_path / 'other'}")
    assert refused.returncode == 1
    assert "seed: 0 there, 3 asked for" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_names_and_exports_cost_no_finished_training(tmp_path, monkeypatch, capsys):
    def fail(*arguments, **options):
        raise OSError("the disk is full")

    names = ["$5_a_b$", "<b>&</b>", "a\nb", "漢字", "\x1b[31mred", " ", "x" * 300, '"', "\\", "#%|"]
    source = dataclasses.replace(few_images(), class_names=tuple(names))
    monkeypatch.setattr(saved_models_export, "export_saved_model", fail)
    monkeypatch.setattr(report, "learning_curve", fail)
    with pytest.raises(ExportFailed) as failed:
        run(tmp_path / "run", dataset=source, steps=5, batch_size=4, export_dir=tmp_path / "exported")
    assert str(failed.value).splitlines() == [
        f"the SavedModel {tmp_path / 'exported'} could not be written: the disk is full",
        f"The training is complete, with its weights in {tmp_path / 'run'}",
    ]
    result = failed.value.result
    assert result.test_accuracy == json.loads((tmp_path / "run/report/summary.json").read_text())["test_accuracy"]
    assert bit_keras.BiT.from_preset(tmp_path / "run/weights.npz").class_names == tuple(names)
    assert {path.name for path in (tmp_path / "run" / "report").iterdir()} == {
        *("learning_rate.png", "confusion_matrix.png", "worst_mistakes.png", "summary.json")
    }
    written = capsys.readouterr()
    assert written.err.count(f"{tmp_path}/run/report/learning_curve.png could not be written: the disk is full") == 2
    assert "\x1b" not in written.out + written.err
