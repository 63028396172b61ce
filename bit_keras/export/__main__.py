"""Program: exports a BiT, or publishes what was exported, with one subcommand per target."""

import importlib
import sys
from typing import NoReturn

from bit_keras.system import command_line
from bit_keras.system.optional import require

SUBCOMMANDS = {
    "hub": "a module for TF Hub and its archive",
    "serving": "a model for TF Serving, and the configuration of a server",
    "edge": "LiteRT and ONNX files for phones and small computers",
    "tpu": "SavedModels for Cloud TPUs; never run on one",
    "publish": "uploads exported files to Kaggle Models or the Hugging Face hub",
}
# What is needed even to list the settings.
_PACKAGES = {"serving": ("tensorflow", "tensorflow_serving"), "tpu": ("tensorflow",)}


def run() -> NoReturn:
    """Runs the subcommand that the command line names."""
    program = command_line.program_of(run)
    name = command_line.subcommand(program, SUBCOMMANDS)
    run_subcommand(name, f"{program} {name}")


def run_subcommand(name: str, program: str) -> NoReturn:
    """Runs a subcommand with the arguments of this process.

    Args:
        name: key of SUBCOMMANDS.
        program: the command that started it, for its messages.
    """
    try:
        require(program, *_PACKAGES.get(name, ()))
    except ImportError as error:
        sys.exit(str(error))
    module = importlib.import_module(f"bit_keras.export.{name}")
    module.define_flags()
    command_line.run(module.main, program=program)


if __name__ == "__main__":
    run()
