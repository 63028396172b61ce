"""Program: tells for each benchmark task whether its data are prepared, and if not, what preparing them needs.

Example:
    python -m bit_keras.protocols check --data_dir=/data/tfds
"""

import dataclasses
import importlib.util
import logging
from collections.abc import Sequence

from absl import flags

from bit_keras.system import command_line
from bit_keras.system.logs import only_from
from bit_keras.system.optional import require
from bit_keras.zoo.tasks import Task, get_task, list_tasks


@dataclasses.dataclass(frozen=True)
class Status:
    """Whether the data of a task are there.

    Attributes:
        task: the task.
        prepared: whether they can be read now.
        folder: where they are, or will be.
        needs: what preparing them needs, one sentence each; () if they are prepared, or nothing is needed.
    """

    task: Task
    prepared: bool
    folder: str
    needs: tuple[str, ...] = ()

    def __str__(self) -> str:
        state = f"prepared in {self.folder}" if self.prepared else "not prepared"
        lines = [f"{self.task.name}: {self.task.builder}, {self.task.num_classes} classes, {state}"]
        return "\n".join(lines + [f"    {need}" for need in self.needs])


def check(names: Sequence[str], data_dir: str | None = None) -> list[Status]:
    """Returns the status of tasks; nothing is downloaded.

    Args:
        names: of tasks.
        data_dir: folder of the TFDS data sets, None for TFDS's default.

    Raises:
        ValueError: a name is unknown.
        ImportError: TensorFlow Datasets is not installed.
    """
    tasks = [get_task(name) for name in names]
    require("benchmark tasks", "tensorflow", "tensorflow_datasets")
    with only_from(logging.ERROR, "absl"):  # TFDS warns of data that are not prepared, which is reported here
        return [_status(task, data_dir) for task in tasks]


def _status(task: Task, data_dir: str | None) -> Status:
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
    found = check(list_tasks(values.tasks), values.data_dir)
    if not found:
        raise command_line.UsageError(f"no task matches {values.tasks!r}; `list` shows their names")
    for status in found:
        print(status)
    print(f"{sum(status.prepared for status in found)} of {len(found)} tasks are prepared")


def define_flags() -> None:
    flags.DEFINE_string("tasks", "*", 'Pattern of names, such as "vtab/clevr-*".')
    flags.DEFINE_string("data_dir", None, "Folder of the TFDS data sets; TFDS's own default if not given.")
