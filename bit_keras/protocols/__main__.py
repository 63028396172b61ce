"""Program: the evaluations of the paper and its successors, with one subcommand each."""

import importlib
from typing import NoReturn

from bit_keras.runs import program
from bit_keras.system import command_line

SUBCOMMANDS = {
    "list": ("listing", "the tasks, whose names are data sets for all programs"),
    "check": ("check", "whether the data of the tasks are prepared, and what preparing them needs"),
    "evaluate": ("evaluation", "published weights on ImageNet's evaluation sets and ObjectNet, without training"),
    "standard": ("standard", "ILSVRC-2012, CIFAR, Pets and Flowers: fine-tuning on all training images"),
    "vtab": ("vtab", "VTAB-1k: fine-tuning on 19 tasks of 1,000 examples each, or the networks published for them"),
}


def run() -> NoReturn:
    """Runs the subcommand that the command line names."""
    command = command_line.program_of(run)
    name = command_line.subcommand(command, {name: text for name, (_, text) in SUBCOMMANDS.items()})
    module = importlib.import_module(f"bit_keras.protocols.{SUBCOMMANDS[name][0]}")
    module.define_flags()
    program.run(f"bit_keras.protocols {name}", module.main, program=f"{command} {name}")


if __name__ == "__main__":
    run()
