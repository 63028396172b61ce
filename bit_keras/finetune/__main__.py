"""Program: fine-tune a BiT with the BiT-HyperRule.

Example:
    python -m bit_keras.finetune --model=BiT-M-R50x1 --dataset=cifar10 --workdir=/tmp/cifar10
"""

from absl import app, flags

from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.runs import program


def _run(**settings) -> str:
    if flags.FLAGS.dry_run:
        from bit_keras.finetune import page

        return page.dry_run(**settings)
    result = finetune(**settings)
    return f"test accuracy {result.test_accuracy:.4f}; report in {result.workdir / 'report'}"


def main(argv: list[str]) -> None:
    program.main("bit_keras.finetune", FinetuneConfig, _run, argv)


def run() -> None:
    """Entry point of the console script `bit-finetune`."""
    program.define_flags(FinetuneConfig)
    flags.DEFINE_boolean("dry_run", False, "Print model, data, rule, schedule and memory; write and train nothing.")
    app.run(main)


if __name__ == "__main__":
    run()
