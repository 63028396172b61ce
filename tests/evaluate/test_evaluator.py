"""The whole evaluation: golden weights on real digits, and a stub of a network on arrays."""

import collections
import csv
import dataclasses
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.image import imread
from PIL import Image
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score, top_k_accuracy_score

from bit_keras import data, export_saved_model
from bit_keras.checkpoints.card import Card
from bit_keras.evaluate import __main__, evaluator, options
from bit_keras.evaluate.__main__ import summary
from bit_keras.evaluate.evaluator import evaluate
from bit_keras.network.model import BiT
from bit_keras.saved_models import writer

TABLES = {"metrics.json", "per_class.csv", "predictions.csv", "confused_pairs.csv"}
FILES = {*TABLES, "confusion_matrix.png", "worst_mistakes.png"}
NUMBERS = (
    *("top1_accuracy", "top5_accuracy", "mean_per_class_accuracy"),
    *("expected_calibration_error", "cross_entropy"),
)


def read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.any_backend
def test_numbers_tables_and_picture_of_real_weights(golden_npz, tmp_path):
    evaluation = evaluate(golden_npz, "digits", tmp_path / "out", batch_size=50, resolution=32)
    ((images, targets),) = data.test_batches(data.load("digits"), batch_size=360, crop=32).as_numpy_iterator()
    logits = BiT.from_preset(golden_npz).predict(images, verbose=0).astype("float64")
    labels, classes = targets.argmax(axis=1), logits.argmax(axis=1)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(evaluation.predictions.losses, -np.log(probabilities[np.arange(360), labels]), rtol=1e-3)
    np.testing.assert_array_equal(evaluation.predictions.labels, labels)

    found = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert found == evaluation.metrics
    settings = {"examples": 360, "classes": 10, "split": "test", "resolution": 32, "dataset": "digits"}
    assert found.items() >= settings.items()
    assert found["top1_accuracy"] == pytest.approx(np.mean(classes == labels))
    assert found["top5_accuracy"] == pytest.approx(top_k_accuracy_score(labels, logits, k=5))
    assert found["mean_per_class_accuracy"] == pytest.approx(balanced_accuracy_score(labels, classes))
    assert found["cross_entropy"] == pytest.approx(log_loss(labels, probabilities), rel=1e-5)
    confidences, gap = probabilities.max(axis=1), (classes == labels) - probabilities.max(axis=1)
    bins = [gap[(m / 15 < confidences) & (confidences <= (m + 1) / 15)].sum() for m in range(15)]
    assert found["expected_calibration_error"] == pytest.approx(np.abs(bins).sum() / 360, rel=1e-4)

    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    rows = read_csv(tmp_path / "out" / "per_class.csv")
    assert [row["class"] for row in rows] == list("0123456789")
    np.testing.assert_allclose([float(row["recall"]) for row in rows], recall_score(labels, classes, average=None))
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert [int(row["index"]) for row in rows] == list(range(360))
    assert [int(row["label"]) for row in rows] == labels.tolist()
    assert [row["predicted"] for row in rows] == [row["class_1"] for row in rows] == [str(k) for k in classes]
    best = np.array([[int(row[f"class_{k}"]) for k in range(1, 6)] for row in rows])
    scores = np.array([[float(row[f"probability_{k}"]) for k in range(1, 6)] for row in rows])
    np.testing.assert_allclose(scores, np.take_along_axis(probabilities, best, axis=1), rtol=1e-3)
    np.testing.assert_allclose(scores, -np.sort(-probabilities, axis=1)[:, :5], rtol=1e-3)
    assert np.std(imread(tmp_path / "out" / "confusion_matrix.png")) > 0.01
    pairs = {
        (int(row["label"]), int(row["predicted"])): int(row["examples"])
        for row in read_csv(tmp_path / "out" / "confused_pairs.csv")
    }
    assert pairs == collections.Counter((label, best) for label, best in zip(labels, classes) if label != best)


