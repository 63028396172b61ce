"""The program around a run: its settings as flags, its errors as messages and exit statuses."""

import dataclasses
import shlex
import sys
from collections.abc import Callable, Container

from absl import app, flags, logging

from bit_keras.logs import show_own_messages
from bit_keras.training import DistributionError, TrainingDiverged, TrainingInterrupted

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_boolean}


def define_flags(config: type, names: Container[str] | None = None) -> None:
    """Defines a flag for each field of a configuration, or for those named; those with the default "" must be given."""
    for field in dataclasses.fields(config):
        if names is not None and field.name not in names:
            continue
        kind = next(kind for kind in _DEFINE if field.type in (kind, kind | None))
        required = field.default == ""
        _DEFINE[kind](field.name, None if required else field.default, field.metadata["help"], required=required)


def main(module: str, config: type, run: Callable[..., str], argv: list[str]) -> None:
    """Runs what the flags ask for and prints what it returns.

    Exits with status 1 after an error, and with 128 and the signal's number after a signal, as a shell reports it.

    Args:
        module: name of the program, for the command that goes on with an interrupted run.
        config: whose fields are the flags.
        run: takes these fields by name and returns a line to print.
        argv: arguments that are no flags, the first of which is the program.
    """
    if len(argv) > 1:
        raise app.UsageError(f"settings are flags such as --seed=1, got {argv[1:]}")
    show_own_messages()
    try:
        print(run(**{field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(config)}))
    except TrainingInterrupted as interruption:
        logging.error("%s; to go on:\n  %s", interruption, shlex.join(["python", "-m", module, *sys.argv[1:]]))
        sys.exit(128 + interruption.signal)
    except (ValueError, OSError, ImportError, TrainingDiverged, DistributionError) as error:
        logging.error("%s", error)
        sys.exit(1)
