"""Program: lists the benchmark tasks and the evaluation sets; their names are data sets.

Example:
    python -m bit_keras.protocols list --tasks='vtab/*'
"""

from collections.abc import Iterable, Sequence

from absl import flags

from bit_keras.system import command_line
from bit_keras.zoo.evaluation_sets import EVALUATION_SETS, EvaluationSet
from bit_keras.zoo.tasks import TASKS, Task, list_tasks

_SETS_HEADER = ("evaluation set", "classes", "images", "TensorFlow Datasets", "split", "or with a path to")
_HEADER = ("task", "group", "classes", "data set", "training examples", "test examples", "label", "crop", "flip")


def table(names: list[str]) -> str:
    """Returns Markdown tables of tasks and of evaluation sets."""
    tables = []
    if tasks := [TASKS[name] for name in names if name in TASKS]:
        tables.append(_markdown(_HEADER, map(_task, tasks)))
    if sets := [EVALUATION_SETS[name] for name in names if name in EVALUATION_SETS]:
        tables.append(_markdown(_SETS_HEADER, map(_evaluation_set, sets)))
    return "\n\n".join(tables)


def _task(task: Task) -> tuple[str, ...]:
    augmented = ("yes" if allowed else "no" for allowed in (task.random_crop, task.flip))
    what = (task.name, task.group, str(task.num_classes), task.builder, task.train, task.test, task.label)
    return (*what, *augmented)


def _evaluation_set(row: EvaluationSet) -> tuple[str, ...]:
    images = "-" if row.num_examples is None else f"{row.num_examples:,}"
    where = (row.builder or "-", row.split or "-", f"{row.name}:PATH, {row.path}")
    return (row.name, f"{row.num_classes:,}", images, *where)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def main() -> None:
    names = list_tasks(flags.FLAGS.tasks)
    if not names:
        raise command_line.UsageError(f"no task matches {flags.FLAGS.tasks!r}; without --tasks all of them are listed")
    print(table(names))


def define_flags() -> None:
    flags.DEFINE_string("tasks", "*", 'Pattern of names, such as "vtab/clevr-*".')
