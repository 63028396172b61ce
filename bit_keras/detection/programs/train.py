"""Program: train a RetinaNet on a BiT.

Example:
    python -m bit_keras.detection train --model=BiT-M-R50x1 --dataset=coco/2017 --skip_unreadable --workdir=runs/coco
"""

from absl import flags

from bit_keras.detection import train
from bit_keras.detection.training.config import GROUPS, TrainConfig
from bit_keras.runs import program

__all__ = ["GROUPS", "define_flags", "main"]


def define_flags() -> None:
    program.define_flags(TrainConfig)
    flags.DEFINE_boolean("dry_run", False, "Print model, data, schedule and memory; write and train nothing.")


def main() -> None:
    settings = program.values(TrainConfig)
    if flags.FLAGS.dry_run:
        from bit_keras.detection.training import trainer

        print(trainer.dry_run(**settings))
    else:
        train(**settings)
