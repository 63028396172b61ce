"""Figures and summary of a run."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.figures import drawing, pictures
from bit_keras.figures.notebook import ShownFigure
from bit_keras.metrics import Predictions
from bit_keras.rules.schedules import Schedule
from bit_keras.system.files import write_json

# Largest number of classes whose names fit next to a confusion matrix, and of those that are drawn at all.
_MOST_NAMES = 40
_MOST_CLASSES = 100


def write(
    folder: str | os.PathLike,
    metrics: list[dict[str, float]],
    schedule: Schedule,
    predictions: Predictions,
    class_names: tuple[str, ...],
    summary: dict,
    evaluated_on: str = "test",
    files: Sequence[str] = (),
    faults: list[str] | None = None,
) -> None:
    """Writes summary.json, then learning_curve.png, learning_rate.png, confusion_matrix.png and worst_mistakes.png.

    There is no confusion matrix of more than 100 classes. With several labels per image there are neither a confusion
    matrix nor errors to draw.

    Args:
        folder: folder of the files, created if it is missing.
        metrics: one row per evaluation, in order: "step", "loss", "accuracy", "val_loss", "val_accuracy".
        schedule: learning rate schedule of the run.
        predictions: of the final network on the test examples.
        class_names: K names.
        summary: written to summary.json, so JSON-serializable; "test_accuracy" is shown in titles.
        evaluated_on: split of the evaluations in `metrics`, "test" or "validation".
        files: as in `worst_mistakes`.
        faults: a message for each picture that could not be written is appended to this list.
    """
    write_json(Path(folder, "summary.json"), summary)  # first: a picture may fail
    figures = {
        "learning_curve": lambda: learning_curve(metrics, summary["test_accuracy"], evaluated_on),
        "learning_rate": lambda: learning_rate_curve(schedule),
    }
    if not predictions.multi_label:
        figures |= of_predictions(predictions, class_names, files)
    failed = drawing.save_all(Path(folder), figures)
    if faults is not None:
        faults += failed


def of_predictions(
    predictions: Predictions, class_names: Sequence[str], files: Sequence[str] = ()
) -> dict[str, Callable[[], Figure]]:
    """Returns {name: function that draws it} of the figures of single-label predictions.

    A confusion matrix of more than 100 classes would be illegible: there is none.
    """
    figures = {"worst_mistakes": lambda: worst_mistakes(predictions, class_names, files)}
    if predictions.num_classes <= _MOST_CLASSES:
        figures["confusion_matrix"] = lambda: confusion_matrix(predictions, class_names)
    return figures


def learning_curve(metrics: list[dict[str, float]], test_accuracy: float, evaluated_on: str = "test") -> Figure:
    """Plots loss and accuracy against updates, on augmented training batches and on the evaluated split."""
    figure = ShownFigure(figsize=(9, 4), layout="constrained")
    steps = [row["step"] for row in metrics]
    for axes, name, title in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy (nats)", "accuracy")):
        axes.plot(steps, [row[name] for row in metrics], ".-", color="tab:blue", label="training (augmented)")
        axes.plot(steps, [row[f"val_{name}"] for row in metrics], ".-", color="tab:orange", label=evaluated_on)
        axes.set(xlabel="update", ylabel=title, xlim=(0, None), ylim=(0, 1) if name == "accuracy" else (0, None))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.suptitle(f"final test accuracy {test_accuracy:.2%}")
    return figure


def learning_rate_curve(schedule: Schedule) -> Figure:
    """Plots the learning rate of every update."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    rates = [schedule.learning_rate(step) for step in range(schedule.total_steps)]
    axes.plot(rates)
    # A tenfold drop has the same height everywhere on this scale; the warm-up starts at 0, in its linear part.
    axes.set_yscale("symlog", linthresh=min(rate for rate in rates if rate > 0))
    axes.set(xlabel="update", ylabel="learning rate", xlim=(0, schedule.total_steps), ylim=(0, 2 * schedule.base_lr))
    axes.grid(alpha=0.3)
    return figure


def confusion_matrix(predictions: Predictions, class_names: tuple[str, ...]) -> Figure:
    """Draws the confusion matrix: the fraction of each true class (row) predicted as each class (column)."""
    counts = predictions.confusion()
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 4.5 + 0.2 * min(len(class_names), _MOST_NAMES)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="fraction of true class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"accuracy {predictions.accuracy:.2%}")
    if len(class_names) <= _MOST_NAMES:
        names = [drawing.drawn(name) for name in class_names]
        axes.set_xticks(range(len(names)), names, rotation=90, **drawing.literal())
        axes.set_yticks(range(len(names)), names, **drawing.literal())
        for row, column in np.argwhere(counts) if len(class_names) <= 20 else ():
            color = "white" if fractions[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=8)
    return figure


def worst_mistakes(predictions: Predictions, class_names: Sequence[str], files: Sequence[str] = ()) -> Figure:
    """Draws the misclassified images with the highest loss, in falling order, with true and predicted class below.

    Args:
        predictions: with the images of its mistakes.
        class_names: K names.
        files: name of the file of each example, shown as well; () if they have none.
    """
    if not len(predictions.mistakes):
        return drawing.sentence("no errors")
    captions = []
    for number in predictions.mistakes:
        true, predicted = (
            drawing.drawn(class_names[classes[number]]) for classes in (predictions.labels, predictions.classes)
        )
        # Separate lines, so that long names do not run into each other.
        lines = [f"true {true},", f"predicted {predicted}", *([pictures.short_name(files[number])] if files else [])]
        captions.append("\n".join(lines))
    images = np.clip((predictions.mistake_images + 1) / 2, 0, 1)
    return pictures.grid(images, captions, "highest-loss errors", lines=3 if files else 2)
