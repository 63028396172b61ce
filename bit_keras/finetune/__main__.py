"""Program: fine-tune a BiT with the BiT-HyperRule.

Example:
    python -m bit_keras.finetune --model=BiT-M-R50x1 --dataset=cifar10 --workdir=/tmp/cifar10
"""

from absl import flags

from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.runs import program


def main() -> None:
    settings = program.values(FinetuneConfig)
    if flags.FLAGS.dry_run:
        from bit_keras.finetune import finetuner

        print(finetuner.dry_run(**settings))
    else:
        finetune(**settings)


def run() -> None:
    """Entry point of the console script `bit-finetune`."""
    program.define_flags(FinetuneConfig)
    flags.DEFINE_boolean("dry_run", False, "Print model, data, rule, schedule and memory; write and train nothing.")
    program.run("bit_keras.finetune", main)


if __name__ == "__main__":
    run()
