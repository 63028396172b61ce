import dataclasses
import io
import json

import numpy as np
from matplotlib.image import imread

from bit_keras.figures import report
from bit_keras.metrics import Predictions
from bit_keras.rules.schedules import Schedule

NAMES = ("cat", "dog", "owl")
SCHEDULE = Schedule(0.1, 2, (5, 8), 10)
METRICS = [
    {"step": 5.0, "loss": 1.0, "accuracy": 0.4, "val_loss": 1.1, "val_accuracy": 0.3},
    {"step": 10.0, "loss": 0.5, "accuracy": 0.8, "val_loss": 0.7, "val_accuracy": 0.6},
]


def predictions(mistakes=2, num_classes=3):
    targets = np.eye(num_classes, dtype="float32")
    found = Predictions.of(targets[[0, 1, 2, 0, 1]], targets[[0, 1, 2, 1, 0] if mistakes else [0, 1, 2, 0, 1]])
    indices = np.array([3, 4][:mistakes], np.int64)
    return dataclasses.replace(found, mistake_images=np.zeros((mistakes, 8, 8, 3)), mistakes=indices)


def test_writes_pictures_and_summary(tmp_path):
    summary = {"test_accuracy": 0.6, "steps": 10}
    report.write(tmp_path / "report", METRICS, SCHEDULE, predictions(), NAMES, summary)
    pictures = {"learning_curve.png", "learning_rate.png", "confusion_matrix.png", "worst_mistakes.png"}
    assert {path.name for path in (tmp_path / "report").iterdir()} == {*pictures, "summary.json"}
    for name in pictures:
        assert np.std(imread(tmp_path / "report" / name)) > 0.01, f"{name} is blank"
    assert json.loads((tmp_path / "report" / "summary.json").read_text()) == summary


def test_a_confusion_matrix_of_many_classes_is_not_drawn(tmp_path):
    for count in (100, 101):
        names = tuple(f"class {k}" for k in range(count))
        found = predictions(num_classes=count)
        report.write(tmp_path / str(count), METRICS, SCHEDULE, found, names, {"test_accuracy": 0.6})
    assert (tmp_path / "100" / "confusion_matrix.png").exists()
    assert not (tmp_path / "101" / "confusion_matrix.png").exists()


def test_learning_curve_shows_both_splits_at_their_steps():
    loss, accuracy = report.learning_curve(METRICS, 0.6).axes
    for axes, names in ((loss, ("loss", "val_loss")), (accuracy, ("accuracy", "val_accuracy"))):
        for line, name in zip(axes.lines, names):
            np.testing.assert_array_equal(line.get_xdata(), [5, 10])
            np.testing.assert_array_equal(line.get_ydata(), [row[name] for row in METRICS])
    assert [line.get_label() for line in accuracy.lines] == ["training (augmented)", "test"]
    _, accuracy = report.learning_curve(METRICS, 0.6, "validation").axes
    assert [line.get_label() for line in accuracy.lines] == ["training (augmented)", "validation"]


def test_learning_rate_curve_shows_every_update():
    (line,) = report.learning_rate_curve(SCHEDULE).axes[0].lines
    np.testing.assert_array_equal(line.get_ydata(), [SCHEDULE.learning_rate(step) for step in range(10)])


def test_confusion_matrix_shows_fractions_and_counts():
    axes = report.confusion_matrix(predictions(), NAMES).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.5, 0.5, 0], [0.5, 0.5, 0], [0, 0, 1]])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert sorted(text.get_text() for text in axes.texts) == ["1", "1", "1", "1", "1"]


def test_errors_show_true_and_predicted_class_and_a_perfect_network_has_none():
    figure = report.worst_mistakes(predictions(), NAMES)
    (axes,) = figure.axes
    assert figure.get_suptitle() == "highest-loss errors"
    assert [text.get_text() for text in axes.texts] == ["true dog,\npredicted cat", "true cat,\npredicted dog"]
    for image, text in zip(axes.images, axes.texts, strict=True):
        left, right, bottom, _ = image.get_extent()
        assert left < text.get_position()[0] < right
        assert 0 < bottom - text.get_position()[1] < 0.1
    assert report.worst_mistakes(predictions(mistakes=0), NAMES).get_suptitle() == "no errors"


def test_errors_show_the_names_of_their_files():
    files = [f"photos/{k}.jpg" for k in range(3)] + [
        "photos/a $5 bill, a $1 bill and more.jpg",
        "https://x.org/y/cat.png",
    ]
    figure = report.worst_mistakes(predictions(), NAMES, files)
    figure.savefig(io.BytesIO())  # dollar signs are no formula
    last = [text.get_text().splitlines()[-1] for text in figure.axes[0].texts]
    assert last == [f"...{files[3][-21:]}", "cat.png"]
