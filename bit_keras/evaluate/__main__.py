"""Program: evaluate a classifier on every example of a data set.

Example:
    python -m bit_keras.evaluate --model=/tmp/cifar10/weights.npz --dataset=cifar10 --output=/tmp/evaluation
"""

from absl import flags

from bit_keras.evaluate.class_order import MATCHES
from bit_keras.evaluate.evaluator import SPLITS, evaluate
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS, RunConfig
from bit_keras.system import command_line
from bit_keras.zoo.fits import FITS
from bit_keras.zoo.precisions import PRECISIONS

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
    flags.DEFINE_string("dataset", None, '"digits", a TFDS name, or a folder of class folders.', required=True)
    flags.DEFINE_enum("split", "test", SPLITS, "Which examples.")
    flags.DEFINE_enum(
        "match_classes",
        None,
        MATCHES,
        "If the class names of the weights are not those of the data: take outputs by their names, or in their order.",
    )
    program.define_flags(RunConfig, DATA_OPTIONS)
    flags.DEFINE_integer("batch_size", 64, "Images per batch.", lower_bound=1)
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the images in pixels; if not given, the training resolution of the weights, or the HyperRule's if "
        "that is not known.",
    )
    flags.DEFINE_enum("fit", None, list(FITS), "How images become squares; if not given, as the weights' card says.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of the computation; a SavedModel has its own.")
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
        **program.values(RunConfig, DATA_OPTIONS),
        batch_size=values.batch_size,
        resolution=values.resolution,
        fit=values.fit,
        precision=values.precision,
        variant=values.variant,
        match_classes=values.match_classes,
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
