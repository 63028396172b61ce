"""Program: fine-tune a BiT with the BiT-HyperRule.

Example:
    python -m bit_keras.finetune --model=BiT-M-R50x1 --dataset=cifar10 --workdir=/tmp/cifar10
"""

import dataclasses
import shlex
import sys

from absl import app, flags, logging

from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.logs import show_own_messages
from bit_keras.training import TrainingDiverged, TrainingInterrupted

_DEFINE = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_boolean}


def _define_flags() -> None:
    for field in dataclasses.fields(FinetuneConfig):
        kind = next(kind for kind in _DEFINE if field.type in (kind, kind | None))
        required = field.default == ""
        _DEFINE[kind](field.name, None if required else field.default, field.metadata["help"], required=required)
    flags.DEFINE_boolean("dry_run", False, "Print model, data, rule, schedule and memory; write and train nothing.")


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"settings are flags such as --seed=1, got {argv[1:]}")
    show_own_messages()
    settings = {field.name: flags.FLAGS[field.name].value for field in dataclasses.fields(FinetuneConfig)}
    try:
        if flags.FLAGS.dry_run:
            from bit_keras.finetune import page

            print(page.dry_run(**settings))
            return
        result = finetune(**settings)
    except TrainingInterrupted as interruption:
        command = shlex.join(["python", "-m", "bit_keras.finetune", *sys.argv[1:]])
        logging.error("%s; to go on:\n  %s", interruption, command)
        sys.exit(128 + interruption.signal)  # as a shell reports a program that a signal ended
    except (ValueError, OSError, ImportError, TrainingDiverged) as error:
        logging.error("%s", error)
        sys.exit(1)
    print(f"test accuracy {result.test_accuracy:.4f}; report in {result.workdir / 'report'}")


def run() -> None:
    """Entry point of the console script `bit-finetune`."""
    _define_flags()
    app.run(main)


if __name__ == "__main__":
    run()
