"""Program: exports a BiT for phones and small computers, as LiteRT and ONNX files that it runs and compares.

Examples:
    bit-export edge --model=workdir/weights.npz --dataset=cifar10 --resolution=128 --output=exported/edge
    bit-export edge --model=weights.npz --dataset=~/flowers --formats=litert_int8,onnx --output=exported/edge
"""

from absl import flags

from bit_keras.edge.export import FORMATS, export_edge
from bit_keras.network.model import BiT
from bit_keras.runs import program
from bit_keras.runs.config import LOAD_OPTIONS, RunConfig
from bit_keras.runs.opening import load_data
from bit_keras.runs.places import folders_of
from bit_keras.saved_models.summary import table
from bit_keras.system.paths import check_new, check_outside


def main() -> None:
    values = flags.FLAGS
    check_outside("output", check_new("output", values.output), "dataset", folders_of(values.dataset))  # before work
    artefacts = export_edge(
        BiT.from_preset(values.model, dtype="float32"),
        values.output,
        load_data(values.dataset, **{name: getattr(values, name) for name in LOAD_OPTIONS}),
        resolution=values.resolution,
        formats=values.formats,
        calibration_examples=values.calibration_examples,
        test_examples=values.test_examples,
    )
    print(table(artefacts))
    print(f"files in {values.output}, class_names.txt and summary.json beside them")


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Name of published weights, or path or address of a weight file.", required=True)
    flags.DEFINE_string("output", None, "Directory to create.", required=True)
    flags.DEFINE_string(
        "dataset", None, "The task of the model: digits, a name of TensorFlow Datasets, or a folder.", required=True
    )
    program.define_flags(RunConfig, LOAD_OPTIONS)
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side of the images in pixels; by default that of the weights' training, or 224 if it is not known.",
    )
    flags.DEFINE_list("formats", list(FORMATS), f"Some of {', '.join(FORMATS)}.")
    flags.DEFINE_integer(
        "calibration_examples", 256, "Training examples for the calibration of int8, at most.", lower_bound=1
    )
    flags.DEFINE_integer("test_examples", 1000, "Test examples to compare on, at most.", lower_bound=1)