def test_the_program_and_a_saved_model_give_the_same_numbers(golden_npz, tmp_path, monkeypatch):
    command = [
        sys.executable,
        "-m",
        "bit_keras.evaluate",
        "--dataset=digits",
        "--resolution=32",
        f"--model={golden_npz}",
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    program = subprocess.Popen([*command, f"--output={tmp_path / 'out'}"], **pipes)
    refused = subprocess.Popen([*command, f"--output={golden_npz.parent}"], **pipes)
    monkeypatch.setattr(writer, "run_python", lambda *arguments: "0")  # skips the exporter's own check, to save time
    export_saved_model(BiT.from_preset(golden_npz), tmp_path / "saved")

    stdout, stderr = program.communicate()
    assert program.returncode == 0, stderr
    of_weights = json.loads((tmp_path / "out" / "metrics.json").read_text())
    *lines, last = stdout.splitlines()
    assert last == f"report in {tmp_path / 'out'}"
    assert len({len(line) for line in lines}) == 1, "not aligned"
    assert [line.split()[-1] for line in lines] == ["360", *(f"{of_weights[name]:.4f}" for name in NUMBERS)]
    assert "360 examples in" in stderr

    of_saved_model = evaluate(tmp_path / "saved", "digits", resolution=32).metrics
    assert of_saved_model["precision"] is None
    for name in NUMBERS:
        assert of_saved_model[name] == pytest.approx(of_weights[name], abs=1e-5), name

    _, stderr = refused.communicate()
    assert refused.returncode == 1
    assert "output must be a new or empty folder" in stderr
    assert "Traceback" not in stderr


@pytest.fixture
def source():
    """Twelve training and seven test images of three classes; the brightest channel is the class."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 200, (19, 8, 8, 3), np.uint8), np.arange(19) % 3
    images[np.arange(19), :, :, labels] += 50
    return data.from_arrays(images[:12], labels[:12], images[12:], labels[12:], ["cat", "dög", 'an "owl", white'])


@pytest.fixture
def network(monkeypatch):
    """Replaces the network by a stub: its logits are the mean of each channel; it records the shapes of its batches."""
    stub = SimpleNamespace(output_shape=(None, 3), shapes=[], scale=1.0)

    def predict_on_batch(images):
        stub.shapes.append(images.shape)
        return stub.scale * images.mean(axis=(1, 2))

    stub.predict_on_batch = predict_on_batch
    monkeypatch.setattr(evaluator, "open_classifier", lambda *arguments: stub)
    return stub


def test_every_example_of_the_split_once_at_the_resolution_of_the_rule(source, network, tmp_path):
    found = evaluate("any", source, tmp_path, batch_size=4)  # an empty folder
    assert network.shapes == [(4, 128, 128, 3)] * 2  # the last batch of three images is padded
    assert found.metrics["examples"] == 7
    assert found.metrics["top1_accuracy"] == 1
    assert found.metrics["top5_accuracy"] is None, "of three classes"
    assert "top-5" not in summary(found.lines())
    rows = read_csv(tmp_path / "predictions.csv")
    assert list(rows[0]) == ["index", "file", "label", "predicted"] + [
        f"{x}_{k}" for x in ("class", "probability") for k in (1, 2, 3)
    ]
    assert [row["label"] for row in rows] == [source.class_names[k] for k in (0, 1, 2, 0, 1, 2, 0)]

    network.shapes.clear()
    found = evaluate("any", source, split="train", batch_size=12, resolution=8)
    assert network.shapes == [(12, 8, 8, 3)]
    np.testing.assert_array_equal(found.predictions.labels, np.arange(12) % 3)
    assert not len(found.predictions.mistake_images)

    found = evaluate("any", source.hold_out(0.25), split="validation", resolution=8)
    assert (found.metrics["split"], found.metrics["examples"]) == ("validation", 3)
    np.testing.assert_array_equal(found.predictions.labels, np.arange(3))


def test_the_resolution_of_the_weights_comes_before_that_of_the_rule(source, network, tmp_path, caplog):
    caplog.set_level("INFO", "bit_keras")
    (tmp_path / "config.json").write_text('{"resolution": 16, "data": {}, "backend": "jax"}')
    path, record = tmp_path / "weights.npz", tmp_path / "config.json"
    for model, asked, used, words in (
        (
            path,
            None,
            16,
            f"evaluated at 16 pixels: the weights were trained at 16 (records in {record.parent})",
        ),
        ("BiT-distilled-R50x1-160", None, 160, "evaluated at 160 pixels: the published accuracy of BiT-distilled"),
        ("any", None, 128, "evaluated at 128 pixels: the HyperRule's for these data, since"),
        (path, 24, 24, "24 pixels were asked for, but"),
    ):
        network.shapes.clear()
        caplog.clear()
        found = evaluate(model, source, resolution=asked)
        assert network.shapes == [(7, used, used, 3)]
        assert found.metrics["resolution"] == used
        assert words in caplog.text


def test_a_bar_in_a_terminal(source, network, monkeypatch, capsys):
    console = Console(force_terminal=True, width=80)
    monkeypatch.setattr("rich._console", console)
    evaluate("any", source, resolution=8)
    assert "7/7" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"model": ""}, ValueError, "model must be given"),
        ({"source": ""}, ValueError, "dataset must be given"),
        ({"split": "dev"}, ValueError, "split must be one of test, validation, train, all; got 'dev'"),
        ({"split": "validation"}, ValueError, "arrays has no validation split, only"),
        ({"precision": "float16"}, ValueError, "precision must be one of float32"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more, got 0"),
        ({"resolution": 0}, ValueError, "resolution must be 1 or more, got 0"),
        ({"output": __file__}, FileExistsError, "output must be a new or empty folder, got"),
        ({"lr": 1}, TypeError, r"evaluate\(\) has no argument 'lr'"),
        ({"image_size": 1}, TypeError, "'image_size'; did you mean resolution"),
        ({"source": None}, ValueError, "dataset must be given"),
        ({"source": (np.zeros(3), 1)}, TypeError, "source must be a name, a path, or a source such as"),
        ({"model": np.zeros(3)}, TypeError, "model must be a preset, or a path or an address of weights"),
        ({"source": "/no/such/place"}, data.DataError, "no such folder"),
        ({"model": "no-such-model"}, ValueError, "no file is called 'no-such-model'"),
    ],
)
def test_refusals(source, golden_npz, changes, error, message):
    with pytest.raises(error, match=message):
        evaluate(**{"model": golden_npz, "source": source, **changes})


def test_a_head_of_another_size_is_refused_and_nothing_is_written(source, golden_npz, tmp_path):
    output = tmp_path / "new" / "out"
    with pytest.raises(ValueError, match=r"golden_r_small.npz has 10 outputs, arrays has 3 classes: fine-tune"):
        evaluate(golden_npz, source, output)
    assert not output.parent.exists()


def test_logits_that_are_not_finite_are_refused(source, network):
    network.scale = np.array([1, np.nan, 1])
    with pytest.raises(ValueError, match=r"logits must be finite, got NaN or infinity for 7 of 7 examples"):
        evaluate("any", source, resolution=8)


def test_a_fault_while_writing_leaves_the_folder_empty(source, network, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluator, "_write_csv", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate("any", source, tmp_path / "out", resolution=8)
    assert not list(tmp_path.iterdir())


def test_a_picture_that_fails_costs_no_evaluation(source, network, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(evaluator.report, "confusion_matrix", lambda *arguments: 1 / 0)
    evaluate("any", source, tmp_path / "out", resolution=8)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *TABLES,
        "worst_mistakes.png",
    }
    assert "confusion_matrix.png could not be written: division by zero" in caplog.text


def test_the_settings_of_the_data_reach_data_and_batches(source, network, monkeypatch):
    loaded, batches = [], []
    make = data.test_batches
    monkeypatch.setattr(data, "load", lambda *name, **given: loaded.append((*name, given)) or source)
    monkeypatch.setattr(
        data, "test_batches", lambda *of, **given: batches.append(given["loader"]) or make(*of, **given)
    )
    places = {"data_dir": "/one", "manual_dir": "/two", "image_column": "photo", "label_column": "kind"}
    evaluate("any", "birds", resolution=8, loader="grain", skip_unreadable=True, **places)
    assert loaded == [("birds", {**places, "skip_unreadable": True, "divide": True})]
    assert batches == ["grain"]
    with pytest.raises(ValueError, match=r"loader must be one of tf.data, grain; got 'torch'"):
        evaluate("any", source, loader="torch")


def test_the_program_passes_the_settings_of_the_data_on(monkeypatch):
    given = {"data_dir": "/one", "manual_dir": "/two", "loader": "grain", "skip_unreadable": True}
    given |= {"image_column": "photo", "label_column": "kind"}
    given |= {"resolution": 8, "fit": "crop", "precision": "float32", "match_classes": "order", "batch_size": 1}
    values = dict.fromkeys(("model", "dataset", "output", "split", "variant"))
    called = []
    flags = {name: SimpleNamespace(value=value) for name, value in given.items()}
    monkeypatch.setattr(__main__, "flags", SimpleNamespace(FLAGS=SimpleNamespace(**values)))
    monkeypatch.setattr(options, "flags", SimpleNamespace(FLAGS=flags))
    monkeypatch.setattr(__main__, "evaluate", lambda *args, **settings: called.append(settings) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        __main__.main()
    assert called[0].items() >= given.items()


@pytest.fixture
def folder(tmp_path):
    """Six images of each of two classes, whose channel is the brightest, in files of several formats."""
    random = np.random.default_rng(0)
    for channel, name in ((2, "ant"), (0, "wren's nest")):
        for k in range(6):
            image = random.integers(0, 200, (9, 12, 3), np.uint8)
            image[:, :, channel] += 50
            path = tmp_path / "birds" / name / f"{k}.{'png' if k % 2 else 'bmp'}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return tmp_path / "birds"


@pytest.fixture
def names(monkeypatch):
    """The names of the stub's three outputs, as its card states them."""
    card = Card(class_names=("wren's nest", "emu", "ant"))
    monkeypatch.setattr(evaluator.provenance, "read_card", lambda path: card)
    return card.class_names


def test_a_whole_folder_that_lacks_a_class_of_the_weights(folder, network, names, tmp_path, caplog):
    caplog.set_level("INFO", "bit_keras")
    found = evaluate("any", folder, tmp_path / "out", split="all", resolution=8, batch_size=5)
    assert "classes of the weights that the data have no images of: 'emu'" in caplog.text
    assert found.metrics["examples"] == 12
    assert found.metrics["classes"] == 3
    assert found.metrics["top1_accuracy"] == found.metrics["mean_per_class_accuracy"] == 1
    assert found.class_names == ("ant", "wren's nest", "emu")
    assert found.predictions.num_classes == 3
    rows = read_csv(tmp_path / "out" / "per_class.csv")
    assert [(row["class"], row["examples"], row["recall"]) for row in rows] == [
        *(("ant", "6", "1.0"), ("wren's nest", "6", "1.0"), ("emu", "0", ""))
    ]
    rows = read_csv(tmp_path / "out" / "predictions.csv")
    assert sorted(row["file"] for row in rows) == sorted(map(str, folder.rglob("*.*")))  # each once
    assert all(row["file"].split("/")[-2] == row["label"] == row["predicted"] for row in rows)
    assert list(found.files) == [row["file"] for row in rows]


def test_a_whole_folder_is_every_image_once(folder, network, names):
    whole, train, test = (evaluate("any", folder, split=split, resolution=8) for split in ("all", "train", "test"))
    losses = np.concatenate([train.predictions.losses, test.predictions.losses])
    parts = sorted(zip(train.files + test.files, losses))
    for (file, expected), name, found in zip(parts, whole.files, whole.predictions.losses, strict=True):
        assert name == file
        assert found == expected


def test_classes_of_one_image_and_of_none(folder, network, names):
    for path in sorted((folder / "ant").iterdir())[1:]:
        path.unlink()
    (folder / "emu").mkdir(exist_ok=True)
    for path in (folder / "emu").iterdir():
        path.unlink()
    found = evaluate("any", folder, split="all", resolution=8, match_classes="names")
    assert {row["class"]: row["examples"] for row in found.per_class}["ant"] == 1
    assert {row["class"]: row["examples"] for row in found.per_class}["emu"] == 0
    with pytest.raises(data.DataError, match=r"a class folder must hold images, got none in .*emu"):
        evaluate("any", folder, resolution=8)


def test_the_folder_of_a_run(source, golden_npz, tmp_path, caplog):
    caplog.set_level("INFO", "bit_keras")
    with pytest.raises(FileNotFoundError, match=r"must hold best\.npz or weights\.npz"):
        evaluate(tmp_path, source)
    shutil.copy(golden_npz, tmp_path / "best.npz")
    with pytest.raises(ValueError, match="has 10 outputs"):
        evaluate(tmp_path, source)
    assert f"of the run in {tmp_path}: best.npz" in caplog.text


def test_classes_that_the_weights_do_not_know(folder, network, names):
    (folder / "ant").rename(folder / "unknown")
    with pytest.raises(ValueError, match=r"must be among the 3 of the weights; 1 of 2 are not: 'unknown'"):
        evaluate("any", folder, resolution=8)
    with pytest.raises(ValueError, match="has 3 outputs, birds has 2 classes"):
        evaluate("any", folder, resolution=8, match_classes="order")


def test_an_image_that_cannot_be_read(folder, network, names, tmp_path):
    bad = folder / "ant" / "3.png"
    bad.write_bytes(b"\x89PNG damaged")
    with pytest.raises(data.DataError, match=r"1 of 12 images cannot be used:[\s\S]*3\.png[\s\S]*--skip_unreadable"):
        evaluate("any", folder, resolution=8)
    found = evaluate("any", folder, tmp_path / "out", split="all", resolution=8, skip_unreadable=True)
    assert found.metrics["examples"] == 11
    assert str(bad) not in {row["file"] for row in read_csv(tmp_path / "out" / "predictions.csv")}


def test_mistakes_of_outputs_in_another_order_are_drawn_with_their_files(folder, network, names, tmp_path, monkeypatch):
    drawn = []
    draw = evaluator.report.worst_mistakes
    monkeypatch.setattr(evaluator.report, "worst_mistakes", lambda *given: drawn.append(draw(*given)) or draw(*given))
    wrong = folder / "wren's nest" / "ant.png"
    Image.fromarray(np.full((4, 4, 3), (0, 0, 200), np.uint8)).save(wrong)
    found = evaluate("any", folder, tmp_path / "out", split="all", resolution=8)
    (number,) = found.predictions.mistakes
    assert found.files[number] == str(wrong)
    (axes,) = drawn[0].axes
    assert [text.get_text() for text in axes.texts] == ["true wren's nest,\npredicted ant\nant.png"]


def label_sets(source, **changes) -> data.Source:
    """The test images of a source, each with its class and one more, but the last one without any."""
    labels = np.stack([source.test.labels, (source.test.labels + 1) % 3], axis=1)
    labels[-1] = -1
    test = dataclasses.replace(source.test, labels=labels)
    return dataclasses.replace(source, test=test, multi_label=True, evaluation_only="it is a test", **changes)


def test_any_label_of_an_image_is_right(source, network, tmp_path):
    network.scale = np.array([1, 1, 0])  # the third class is never predicted
    found = evaluate("any", label_sets(source, competing=(1, 2)), tmp_path, resolution=8, batch_size=4)
    expected = {"examples": 6, "mean_per_class_accuracy": None, "cross_entropy": None, "competing_classes": 2}
    assert found.metrics.items() >= expected.items()
    ((images, _),) = data.test_batches(source, batch_size=7, crop=8).as_numpy_iterator()
    logits, labels = (network.scale * images.mean(axis=(1, 2)))[:6], source.test.labels[:6]
    best, alone = logits.argmax(axis=1), 1 + logits[:, 1:].argmax(axis=1)
    for name, classes in (("top1_accuracy", best), ("competing_top1_accuracy", alone)):
        assert found.metrics[name] == np.mean((classes == labels) | (classes == (labels + 1) % 3))
    assert "top-1 accuracy among them" in summary(found.lines())
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.json", "predictions.csv"}
    rows = read_csv(tmp_path / "predictions.csv")
    assert [row["is_right"] for row in rows] == [str(right) for right in found.predictions.is_right]
    assert [row["predicted"] for row in rows] == [source.class_names[k] for k in best]


def test_all_of_a_set_that_has_test_images_alone(source, network):
    alone = dataclasses.replace(source.test_alone(), evaluation_only="it is a test")
    for split in ("test", "all"):
        assert evaluate("any", alone, split=split, resolution=8).metrics["examples"] == 7
    with pytest.raises(data.DataError, match="arrays has no train split, only 7 test examples"):
        evaluate("any", alone, split="train", resolution=8)
