"""Pre-training on multi-label data from arrays and TFRecord files, and which programs reject such data."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.distill import distill
from bit_keras.evaluate import evaluator
from bit_keras.finetune import finetune
from bit_keras.metrics import predict
from bit_keras.pretrain import precision_at_1, pretrain

pytestmark = pytest.mark.usefixtures("tiny")

SETTINGS = {"batch_size": 8, "resolution": 8, "min_area": 0.5, "loss": "sigmoid", "loader": "tf.data"}
SETTINGS |= {"epochs": 2.5, "eval_every": 5}  # 5 updates, the smallest number with all drops


def _arrays(count, seed):
    random = np.random.default_rng(seed)
    labels = random.random((count, 3)) < 0.5
    labels[np.arange(count), random.integers(0, 3, count)] = True
    return random.integers(0, 256, (count, 8, 8, 3), np.uint8), labels


TRAIN, TEST = _arrays(16, 0), _arrays(5, 1)


def _write(path, images, labels):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image, row in zip(images, labels, strict=True):
            encoded = tf.train.BytesList(value=[tf.io.encode_png(image).numpy()])
            numbers = tf.train.Int64List(value=np.flatnonzero(row))
            features = {
                "image/encoded": tf.train.Feature(bytes_list=encoded),
                "image/class/label": tf.train.Feature(int64_list=numbers),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("multi")
    _write(root / "train-00000-of-00001", *TRAIN)
    _write(root / "test-00000-of-00001", *TEST)
    (root / "class_names.txt").write_text("0\n1\n2\n")
    return root


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "multi.npz"
    names = ("train_images", "train_labels", "test_images", "test_labels")
    np.savez(path, **dict(zip(names, (*TRAIN, *TEST), strict=True)))
    return path


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    return pretrain("tiny", folder, tmp_path_factory.mktemp("whole") / "run", **SETTINGS)


def test_records_train_with_several_labels(whole, folder):
    assert whole.summary["steps"] == 5
    images, labels = next(iter(data.test_batches(data.load(folder), batch_size=5, crop=8)))
    np.testing.assert_array_equal(labels, TEST[1])
    logits = whole.model.predict_on_batch(images)
    right = [row[k] for row, k in zip(TEST[1], logits.argmax(axis=-1), strict=True)]
    assert whole.test_accuracy == pytest.approx(np.mean(right))
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    losses = -np.where(TEST[1], np.log(p), np.log(1 - p)).sum(axis=-1)
    assert whole.summary["test_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    report = {path.name for path in (whole.workdir / "report").iterdir()}
    assert report == {"learning_curve.png", "learning_rate.png", "summary.json"}


def test_arrays_make_the_numbers_of_the_same_records(whole, npz, tmp_path):
    result = pretrain("tiny", npz, tmp_path / "run", **SETTINGS)
    assert result.summary["test_loss"] == pytest.approx(whole.summary["test_loss"], rel=1e-5)
    identity = json.loads((tmp_path / "run" / "config.json").read_text())
    assert identity["data"]["kind"] == "arrays"


def test_precision_at_1():
    logits = np.array([[3.0, 1.0, 2.0], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]], "float32")
    labels = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], "float32")
    np.testing.assert_array_equal(precision_at_1(labels, logits), [1, 0, 1])

    class Model:
        predict_on_batch = staticmethod(lambda images: logits)

    found = predict(Model(), [(np.zeros((3, 1, 1, 3)), labels)], multi_label=True)
    assert found.accuracy == pytest.approx(2 / 3)
    assert not len(found.mistakes)


def test_evaluation_takes_any_label(npz, monkeypatch):
    source = data.load(npz)
    always_the_second = SimpleNamespace(
        output_shape=(None, 3), predict_on_batch=lambda images: np.tile([0, 2, 1], (len(images), 1))
    )
    monkeypatch.setattr(evaluator, "open_classifier", lambda *arguments: always_the_second)
    expected = np.mean([1 in labels for labels in source.test.labels])
    assert 0 < expected < 1
    assert evaluator.evaluate("any", source, resolution=8).metrics["top1_accuracy"] == expected


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda source, run: pretrain("tiny", source, run, **{**SETTINGS, "loss": "softmax"}), "loss softmax"),
        (lambda source, run: finetune("tiny", source, run), "fine-tuning"),
        (lambda source, run: distill("tiny", "tiny", source, run), "distillation"),
    ],
)
def test_what_takes_one_label_refuses_before_it_writes(npz, tmp_path, use, what):
    message = f"{what} takes one label per image; dataset multi has several: use .*--loss=sigmoid"
    with pytest.raises(data.DataError, match=message):
        use(data.load(npz), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_labels": TRAIN[1] * 2}, "train_labels, a matrix, must have a row for each of 16 images"),
        ({"test_labels": TEST[1] & False}, "test_labels, a matrix, must have a row for each of 5 images"),
        ({"test_labels": TEST[1].argmax(axis=1)}, "all splits must have labels of one kind"),
        ({"class_names": ["a", "b"]}, "labels must have a column for each of 2 classes, got 3"),
    ],
)
def test_faulty_matrices_are_refused(change, message):
    names = ("train_images", "train_labels", "test_images", "test_labels")
    arrays = dict(zip(names, (*TRAIN, *TEST), strict=True))
    with pytest.raises(data.DataError, match=message):
        data.from_arrays(**{**arrays, **change})
