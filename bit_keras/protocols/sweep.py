"""Runs of models on tasks, several of each: resumed, divided among machines, and a failure costs no other run."""

import contextlib
import dataclasses
import functools
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from absl import flags

from bit_keras.data import Source
from bit_keras.runs.cells import Cell, complete
from bit_keras.runs.config import fingerprint
from bit_keras.runs.names import stem
from bit_keras.runs.series import cell_name, each_once, identity_of, read_record
from bit_keras.runs.workdir import share
from bit_keras.system.checks import check_integer
from bit_keras.system.files import write_json
from bit_keras.system.logs import logger
from bit_keras.system.paths import expanded
from bit_keras.system.texts import counted
from bit_keras.zoo.tasks import TASKS, list_tasks

RUNS = 3
FAULTS = (ValueError, OSError, ImportError, RuntimeError, MemoryError)  # of one run, which must not cost the others


@dataclasses.dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        model: preset, weight file or, for random weights, variant.
        task: name of the task or of other data.
        seed: of the training, or the number of a published run.
    """

    model: str
    task: str
    seed: int


class Failed(RuntimeError):
    """Some runs failed; the others are complete."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All runs of an evaluation; made by `sweep`.

    Attributes:
        name: of the file of all results, NAME.json; each run has one of the same name.
        models, tasks, runs: the runs are their combinations.
        shard: (index, count), as in `sweep`.
        weights: {model: fingerprint of its file, or None}.
    """

    name: str
    models: Sequence[str]
    tasks: Sequence[str]
    runs: int
    shard: tuple[int, int]
    weights: dict[str, str | None]

    def run(
        self,
        workdir: str | os.PathLike,
        settings: dict,
        open_task: Callable[[str], Source],
        measure: Callable[[Run, Source, Path], dict],
        write: Callable[[Path, list[dict]], None],
        together: bool = False,
    ) -> list[dict]:
        """Makes the runs of this process that no process has made, and writes the results of all processes so far.

        Args:
            workdir: folder of the evaluation, which other processes may share.
            settings: everything that affects all results; JSON-able.
            open_task: returns the data of a task.
            measure: makes a run in a folder and returns its results, "test_accuracy" among them.
            write: writes tables and plots of the records to the folder.
            together: as in `bit_keras.runs.cells.complete`.

        Returns:
            A record for each finished run: the fields of `Run` and its results.

        Raises:
            FileExistsError: `workdir` belongs to an evaluation with different settings.
            Failed: some runs failed.
        """
        folder, failures = share(workdir, {"options": settings}), []

        def fail(name: str, error: Exception, count: int = 1) -> None:
            failures.extend([_named(name, error)] * count)
            logger.error("%s", failures[-1])

        def cells_of(task: str, runs: Sequence[Run]) -> Iterator[tuple[Cell, Callable[[], dict]]]:
            try:
                source = open_task(task)
            except FAULTS as error:
                fail(task, error, len(runs))
                return
            for run in runs:
                identity = identity_of(run, self.weights[run.model], source, settings)
                place = folder / "runs" / cell_name((stem(run.model), stem(run.task), run.seed), identity)
                measured = functools.partial(_measured, measure, run, source, place)
                yield Cell(place / f"{self.name}.json", identity), measured

        complete(
            [functools.partial(cells_of, *each) for each in self._mine().items()],
            lambda cell, record: logger.info("%s: %.4f", cell.name, record["test_accuracy"]),
            lambda cell, error: fail(cell.name, error),
            FAULTS,
            together,
        )
        records = self._records(folder)
        write_json(folder / f"{self.name}.json", {"runs": records})
        if records:
            write(folder, records)
        if failures:
            raise failed(failures, "run")
        return records

    def _mine(self) -> dict[str, list[Run]]:
        """Returns {task: runs on it that are for this process}; other machines may lack the data of their tasks."""
        (index, count), numbers, mine = self.shard, itertools.count(), {}
        for task in self.tasks:
            cells = [Run(model, task, seed) for model, seed in itertools.product(self.models, range(self.runs))]
            mine[task] = [run for run in cells if next(numbers) % count == index]
        return {task: cells for task, cells in mine.items() if cells}

    def _records(self, folder: Path) -> list[dict]:
        """Returns the records of these runs, whichever process has made them; of several of a run the latest."""
        found = latest_records(folder, self.name, ("model", "task", "seed"))
        cells = itertools.product(self.models, self.tasks, range(self.runs))
        return [found[cell] for cell in cells if cell in found]


def _named(name: str, error: Exception) -> str:
    """Returns the message of an error, beginning with the name of what failed."""
    text = str(error) or type(error).__name__
    return text if text.startswith(f"{name}: ") else f"{name}: {text}"


def _measured(measure: Callable[[Run, Source, Path], dict], run: Run, source: Source, place: Path) -> dict:
    return {**dataclasses.asdict(run), **measure(run, source, place)}


def sweep(
    name: str, models: Sequence[str | os.PathLike], tasks: Sequence[str], runs: int, shard: tuple[int, int]
) -> Sweep:
    """Returns the runs of an evaluation, after checking the arguments.

    Args:
        name: see `Sweep`.
        models: presets, weight files or variants for random weights.
        tasks: names of tasks or data.
        runs: number of runs of each model on each task.
        shard: (index, count): this process makes only every count-th run, beginning with that of this index.
    """
    models = list(map(expanded, each_once("models", models, str)))
    runs = check_integer("runs", runs)
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard must be (index, count) with 0 <= index < count, got {shard}")
    return Sweep(name, models, tasks, runs, shard, {model: fingerprint(model) for model in models})


def expanded_tasks(tasks: Sequence[str]) -> list[str]:
    """Returns the names of tasks that patterns match; other data stay as they are."""
    names = {task: [name for name in list_tasks(task) if name in TASKS] for task in each_once("tasks", tasks, str)}
    return list(dict.fromkeys(name for task, matching in names.items() for name in (matching or [task])))


def latest_records(folder: Path, name: str, fields: Sequence[str]) -> dict[tuple, dict]:
    """Returns {values of the fields: record} of the records NAME.json of all runs, of several of a run the latest."""
    paths = sorted(folder.glob(f"runs/*/{name}.json"), key=lambda path: path.stat().st_mtime)
    return {tuple(map(record.get, fields)): record for record in map(read_record, paths)}


def failed(failures: Sequence[str], kind: str) -> Failed:
    """Returns the error that lists failures, a line each, of what is called `kind`."""
    what = f"{counted(len(failures), kind)} failed; the same command repeats only what has failed:"
    return Failed("\n".join([what, *failures]))


@contextlib.contextmanager
def shown(workdir: str | os.PathLike, name: str) -> Iterator[None]:
    """Prints the table NAME.md that the block has written, and where the results are, also if some runs failed."""
    try:
        yield
    except Failed:
        _show(Path(expanded(workdir)), name)
        raise
    _show(Path(expanded(workdir)), name)


def _show(folder: Path, name: str) -> None:
    table = folder / f"{name}.md"
    if table.exists():
        print(table.read_text(encoding="utf-8"))
        print(f"results in {folder}: {', '.join(sorted(path.name for path in folder.glob(f'{name}.*')))}")


def define_sweep_flags() -> None:
    """Defines the flags of an evaluation, apart from its tasks."""
    flags.DEFINE_list("models", None, "Presets, weight files, or variants for random weights.", required=True)
    flags.DEFINE_string("workdir", None, "Folder of the evaluation.", required=True)
    flags.DEFINE_integer("runs", RUNS, "Runs of each model on each task.", lower_bound=1)
    flags.DEFINE_string("shard", "0/1", 'Part of the runs for this machine: "2/8" is the third of eight.')


def parsed_shard(text: str) -> tuple[int, int]:
    """Returns (index, count) for a flag such as "2/8"."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise ValueError(f'shard must be "INDEX/COUNT", such as "0/8", got {text!r}')
    return int(found[1]), int(found[2])
