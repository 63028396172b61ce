"""Program: data, with one subcommand: prepare."""

from typing import NoReturn

from bit_keras.data import prepare
from bit_keras.system import command_line


def run() -> NoReturn:
    """Runs the subcommand that the command line names."""
    command = command_line.program_of(run)
    name = command_line.subcommand(
        command, {"prepare": "a data set of TensorFlow Datasets for reading without TensorFlow"}
    )
    prepare.define_flags()
    command_line.run(
        prepare.main, arguments="NAME", interrupted="the same command resumes", program=f"{command} {name}"
    )


if __name__ == "__main__":
    run()
