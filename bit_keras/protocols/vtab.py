"""Program: VTAB-1k, fine-tuning by the HyperRule on 19 tasks of 1,000 training examples each.

Every run has its own folder, so an interrupted evaluation resumes without repeating finished runs. Several machines
with a common workdir divide the runs by --shard or --tasks. Data of your own take part with 1,000 training images.

Examples:
    python -m bit_keras.protocols vtab --models=BiT-M-R50x1 --runs=3 --workdir=runs/vtab
    python -m bit_keras.protocols vtab --models=BiT-M-R50x1 --tasks='vtab/clevr-*,/data/birds' --workdir=runs/birds
"""

import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

from bit_keras import data
from bit_keras.figures import drawing
from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.protocols import tables
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS, fingerprint
from bit_keras.runs.names import display_names, stem
from bit_keras.runs.opening import make_config, open_source
from bit_keras.runs.series import (
    SET_BY_SERIES,
    cell_name,
    each_once,
    effective,
    identity_of,
    read_record,
    recorded,
)
from bit_keras.runs.workdir import share
from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.system.files import write_json, write_lines
from bit_keras.system.logs import logger, shows_messages
from bit_keras.system.paths import check_folder, expanded
from bit_keras.system.texts import cell, counted
from bit_keras.zoo.tasks import TASKS, list_tasks

EXAMPLES = 1_000  # training examples of a task
RUNS = 3
OPTIONS = (*DATA_OPTIONS, "steps", "batch_size", "resolution", "fit", "flip", "eval_every", "accumulate", "precision")
_RECORD = "vtab.json"  # of one run, and of all
_FAULTS = (ValueError, OSError, ImportError, RuntimeError, MemoryError)  # of one run, which must not cost the others


@dataclasses.dataclass(frozen=True)
class Run:
    """One fine-tuning.

    Attributes:
        model: preset, weight file or, for random weights, variant.
        task: name of the task or of other data.
        seed: of the training.
    """

    model: str
    task: str
    seed: int


class Failed(RuntimeError):
    """Some runs failed; the others are complete."""


@known_arguments(
    (field.name for field in dataclasses.fields(FinetuneConfig) if field.name not in SET_BY_SERIES),
    unchecked=("models", "tasks"),
)
@shows_messages
def vtab(
    models: Sequence[str | os.PathLike],
    workdir: str | os.PathLike,
    tasks: Sequence[str | os.PathLike] = ("vtab/*",),
    *,
    runs: int = RUNS,
    shard: tuple[int, int] = (0, 1),
    verbose: bool = True,
    **options,
) -> list[dict]:
    """Fine-tunes models on tasks and writes vtab.json, vtab.md and vtab.png.

    A finished run is not repeated, unless the content of its weight file or its data has changed. If a run fails, the
    others are still made.

    Args:
        models: presets, weight files or variants for random weights. All get a new head.
        workdir: folder of the evaluation; several processes may share it.
        tasks: names or patterns of `bit_keras.list_tasks`, or other data as `bit_keras.data.load` takes them: of their
            training split 1,000 images are drawn, the same for every run.
        runs: number of runs, whose seeds count from 0.
        shard: (index, count): this process makes only every count-th run, beginning with that of this index.
        verbose: False shows only warnings.
        **options: of `bit_keras.finetune`, for example `steps`.

    Returns:
        A record for each finished run, of this and of other processes: the fields of `Run` and "test_accuracy".

    Raises:
        ValueError: a setting is out of its range.
        TypeError: an option does not exist, or an argument has the wrong type.
        FileExistsError: `workdir` belongs to an evaluation with different options.
        Failed: some runs have failed; the message lists their reasons.
        TrainingInterrupted, KeyboardInterrupt: a signal arrived. The same call resumes from the records.
    """
    workdir = check_folder("workdir", workdir)
    models = list(map(expanded, each_once("models", models, str)))
    tasks, runs = _expanded(each_once("tasks", tasks, str)), check_integer("runs", runs)
    options = {name: value for name, value in options.items() if value is not None}  # flags that are not given
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}")
    weights = {model: fingerprint(model) for model in models}
    for model in models:
        config = make_config(FinetuneConfig, model, tasks[0], workdir, options)  # raises before anything is opened
    folder, failures = share(workdir, {"options": effective(options)}), []
    for number, task in enumerate(tasks):
        cells = [Run(model, task, seed) for model, seed in itertools.product(models, range(runs))]
        mine = [run for place, run in enumerate(cells, len(cells) * number) if place % count == index]
        if mine:  # other machines may lack the data of their tasks
            failures += _run_task(mine, weights, config, folder, options)
    records = _write(folder, models, tasks, runs)
    if failures:
        failed = f"{counted(len(failures), 'run')} failed; the same command repeats only what has failed:"
        raise Failed("\n".join([failed, *failures]))
    return records


