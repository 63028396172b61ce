"""The program around a run: its settings as flags, and how a run that a signal ended is resumed."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Container
from typing import NoReturn

from absl import flags

from bit_keras.distribution import DistributionError
from bit_keras.runs.config import GROUPS
from bit_keras.system import command_line
from bit_keras.system.logs import logger
from bit_keras.training import TrainingDiverged, TrainingInterrupted

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_boolean}


def define_flags(config: type, names: Container[str] | None = None) -> None:
    """Defines a flag for each field of a configuration, or for those named; those with the default "" must be given."""
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


def run(module: str, main: Callable[[], None]) -> NoReturn:
    """Runs the program of a training, or of a series of them, whose flags are defined; see `command_line.run`.

    After a signal it exits with 128 and the signal's number, as a shell reports it, and says how to resume.

    Args:
        module: name of the program, for the command that resumes an interrupted run.
        main: does what the flags ask for.
    """

    def resumable() -> None:
        try:
            main()
        except TrainingInterrupted as interruption:
            _say_how_to_resume(module, str(interruption))
            sys.exit(128 + interruption.signal)
        except KeyboardInterrupt:  # outside of a training, which listens to signals itself
            _say_how_to_resume(module, "stopped by Ctrl-C")
            sys.exit(130)

    resumable.__module__ = main.__module__  # whose docstring and flags are those of the program
    command_line.run(resumable, GROUPS, errors=(DistributionError, TrainingDiverged))


def _say_how_to_resume(module: str, what: str) -> None:
    logger.error("%s; to resume:\n  %s", what, shlex.join(["python", "-m", module, *sys.argv[1:]]))
