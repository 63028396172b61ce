"""Program: VTAB-1k, fine-tuning by the HyperRule on 19 tasks of 1,000 training examples each.

Every run has its own folder, so an interrupted evaluation resumes without repeating finished runs. Any number of
processes with a common workdir, on one or several machines, divide the runs of the same command. Data of your own
take part with 1,000 training images.

Examples:
    python -m bit_keras.protocols vtab --models=BiT-M-R50x1 --runs=3 --workdir=runs/vtab
    python -m bit_keras.protocols vtab --models=BiT-M-R50x1 --tasks='vtab/clevr-*,/data/birds' --workdir=runs/birds
    python -m bit_keras.protocols vtab --models=BiT-M-R50x1 --published --workdir=runs/published
"""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from bit_keras import data
from bit_keras.protocols import tables
from bit_keras.protocols.published import OPTIONS as PUBLISHED_OPTIONS
from bit_keras.protocols.published import published
from bit_keras.protocols.settings import ALLOWED, Settings, settings, values
from bit_keras.protocols.settings import define_flags as settings_flags
from bit_keras.protocols.sweep import RUNS, Run, define_sweep_flags, expanded_tasks, parsed_shard, shown, sweep
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.series import effective
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import shows_messages
from bit_keras.system.paths import check_folder
from bit_keras.zoo.tasks import TASKS

EXAMPLES = 1_000  # training examples of a task
OPTIONS = (*DATA_OPTIONS, "steps", "batch_size", "resolution", "fit", "flip", "eval_every", "accumulate", "precision")


@known_arguments(ALLOWED, unchecked=("models", "tasks"))
@shows_messages
def vtab(
    models: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    tasks: Sequence[str | os.PathLike] = ("vtab/*",),
    *,
    runs: int = RUNS,
    shard: tuple[int, int] = (0, 1),
    resolution_rule: str = "official",
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Fine-tunes models on tasks and writes vtab.json, vtab.md and vtab.png.

    A finished run is not repeated, unless the content of its weight file or its data has changed. If a run fails, the
    others are still made.

    Args:
        models: presets, weight files or variants for random weights. All get a new head.
        workdir: folder of the evaluation. Several processes may share it: each takes runs that are free, and at the end
            waits for those of the others.
        tasks: names or patterns of `bit_keras.list_tasks`, or other data as `bit_keras.data.load` takes them: of their
            training split 1,000 images are drawn, the same for every run.
        runs: number of runs, whose seeds count from 0.
        shard: (index, count): this process makes only every count-th run, beginning with that of this index.
        resolution_rule: "official" crops images of 96x96 pixels or more to 480 pixels, as the official code does;
            "paper" to 384, except for R152x4.
        verbose: False shows only warnings.
        **options: of `bit_keras.finetune`, for example `steps`.

    Returns:
        A record for each finished run, of this and of other processes: "model", "task", "seed" and "test_accuracy", in
        [0, 1].

    Raises:
        ValueError: a setting is out of its range.
        TypeError: an option does not exist, or an argument has the wrong type.
        FileExistsError: `workdir` belongs to an evaluation with different options.
        bit_keras.protocols.sweep.Failed: some runs have failed; the message lists their reasons.
        TrainingInterrupted, KeyboardInterrupt: a signal arrived. The same call resumes from the records.

    Example:
        >>> from bit_keras.protocols.vtab import vtab
        >>> less = {"steps": 5, "eval_every": 5, "batch_size": 8, "resolution": 32}  # than in the paper
        >>> records = vtab(["BiT-mini-R17x0.5"], "runs/vtab", ["digits"], runs=1, verbose=False, **less)
        >>> [(record["model"], record["task"], record["seed"]) for record in records]
        [('BiT-mini-R17x0.5', 'digits', 0)]
    """
    workdir, tasks = check_folder("workdir", workdir), expanded_tasks(tasks)
    cells = sweep("vtab", models, tasks, runs, shard)
    chosen = settings(cells.models, tasks[0], workdir, options, resolution_rule)  # raises before anything is opened
    rule = {} if resolution_rule == "official" else {"resolution_rule": resolution_rule}
    return cells.run(
        workdir,
        {**effective(chosen.options), **rule},
        functools.partial(_open, chosen),
        functools.partial(_measure, chosen),
        functools.partial(_write, cells.models, tasks),
        chosen.together,
    )


def _measure(chosen: Settings, run: Run, source: data.Source, place: Path) -> dict:
    return {"test_accuracy": chosen.finetune(run, source, place)["test_accuracy"]}


def _write(models: Sequence[str], tasks: Sequence[str], folder: Path, records: list[dict]) -> None:
    describe = functools.partial(tables.table, records, models, tasks)
    tables.write(folder, "vtab", [*models, *tasks], describe, functools.partial(tables.plot, records, models, tasks))


def _open(chosen: Settings, task: str) -> data.Source:
    source = chosen.open(task)
    return source if task in TASKS else _in_the_form_of_vtab(source)


def _in_the_form_of_vtab(source: data.Source) -> data.Source:
    """Returns a task with 1,000 of its training examples, or with all if it has no more."""
    source.check_one_label("VTAB")
    if source.num_train <= EXAMPLES:
        return source
    chosen = np.sort(np.random.RandomState(0).permutation(source.num_train)[:EXAMPLES])
    return dataclasses.replace(
        source, train=source.train.take(chosen), identity={**source.identity, "training_examples": EXAMPLES}
    )


def main() -> None:
    given = flags.FLAGS
    evaluate, options = (published, PUBLISHED_OPTIONS) if given.published else (vtab, OPTIONS)
    if given.published:
        _check_no_training()
    with shown(given.workdir, evaluate.__name__):
        evaluate(
            given.models,
            given.workdir,
            given.tasks,
            runs=given.runs,
            shard=parsed_shard(given.shard),
            **values(options),
        )


def _check_no_training() -> None:
    given = [f"--{name}" for name in OPTIONS if name not in PUBLISHED_OPTIONS and flags.FLAGS[name].present]
    if given:
        raise ValueError(
            f"--published trains nothing, so that it takes no settings of training, got {', '.join(given)}"
        )


def define_flags() -> None:
    define_sweep_flags()
    flags.DEFINE_list("tasks", ["vtab/*"], "Names or patterns of tasks, or data of your own.")
    flags.DEFINE_boolean(
        "published",
        False,
        "Train nothing: evaluate the networks that Google published fine-tuned on the tasks, on the test images and, "
        "as a check, on the images of their training.",
    )
    settings_flags(OPTIONS)
