"""Program: exports a BiT for TF Serving.

Example:
    bit-export serving --model=BiT-M-R50x1-ILSVRC2012 --output=models --class_names=ilsvrc2012

It writes models/bit/1, a checked SavedModel with warm-up requests, and configuration files to start a server with.
`export/serving/README.md` explains how to start it and what clients send.
"""

from absl import flags

from bit_keras.inference.flags import define_class_names
from bit_keras.inference.predictor import given_names
from bit_keras.network.model import BiT
from bit_keras.saved_models.serving import ACTIVATIONS, PRECISIONS, ServingOptions
from bit_keras.saved_models.summary import table
from bit_keras.saved_models.tf_serving import export_serving, new_version


def main() -> None:
    values = flags.FLAGS
    new_version(values.output, values.name, values.version)  # before a download
    names = None if values.class_names is None else given_names(values.class_names)
    artefact = export_serving(
        BiT.from_preset(values.model),
        values.output,
        values.name,
        values.version,
        names,
        precision=values.precision,
        resolution=values.resolution,
        activation=values.activation,
        top=values.top,
        max_rows=values.max_rows,
        max_pixels=values.max_pixels,
        max_scans=values.max_scans,
    )
    print(table([artefact]))
    print(f"model in {artefact.path}, configuration of a server in {values.output}")


def define_flags() -> None:
    default = ServingOptions(1)
    flags.DEFINE_string("model", None, "Name of published weights, or path or address of a weight file.", required=True)
    flags.DEFINE_string("output", None, "Directory of all models of a server.", required=True)
    flags.DEFINE_string("name", "bit", "Name of the model.")
    flags.DEFINE_integer("version", 1, "Number of the version; a server loads the largest.")
    flags.DEFINE_integer(
        "resolution",
        None,
        "Side in pixels to which image files are resized; by default that of the weights' training, or 224 if it is "
        "not known.",
    )
    flags.DEFINE_enum("precision", default.precision, list(PRECISIONS), "Precision of kernels and convolutions.")
    define_class_names()
    flags.DEFINE_enum(
        "activation", None, list(ACTIVATIONS), "Computes scores from logits; by default that of the weights' training."
    )
    flags.DEFINE_integer("top", None, "Classes in a response; by default 5, or all if there are fewer.")
    flags.DEFINE_integer("max_rows", default.max_rows, "Requests with more image files are rejected.")
    flags.DEFINE_integer("max_pixels", default.max_pixels, "Image files with more pixels are rejected.")
    flags.DEFINE_integer("max_scans", default.max_scans, "JPEG files with more scans are rejected; each costs time.")
