"""Program: export a detector for TF Serving, or as an ONNX or LiteRT file.

Examples:
    python -m bit_keras.detection export --model=runs/birds --output=models
    python -m bit_keras.detection export --model=runs/birds --output=onnx --kind=onnx

For TF Serving it writes models/detector/1, a checked SavedModel with warm-up requests, and configuration files to start
a server with.
"""

import shlex
from pathlib import Path

from absl import flags

from bit_keras.detection.export import edge, export_detector_serving
from bit_keras.detection.network import decoding
from bit_keras.detection.network.detector import Detector
from bit_keras.saved_models.summary import table
from bit_keras.system.command_line import UsageError
from bit_keras.system.logs import doing
from bit_keras.system.optional import require
from bit_keras.system.paths import check_new, expanded
from bit_keras.system.texts import read_names

_SERVING = ("name", "version", "class_names", "precision", "score", "iou", "limit", "max_rows", "max_pixels")
GROUPS = {
    "model": ("model", "resolution"),
    "results": ("output", "kind"),
    "TF Serving": _SERVING,
}


def define_flags() -> None:
    flags.DEFINE_string("model", None, "Weight file of a detector, or the folder of its run.", required=True)
    flags.DEFINE_integer("resolution", None, "Side of the images in pixels; that of the weights if not given.")
    flags.DEFINE_string(
        "output", None, "Directory of all models of a server; for ONNX and LiteRT a directory to create.", required=True
    )
    flags.DEFINE_enum("kind", "serving", ["serving", *edge.KINDS], "What to write.")
    flags.DEFINE_string("name", "detector", "Name of the model.")
    flags.DEFINE_integer("version", 1, "Number of the version; a server loads the largest.")
    flags.DEFINE_string("class_names", None, "Text file with a class name per line; those of the weights if not given.")
    flags.DEFINE_enum("precision", "float32", ["float32", "bfloat16"], "Precision of kernels and convolutions.")
    flags.DEFINE_float("score", decoding.SCORE, "Boxes with this score or less are left out.")
    flags.DEFINE_float("iou", decoding.IOU, "A box goes if it overlaps a better one of its class by more than this.")
    flags.DEFINE_integer("limit", decoding.KEPT, "Boxes per image.")
    flags.DEFINE_integer("max_rows", None, "Requests with more image files are rejected; 32 if not given.")
    flags.DEFINE_integer("max_pixels", None, "Image files with more pixels are rejected; 2^26 if not given.")


def main() -> None:
    values = flags.FLAGS
    if values.kind == "serving":
        _export_serving(values)
    else:
        _export_edge(values)


def _export_serving(values: flags.FlagValues) -> None:
    require("an export for TF Serving", "tensorflow", "tensorflow_serving")
    from bit_keras.saved_models.tf_serving import new_version

    new_version(values.output, values.name, values.version)  # before the weights are loaded
    given = values.class_names
    options = {name: values[name].value for name in _SERVING[3:] if values[name].value is not None}
    artefact = export_detector_serving(
        _load(values),
        values.output,
        values.name,
        values.version,
        None if given is None else read_names("class_names", expanded(given)),
        resolution=values.resolution,
        **options,
    )
    print(table([artefact]))
    print(f"model in {artefact.path}, configuration of a server in {values.output}")
    models = Path(expanded(values.output)).absolute()
    base = shlex.quote(str(models / values.name))
    print(f"to start a server: cd {shlex.quote(str(models))} && docker compose --profile cpu up    (or --profile gpu)")
    print(f"or: tensorflow_model_server --rest_api_port=8501 --model_name={values.name} --model_base_path={base}")


def _export_edge(values: flags.FlagValues) -> None:
    unused = [name for name in _SERVING if values[name].present]
    if unused:
        raise UsageError(f"--{unused[0]} is for --kind=serving; ONNX and LiteRT files have the raw outputs")
    check_new("output", values.output)  # before the weights are loaded
    differences = edge.export_detector_edge(
        _load(values, dtype="float32"), values.output, values.kind, values.resolution
    )
    for file, difference in differences.items():
        print(f"{file:<16} differs by {difference:.1e} of the scale of the outputs")
    print(f"files in {values.output}, with decode_numpy.py, which makes boxes of their outputs")


def _load(values: flags.FlagValues, **options) -> Detector:
    with doing(f"loading the weights of {values.model}"):
        return Detector.from_preset(values.model, **options)
