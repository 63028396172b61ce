"""Pictures and summary of a run."""

import os
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from bit_keras.metrics import Predictions
from bit_keras.rules.schedules import Schedule
from bit_keras.system.files import whole, write_json

# More class names than these do not fit beside a confusion matrix.
_MOST_NAMES = 40


def write(
    folder: str | os.PathLike,
    metrics: list[dict[str, float]],
    schedule: Schedule,
    predictions: Predictions,
    class_names: tuple[str, ...],
    summary: dict,
) -> None:
    """Writes learning_curve.png, learning_rate.png, confusion_matrix.png, worst_mistakes.png and summary.json.

    Where several labels may be true of an image there is no confusion matrix and there are no mistakes.

    Args:
        folder: where to, made if it is missing.
        metrics: one row an evaluation, in order: "step", "loss", "accuracy", "val_loss", "val_accuracy".
        schedule: of the learning rate.
        predictions: of the final network on the test examples.
        class_names: K names.
        summary: for summary.json, JSON-able; "test_accuracy" is shown in titles.
    """
    figures = {
        "learning_curve": learning_curve(metrics, summary["test_accuracy"]),
        "learning_rate": learning_rate_curve(schedule),
    }
    if not predictions.multi_label:
        figures["confusion_matrix"] = confusion_matrix(predictions, class_names)
        figures["worst_mistakes"] = worst_mistakes(predictions, class_names)
    for name, figure in figures.items():
        with whole(Path(folder, f"{name}.png")) as path:
            figure.savefig(path, dpi=100)
    write_json(Path(folder, "summary.json"), summary)


def learning_curve(metrics: list[dict[str, float]], test_accuracy: float) -> Figure:
    """Draws loss and accuracy over updates, on training batches (augmented) and on the test split."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    steps = [row["step"] for row in metrics]
    for axes, name, title in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("cross-entropy (nats)", "accuracy")):
        axes.plot(steps, [row[name] for row in metrics], ".-", color="tab:blue", label="training (augmented)")
        axes.plot(steps, [row[f"val_{name}"] for row in metrics], ".-", color="tab:orange", label="test")
        axes.set(xlabel="update", ylabel=title, xlim=(0, None), ylim=(0, 1) if name == "accuracy" else (0, None))
        axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.suptitle(f"final test accuracy {test_accuracy:.2%}")
    return figure


def learning_rate_curve(schedule: Schedule) -> Figure:
    """Draws the learning rate of every update."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    rates = [schedule.learning_rate(step) for step in range(schedule.total_steps)]
    axes.plot(rates)
    # Drops by 10 are equal steps on this scale; the linear part from 0 to the lowest rate holds the warm-up's start.
    axes.set_yscale("symlog", linthresh=min(rate for rate in rates if rate > 0))
    axes.set(xlabel="update", ylabel="learning rate", xlim=(0, schedule.total_steps), ylim=(0, 2 * schedule.base_lr))
    axes.grid(alpha=0.3)
    return figure


def confusion_matrix(predictions: Predictions, class_names: tuple[str, ...]) -> Figure:
    """Draws the share of each true class (row) that went to each predicted class (column)."""
    counts = predictions.confusion()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 4.5 + 0.2 * min(len(class_names), _MOST_NAMES)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class", title=f"accuracy {predictions.accuracy:.2%}")
    if len(class_names) <= _MOST_NAMES:
        axes.set_xticks(range(len(class_names)), class_names, rotation=90)
        axes.set_yticks(range(len(class_names)), class_names)
        for row, column in np.argwhere(counts) if len(class_names) <= 20 else ():
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, counts[row, column], ha="center", va="center", color=color, fontsize=8)
    return figure


def worst_mistakes(predictions: Predictions, class_names: tuple[str, ...]) -> Figure:
    """Draws the wrongly classified images of the highest loss, worst first, each with both classes."""
    columns, rows = 6, max(1, -(-len(predictions.mistakes) // 6))
    figure = Figure(figsize=(1.7 * columns, 2.2 * rows + 0.6), layout="constrained")
    if not len(predictions.mistakes):
        figure.suptitle("no mistakes")
        return figure
    figure.suptitle(f"worst {len(predictions.mistakes)} mistakes: true class, then what the network says")
    axes = figure.subplots()  # one for all: the layout of many takes seconds
    for place, (image, number) in enumerate(zip(predictions.mistake_images, predictions.mistakes)):
        left, top = 1.15 * (place % columns), -1.5 * (place // columns)
        axes.imshow(np.clip((image + 1) / 2, 0, 1), extent=(left, left + 1, top - 1, top))
        true, said = (class_names[classes[number]] for classes in (predictions.labels, predictions.classes))
        axes.text(left + 0.5, top + 0.05, f"{true}\nnot {said}", fontsize=8, ha="center", va="bottom")
    axes.set(xlim=(-0.1, 1.15 * columns), ylim=(-1.5 * rows + 0.4, 0.5), aspect="equal")
    axes.set_axis_off()
    return figure
