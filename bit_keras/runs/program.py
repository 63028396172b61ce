"""Training programs: settings as flags, and how to resume an interrupted run."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Container
from typing import NoReturn

from absl import flags

from bit_keras.distribution import DistributionError
from bit_keras.runs.config import GROUPS
from bit_keras.system import command_line
from bit_keras.training import TrainingDiverged, TrainingInterrupted

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_boolean}


def define_flags(config: type, names: Container[str] | None = None) -> None:
    """Defines a flag for each field of a configuration, or for the named ones; required if its default is ""."""
    for field in dataclasses.fields(config):
        if names is not None and field.name not in names:
            continue
        kind = next(kind for kind in _DEFINE if field.type in (kind, kind | None))
        required = field.default == ""
        _DEFINE[kind](field.name, None if required else field.default, field.metadata["help"], required=required)


def values(config: type, names: Container[str] | None = None) -> dict:
    """Returns {field: value} of the flags that `define_flags` defined."""
    fields = [field.name for field in dataclasses.fields(config) if names is None or field.name in names]
    return {name: flags.FLAGS[name].value for name in fields}


def run(
    module: str,
    main: Callable[..., None],
    groups: command_line.Groups = GROUPS,
    program: str = "",
    arguments: str = "",
    interrupted: str | None = None,
) -> NoReturn:
    """Runs the program of one or several trainings, after its flags are defined; see `command_line.run`.

    Args:
        module: name of the program, with its subcommand if it has any, for the command that resumes an interrupted run.
        main: the program, which reads its settings from the flags.
        groups, program, arguments: as in `command_line.run`.
        interrupted: as there; None for how to resume a training.
    """
    command = shlex.join(["python", "-m", *module.split(), *sys.argv[1:]])
    errors = (DistributionError, TrainingDiverged, TrainingInterrupted)
    if interrupted is None:
        interrupted = f"to resume:\n  {command}"
    command_line.run(main, groups, arguments, errors, interrupted, program)
