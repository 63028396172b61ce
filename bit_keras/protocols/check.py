"""Program: tells for tasks and evaluation sets whether their data are prepared, and if not, what that needs.

Example:
    python -m bit_keras.protocols check --data_dir=/data/tfds
"""

import dataclasses
import importlib.util
import logging
from collections.abc import Sequence

from absl import flags

from bit_keras import data
from bit_keras.system import command_line
from bit_keras.system.logs import only_from
from bit_keras.system.optional import require
from bit_keras.zoo.evaluation_sets import EvaluationSet, find_set
from bit_keras.zoo.tasks import Task, get_task, list_tasks


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether the data of a task or an evaluation set are there.

    Attributes:
        task: the task or the evaluation set.
        prepared: whether they can be read now.
        folder: where they are, or will be; "" if only a path can say it.
        needs: what preparing them needs, one sentence each; () if they are prepared, or nothing is needed.
    """

    task: Task | EvaluationSet
    prepared: bool
    folder: str = ""
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        state = f"prepared in {self.folder}" if self.prepared else "not prepared"
        what = ", ".join(filter(None, [self.task.builder, f"{self.task.num_classes:,} classes", state]))
        return "\n".join([f"{self.task.name}: {what}", *(f"    {need}" for need in self.needs)])


def check(names: Sequence[str], data_dir: str | None = None) -> list[Status]:
    """Returns the status of tasks and evaluation sets; nothing is downloaded.

    Args:
        names: of tasks and evaluation sets. All images of a set with a path, such as "imagenet_v2:/data/v2", are
            decoded.
        data_dir: folder of the TFDS data sets, None for TFDS's default.

    Raises:
        ValueError: a name is unknown.
        ImportError: TensorFlow Datasets is needed and not installed.
    """
    found = [(name, *find_set(name)) for name in names]
    found = [(name, row or get_task(name), path) for name, row, path in found]
    if any(row.builder and not path for _, row, path in found):
        require("benchmark tasks", "tensorflow", "tensorflow_datasets")
    with only_from(logging.ERROR, "absl"):  # TFDS warns of data that are not prepared, which is reported here
        return [
            _status_of_files(row, name, path) if path or not row.builder else _status(row, data_dir)
            for name, row, path in found
        ]


def _status_of_files(row: EvaluationSet, name: str, path: str) -> Status:
    if not path:
        return Status(row, False, needs=(row.by_hand, f"Name it {row.name}:PATH, with the path to {row.path}."))
    try:
        data.load(name)
    except data.DataError as error:
        return Status(row, False, path, (str(error), *filter(None, [row.by_hand])))
    return Status(row, True, path)


def _status(task: Task | EvaluationSet, data_dir: str | None) -> Status:
    import tensorflow_datasets as tfds

    from bit_keras.data.sources.tfds_errors import PIP_NAMES

    builder = tfds.builder(task.builder, data_dir=data_dir)
    folder = str(builder.data_path)
    if builder.is_prepared():
        return Status(task, True, folder)
    preparation = task.preparation
    lacking = [PIP_NAMES.get(name, name) for name in preparation.packages if not importlib.util.find_spec(name)]
    needs = [f"pip install {' '.join(lacking)}"] if lacking else []
    if preparation.gigabytes is not None:
        needs.append(f"The first use downloads {preparation.gigabytes:g} GB to {folder}.")
    return Status(task, False, folder, (*needs, *filter(None, [preparation.note])))


def main() -> None:
    values = flags.FLAGS
    names = list_tasks(values.tasks) or [values.tasks] * bool(find_set(values.tasks)[1])
    if not names:
        raise command_line.UsageError(f"no task matches {values.tasks!r}; `list` shows their names")
    found = check(names, values.data_dir)
    for status in found:
        print(status)
    print(f"{sum(status.prepared for status in found)} of {len(found)} tasks are prepared")


def define_flags() -> None:
    flags.DEFINE_string("tasks", "*", 'Pattern of names, such as "vtab/clevr-*", or a set with its path.')
    flags.DEFINE_string("data_dir", None, "Folder of the TFDS data sets; TFDS's own default if not given.")
