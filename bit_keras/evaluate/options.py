"""Settings that the programs which evaluate share, as flags."""

from absl import flags

from bit_keras.evaluate.class_order import MATCHES
from bit_keras.runs import program
from bit_keras.runs.config import DATA_OPTIONS, RunConfig
from bit_keras.zoo.fits import FITS
from bit_keras.zoo.precisions import PRECISIONS

OPTIONS = (*DATA_OPTIONS, "match_classes", "batch_size", "resolution", "fit", "precision")


def define_flags() -> None:
    """Defines a flag for each of OPTIONS."""
    program.define_flags(RunConfig, DATA_OPTIONS)
    flags.DEFINE_enum(
        "match_classes",
        None,
        MATCHES,
        "If the class names of the weights are not those of the data: take outputs by their names, or in their order.",
    )
    flags.DEFINE_integer("batch_size", 64, "Images per batch.", lower_bound=1)
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the images in pixels; if not given, the training resolution of the weights, or the HyperRule's if "
        "that is not known.",
    )
    flags.DEFINE_enum("fit", None, list(FITS), "How images become squares; if not given, as the weights' card says.")
    flags.DEFINE_enum("precision", "float32", PRECISIONS, "Precision of the computation; a SavedModel has its own.")


def values() -> dict:
    """Returns {option: value} of these flags."""
    return {name: flags.FLAGS[name].value for name in OPTIONS}
