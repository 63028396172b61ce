"""Program: lists the benchmark tasks; their names are data sets for all programs.

Example:
    python -m bit_keras.protocols list --tasks='vtab/*'
"""

from absl import flags

from bit_keras.system import command_line
from bit_keras.zoo.tasks import TASKS, list_tasks

_HEADER = ("task", "group", "classes", "data set", "training examples", "test examples", "label", "crop", "flip")


def table(names: list[str]) -> str:
    """Returns a Markdown table of tasks."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    for name in names:
        task = TASKS[name]
        augmented = ("yes" if allowed else "no" for allowed in (task.random_crop, task.flip))
        what = (task.name, task.group, str(task.num_classes), task.builder, task.train, task.test, task.label)
        rows.append((*what, *augmented))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> None:
    names = list_tasks(flags.FLAGS.tasks)
    if not names:
        raise command_line.UsageError(f"no task matches {flags.FLAGS.tasks!r}; without --tasks all of them are listed")
    print(table(names))


def define_flags() -> None:
    flags.DEFINE_string("tasks", "*", 'Pattern of names, such as "vtab/clevr-*".')
