"""Program: evaluate a classifier on every example of a data set.

Example:
    python -m bit_keras.evaluate --model=/tmp/cifar10/weights.npz --dataset=cifar10 --output=/tmp/evaluation
"""

from absl import flags

from bit_keras.evaluate import options
from bit_keras.evaluate.evaluator import SPLITS, evaluate
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.system import command_line

_GROUPS = {
    "model": ("model", "variant", "precision"),
    "data": ("dataset", *DATA_OPTIONS, "split", "match_classes", "resolution", "fit", "batch_size"),
    "results": ("output",),
}


def _define_flags() -> None:
    flags.DEFINE_string(
        "model",
        None,
        "Preset, weight file or address, folder of a run, or SavedModel directory. A SavedModel is a program, which is "
        "run: only for those of known origin.",
        required=True,
    )
    flags.DEFINE_string(
        "dataset",
        None,
        '"digits", a TFDS name, a folder of class folders, or an evaluation set such as '
        '"objectnet:/data/objectnet-1.0.zip"; `python -m bit_keras.protocols list` shows these.',
        required=True,
    )
    flags.DEFINE_enum("split", "test", SPLITS, "Which examples.")
    options.define_flags()
    flags.DEFINE_string("output", None, "New or empty folder for metrics, tables and the confusion matrix.")
    flags.DEFINE_string("variant", None, "Architecture of a weight file; inferred from its shapes if not given.")


def summary(lines: dict[str, str]) -> str:
    """Returns one aligned line per metric; see `Evaluation.lines`."""
    left, right = max(map(len, lines)), max(map(len, lines.values()))
    return "\n".join(f"{text:<{left}}  {number:>{right}}" for text, number in lines.items())


def main() -> None:
    values = flags.FLAGS
    evaluation = evaluate(
        values.model,
        values.dataset,
        values.output,
        split=values.split,
        variant=values.variant,
        **options.values(),
    )
    print(summary(evaluation.lines()))
    if values.output is not None:
        print(f"report in {values.output}")


def run() -> None:
    """Entry point of the console script `bit-evaluate`."""
    _define_flags()
    command_line.run(main, _GROUPS, interrupted="nothing was written")


if __name__ == "__main__":
    run()