def _run_task(cells: Sequence[Run], weights: dict, config: FinetuneConfig, folder: Path, options: dict) -> list[str]:
    """Makes the runs of a task unless they are recorded; returns the failures, a line each."""
    task = cells[0].task
    try:
        source = _open(config, task)
    except _FAULTS as error:
        logger.error("%s: %s", task, error)
        return [f"{task}: {error}"] * len(cells)
    failures = []
    for run in cells:
        identity = identity_of(run, weights[run.model], source, effective(options))
        place = folder / "runs" / cell_name((stem(run.model), stem(run.task), run.seed), identity)
        try:
            record = recorded(place / _RECORD, identity, functools.partial(_measure, run, source, place, options))
        except _FAULTS as error:
            logger.error("%s: %s", place.name, error)
            failures.append(f"{place.name}: {error}")
        else:
            logger.info("%s: %.4f", place.name, record["test_accuracy"])
    return failures


def _measure(run: Run, source: data.Source, place: Path, options: dict) -> dict:
    result = finetune(run.model, source, place / "run", seed=run.seed, new_head=True, **options)
    return {**dataclasses.asdict(run), "test_accuracy": result.test_accuracy}


def _write(folder: Path, models: Sequence[str], tasks: Sequence[str], runs: int) -> list[dict]:
    """Writes the results of all processes so far, and returns their records."""
    found = {}
    for path in sorted(folder.glob(f"runs/*/{_RECORD}")):
        record = read_record(path)
        found[record.get("model"), record.get("task"), record.get("seed")] = record
    cells = itertools.product(models, tasks, range(runs))
    records = [found[cell] for cell in cells if cell in found]
    write_json(folder / _RECORD, {"runs": records})
    if records:
        names = display_names([*models, *tasks], cell)
        write_lines(folder / "vtab.md", tables.table(records, models, tasks, names).splitlines())
        names = display_names([*models, *tasks], drawing.drawn)
        drawing.save_all(folder, {"vtab": lambda: tables.plot(records, models, tasks, names)})
    return records


def _expanded(tasks: Sequence[str]) -> list[str]:
    """Returns the names that patterns match; other data stay as they are."""
    return list(dict.fromkeys(name for task in tasks for name in (list_tasks(task) or [task])))


def _open(config: FinetuneConfig, task: str) -> data.Source:
    source = open_source(dataclasses.replace(config, dataset=task), task).without_validation()
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
    values = flags.FLAGS
    options = program.values(FinetuneConfig, OPTIONS)
    folder = Path(expanded(values.workdir))
    try:
        vtab(values.models, folder, values.tasks, runs=values.runs, shard=_shard(values.shard), **options)
    except Failed:
        _show(folder)
        raise
    _show(folder)


def _show(folder: Path) -> None:
    if (folder / "vtab.md").exists():
        print((folder / "vtab.md").read_text(encoding="utf-8"))
        print(f"results in {folder}: vtab.md, vtab.json and vtab.png")


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise ValueError(f'shard must be "INDEX/COUNT", such as "0/8", got {text!r}')
    return int(found[1]), int(found[2])


def define_flags() -> None:
    flags.DEFINE_list("models", None, "Presets, weight files, or variants for random weights.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the evaluation.", required=True)
    flags.DEFINE_list("tasks", ["vtab/*"], "Names or patterns of tasks, or data of your own.")
    flags.DEFINE_integer("runs", RUNS, "Runs of each model on each task.", lower_bound=1)
    flags.DEFINE_string("shard", "0/1", 'Part of the runs for this machine: "2/8" is the third of eight.')
    program.define_flags(FinetuneConfig, OPTIONS)
