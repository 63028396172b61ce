"""LiteRT and ONNX files of detectors: the raw outputs, with a decoder in NumPy beside them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bit_keras.detection.export import decode_numpy
from bit_keras.detection.export.comparison import compare_heads, expected_heads, random_images
from bit_keras.detection.export.saved_model import card_of, check_resolution, run_exported
from bit_keras.detection.network.detector import Detector
from bit_keras.edge.export import FORMATS, check_convertible
from bit_keras.network.folding import folded
from bit_keras.saved_models.export import names_of
from bit_keras.system import files
from bit_keras.system.checks import check_integer, known_arguments
from bit_keras.system.logs import doing, shows_messages
from bit_keras.system.paths import check_new
from bit_keras.system.processes import run_python

# {kind of export: its formats}. The int8 files of classifiers are calibrated and compared on images of their task.
KINDS = {"onnx": ("onnx",), "litert": ("litert_float32", "litert_float16")}
_DECODER = Path(decode_numpy.__file__)


@known_arguments
@shows_messages
def export_detector_edge(
    detector: Detector,
    output: str | os.PathLike,
    kind: str,
    resolution: int | None = None,
    *,
    verbose: bool = True,
) -> dict[str, float]:
    """Writes a detector for edge runtimes, and runs the files in a fresh process; leaves no files if one fails.

    Each file contains one function, "images" in **[0, 1]** to the raw outputs "class" [N, A, K] and "box" [N, A, 4] of
    the folded network: no operation of ONNX or LiteRT suppresses boxes as TensorFlow's does. The directory also
    contains `decode_numpy.py`, which makes boxes of them and needs NumPy only, and `class_names.txt`, one name per
    line, where the names are known. `bit_keras.edge.card.read_card` reads the card in a file.

    Args:
        detector: in float32, unchanged.
        output: directory to create, which must not exist.
        kind: "onnx" for `model.onnx`, float32 [N, H, W, 3], any N, H and W; "litert" for `float32.tflite` and
            `float16.tflite`, with kernels in float16, both [N, resolution, resolution, 3], where N is 1 unless the
            input is resized.
        resolution: side of the images in pixels; None for that of the weights, `detector.resolution`.
        verbose: False shows no progress.

    Returns:
        {file name: largest difference from the outputs of the detector, relative to their scale}.

    Raises:
        ValueError: an argument is out of its range, or the resolution is not known.
        FileExistsError: `output` exists.
        ImportError: a converter or a runtime is not installed.
        RuntimeError: a converter or a runtime failed, or a file differs from the detector by more than
            `bit_keras.edge.export.FORMATS` allows.
    """
    output = check_new("output", output)
    formats = _check_arguments(detector, kind)
    resolution = check_integer("resolution", check_resolution(detector, resolution))
    names, differences = names_of(detector), {}
    with files.whole(output) as written:
        written.mkdir()
        _convert(detector, written, formats, names, resolution)
        # Of the resolution first: a LiteRT file takes no other one.
        sizes = [(1, resolution, resolution), *([(2, 64, 64), (1, 100, 150)] if kind == "onnx" else [])]
        for name in formats:
            file = written / FORMATS[name].file_name
            with doing(f"running {file.name} in a fresh process"):
                differences[file.name] = _check(detector, name, file, sizes)
        shutil.copy(_DECODER, written / _DECODER.name)
        if names is not None:
            (written / "class_names.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return differences


def _check_arguments(detector: Detector, kind: str) -> Sequence[str]:
    """Returns the formats of a kind of export."""
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    check_convertible("detector", detector)
    return KINDS[kind]


def _convert(
    detector: Detector, folder: Path, formats: Sequence[str], names: Sequence[str] | None, resolution: int
) -> None:
    network, card = folder.with_name("network.keras"), folder.with_name("card.json")
    folded(detector).save(network)
    content = card_of(detector, names, resolution=resolution, input_range=(0.0, 1.0))
    card.write_text(content.to_json(), encoding="utf-8")
    with doing(f"converting to {', '.join(formats)}"):
        # In a separate process, because the converters warn, print and log a lot.
        run_python("the conversion failed", "-m", "bit_keras.detection.export.convert", network, card, folder, *formats)


def _check(detector: Detector, name: str, file: Path, sizes: Sequence[tuple[int, int, int]]) -> float:
    """Runs a file and returns its difference from the detector; raises RuntimeError if it is too large."""
    from bit_keras.saved_models.serving import reference

    inputs = random_images(sizes)
    expected = expected_heads(reference(detector), inputs)
    difference, faults = compare_heads(expected, run_exported(file, inputs), FORMATS[name].max_difference)
    if faults:
        raise RuntimeError(f"{file.name} differs from the detector:\n" + "\n".join(faults))
    return difference
