"""Program: compares a student with a teacher to the same student without one, for several lengths of training.

The teacher is fine-tuned on the task first. Both students train from random weights with the recipe of
`bit_keras.distill`, on the same views. Each run has its own folder, so that an interrupted series resumes.

Example:
    python -m benchmarks.distillation --teacher=BiT-M-R152x2 --model=R50x1 --dataset=cifar100 --workdir=/tmp/distilled
"""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import keras
from absl import flags
from matplotlib.figure import Figure

from bit_keras import data
from bit_keras.distill import LABELS, DistillConfig, distill
from bit_keras.figures import drawing, spread
from bit_keras.finetune import finetune
from bit_keras.runs import program
from bit_keras.runs.opening import make_config
from bit_keras.runs.workdir import claim
from bit_keras.system.files import whole, write_json
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_folder, expanded

OPTIONS = ("model", "batch_size", "resolution", "min_area", "flip", "base_lr", "temperature")  # of a student
STUDENTS = ("alone", "distilled")


def compare(
    teacher: str,
    dataset: str,
    workdir: str | os.PathLike,
    *,
    epochs: Sequence[float],
    seeds: int = 3,
    examples_per_class: int | None = None,
    teacher_steps: int | None = None,
    **options,
) -> dict:
    """Trains a teacher and all students and writes distillation.json, distillation.md and distillation.png.

    Args:
        teacher: preset or weight file that the teacher is fine-tuned from.
        dataset: as for `bit_keras.data.load`.
        workdir: folder of the series.
        epochs: lengths of the students' training.
        seeds: number of students of each kind and length; the seeds are counted from 0.
        examples_per_class: training examples per class for teacher and students, None for all.
        teacher_steps: updates of the teacher's fine-tuning, None for the HyperRule's.
        **options: fields of `bit_keras.distill.DistillConfig` in OPTIONS.

    Returns:
        {"teacher": its test accuracy, "runs": [{"student", "epochs", "seed", "test_accuracy"}]}.

    Raises:
        FileExistsError: `workdir` belongs to a series with different options.
    """
    workdir = check_folder("workdir", workdir)
    teacher, dataset = expanded(teacher), expanded(dataset)
    source = data.load(dataset)
    if examples_per_class:
        source = source.few_shot(examples_per_class, seed=0)
    for length in epochs:
        recipe = {name: value for name, value in options.items() if name != "model"}
        make_config(DistillConfig, options["model"], source, workdir, {**recipe, "teacher": LABELS, "epochs": length})
    settings = {"teacher": teacher, "dataset": dataset, "examples_per_class": examples_per_class}
    settings |= {"teacher_steps": teacher_steps, **options}
    with claim(workdir, settings) as folder:  # only after the settings were checked
        common = {name: options[name] for name in ("batch_size", "resolution", "flip") if name in options}
        tuned = finetune(teacher, source, folder / "teacher", steps=teacher_steps, **common)
        teachers = dict(zip(STUDENTS, (LABELS, str(folder / "teacher" / "weights.npz")), strict=True))
        model = options.pop("model")
        runs = []
        for length, seed, student in itertools.product(epochs, range(seeds), STUDENTS):
            place = folder / "runs" / f"{student}-{length:g}-{seed}"
            result = distill(model, teachers[student], source, place, epochs=length, seed=seed, **options)
            runs.append({"student": student, "epochs": length, "seed": seed, "test_accuracy": result.test_accuracy})
            logger.info("%s: %.4f", place.name, result.test_accuracy)
            keras.backend.clear_session()
        results = {"teacher": tuned.test_accuracy, "runs": runs}
        write_json(folder / "distillation.json", results)
        with whole(folder / "distillation.md") as path:
            path.write_text(table(results))
        drawing.save_all(folder, {"distillation": lambda: plot(results)})
    return results


def _accuracies(results: dict, student: str) -> dict[float, list[float]]:
    """Returns {epochs: accuracies}."""
    accuracies = {}
    for run in results["runs"]:
        if run["student"] == student:
            accuracies.setdefault(run["epochs"], []).append(run["test_accuracy"])
    return accuracies


def table(results: dict) -> str:
    """Returns a Markdown table of test accuracies in percent, as median (minimum to maximum) over the seeds."""
    rows = {student: _accuracies(results, student) for student in STUDENTS}
    lengths = sorted(rows[STUDENTS[0]])
    lines = [
        "| student | " + " | ".join(f"{length:g} epochs" for length in lengths) + " |",
        "|---" * (len(lengths) + 1) + "|",
    ]
    for student, cells in rows.items():
        cells = [spread.in_percent(cells[length]) for length in lengths]
        lines.append(f"| {student} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"The teacher: {100 * results['teacher']:.1f}"]) + "\n"


def plot(results: dict) -> Figure:
    """Plots the median test accuracy against the length of training, with the range shaded, and the teacher's."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    for student in STUDENTS:
        cells = {length: [100 * x for x in values] for length, values in _accuracies(results, student).items()}
        spread.plot(axes, cells, "-o", label=student)
    axes.axhline(100 * results["teacher"], ls="--", color="black", lw=1, label="teacher")
    axes.set(xlabel="epochs of the student's training", ylabel="test accuracy in %")
    spread.set_log_ticks(axes, sorted(cells))
    axes.legend(loc="lower right")
    return figure


def main() -> None:
    values = flags.FLAGS.flag_values_dict()
    names = ("teacher", "dataset", "workdir", "seeds", "examples_per_class", "teacher_steps", *OPTIONS)
    compare(epochs=[float(length) for length in values["epochs"]], **{name: values[name] for name in names})
    print(Path(expanded(values["workdir"]), "distillation.md").read_text())


if __name__ == "__main__":
    flags.DEFINE_list("epochs", ["30", "100", "300"], "Lengths of the students' training.")
    flags.DEFINE_integer("seeds", 3, "Students of each kind and length.", lower_bound=1)
    flags.DEFINE_integer("examples_per_class", None, "Training examples per class, all by default.", lower_bound=1)
    flags.DEFINE_integer("teacher_steps", None, "Updates of the teacher's fine-tuning.")
    program.define_flags(DistillConfig, ("dataset", "workdir", "teacher", *OPTIONS))
    program.run("benchmarks.distillation", main, groups={})
