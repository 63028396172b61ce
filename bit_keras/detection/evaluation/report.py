"""Figures and summary of the training of a detector."""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from bit_keras.detection.evaluation import curves, mistake_pictures
from bit_keras.detection.evaluation.coco import Evaluator, Measures
from bit_keras.figures import drawing
from bit_keras.figures.notebook import ShownFigure
from bit_keras.figures.report import learning_rate_curve
from bit_keras.rules.schedules import Schedule
from bit_keras.system.files import whole, write_json


def write(
    folder: Path,
    rows: Sequence[dict[str, float]],
    schedule: Schedule,
    evaluator: Evaluator,
    measures: Measures,
    summary: dict,
    faults: list[str],
) -> None:
    """Writes summary.json, classes.json, classes.csv, then the figures; one that fails costs nothing but itself.

    Args:
        folder: created if it is missing.
        rows: one per evaluation, with the columns of metrics.csv.
        schedule: of the learning rate.
        evaluator: with the detections in the test images.
        measures: of these.
        summary: JSON-serializable.
        faults: a message for each figure that could not be written is appended to this list.
    """
    write_json(folder / "summary.json", summary)  # first: a picture may fail
    write_json(folder / "classes.json", {"classes": measures.per_class})
    write_classes(folder / "classes.csv", measures)
    figures = {
        "learning_curve": lambda: learning_curve(rows),
        "learning_rate": lambda: learning_rate_curve(schedule),
        **of_detections(evaluator, measures),
    }
    faults += drawing.save_all(folder, figures)


def of_detections(evaluator: Evaluator, measures: Measures) -> dict[str, Callable[[], Figure]]:
    """Returns {name: function that draws it} of the figures of an evaluation."""
    return {
        "precision_recall": lambda: curves.precision_recall(measures),
        "class_ap": lambda: curves.class_ap(measures),
        "worst_misses": lambda: mistake_pictures.worst_misses(evaluator),
        "false_alarms": lambda: mistake_pictures.false_alarms(evaluator),
    }


def write_classes(path: Path, measures: Measures) -> None:
    """Writes a CSV file with a row per class, as in `Measures.per_class`; what is undefined is empty."""
    with (
        whole(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.DictWriter(file, list(measures.per_class[0]))
        writer.writeheader()
        writer.writerows(measures.per_class)


def learning_curve(rows: Sequence[dict[str, float]]) -> Figure:
    """Plots the losses of training batches, and the average precision of each evaluation, against updates."""
    figure = ShownFigure(figsize=(9, 4), layout="constrained")
    losses, precision = figure.subplots(1, 2)
    steps = [row["step"] for row in rows]
    for name, text in {"loss": "sum", "class_loss": "classes", "box_loss": "boxes"}.items():
        losses.plot(steps, [row[name] for row in rows], ".-", label=text)
    losses.set(xlabel="update", ylabel="loss (training, augmented)", xlim=(0, None), ylim=(0, None))
    for name, text in {"val_ap": "IoU 0.50 to 0.95", "val_ap50": "IoU 0.50", "val_ap75": "IoU 0.75"}.items():
        precision.plot(steps, [row[name] for row in rows], ".-", label=text)
    precision.set(xlabel="update", ylabel="average precision", xlim=(0, None), ylim=(0, 1))
    for axes in (losses, precision):
        axes.grid(alpha=0.3)
        axes.legend()
    return figure
