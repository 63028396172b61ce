"""LiteRT and ONNX files of a BiT, for phones and small computers; they are run and compared with it."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bit_keras import data
from bit_keras.checkpoints import provenance
from bit_keras.checkpoints.card import Card
from bit_keras.network.base import Network
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT
from bit_keras.saved_models.check import relative_difference
from bit_keras.saved_models.summary import Artefact, write_summary
from bit_keras.system import files
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import logger
from bit_keras.system.optional import require
from bit_keras.system.paths import check_place
from bit_keras.system.processes import run_python
from bit_keras.system.texts import label

# Protobufs and flatbuffers are limited to 2 GiB, and every format is converted from float32.
_MAX_BYTES = 2**31
_BATCH_SIZE = 8


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format, and how much its outputs may differ from those of the Keras model.

    Attributes:
        file_name: name in the output directory.
        max_difference: largest difference of a logit, over all test images, relative to the largest logit.
        max_accuracy_loss: largest loss of test accuracy as a fraction; a loss of one example is always allowed.
    """

    file_name: str
    max_difference: float
    max_accuracy_loss: float


FORMATS = {
    # The same operations in a different order.
    "litert_float32": Format("float32.tflite", max_difference=1e-4, max_accuracy_loss=0.0),
    "onnx": Format("model.onnx", max_difference=1e-4, max_accuracy_loss=0.0),
    # Kernels with 11 significant bits: 3e-3 was measured, and a wrong kernel differs by far more.
    "litert_float16": Format("float16.tflite", max_difference=0.02, max_accuracy_loss=0.005),
    # 8-bit kernels with one scale per filter, and 8-bit activations with one scale per tensor and batch.
    "litert_dynamic_int8": Format("dynamic_int8.tflite", max_difference=0.2, max_accuracy_loss=0.02),
    # Activations have one scale for all images, so that a few logits differ a lot: accuracy is the better measure.
    "litert_int8": Format("int8.tflite", max_difference=0.5, max_accuracy_loss=0.03),
}


@known_arguments
def export_edge(
    model: BiT,
    output: str | os.PathLike,
    source: data.Source,
    resolution: int | None = None,
    formats: Sequence[str] = tuple(FORMATS),
    calibration_examples: int = 256,
    test_examples: int = 1000,
) -> list[Artefact]:
    """Writes files for edge runtimes, and runs each in its runtime in a fresh process; leaves no files if one fails.

    Each file contains one function, "images" to "logits", of images in **[0, 1]**, with the kernels already
    standardized. The formats are

    - litert_float32, litert_float16, litert_dynamic_int8: LiteRT, float32 [N, resolution, resolution, 3] to float32
      [N, K]. The second stores kernels in float16; the third stores kernels and computes convolutions in int8.
    - litert_int8: LiteRT, int8 to int8, quantized as round(image / scale) + zero point, with the scales and zero points
      in the file. Group normalization is computed in float32, everything else in int8.
    - onnx: ONNX, float32 [N, H, W, 3] to float32 [N, K], any N, H and W.

    N is 1 in a LiteRT file unless its input is resized. Each file carries the card of the model, which
    `bit_keras.edge.card.read_card` reads; a LiteRT file also has LiteRT's metadata, with the class names. The directory
    also contains `class_names.txt`, one name per line in the order of the logits, and `summary.json`.

    Args:
        model: a classifier in float32, which is not changed.
        output: directory to create, which must not exist.
        source: the task of the model. Its training split calibrates the int8 file, its test split gives accuracies.
        resolution: side of the images in pixels; None for that of the weights, `model.resolution`, or 224 if that is
            None.
        formats: names of the formats to write, of those above.
        calibration_examples: maximum number of training examples for calibration, 1 or more.
        test_examples: maximum number of test examples to compare on, 1 or more; they are spread evenly over the split.

    Returns:
        One record per file, in the order of `formats`, with the test accuracies of the file and of the model.

    Raises:
        ValueError: an argument is out of its range, or model and task differ in their numbers of classes.
        FileExistsError: `output` exists.
        ImportError: a converter or a runtime is not installed.
        RuntimeError: a converter or a runtime failed, or a file differs from the model by more than its format allows:
            a logit by 1e-4 of the largest one in float32, 0.02 in float16, 0.2 and 0.5 in int8; the test accuracy by
            0.005 in float16, 0.02 and 0.03 in int8.

    Example:
        >>> from bit_keras.edge.export import export_edge
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=10)
        >>> source = bit_keras.data.load("digits")
        >>> [file] = export_edge(model, "edge", source, resolution=32, formats=["litert_float32"], test_examples=20)
        >>> file.path.name, file.max_difference < 1e-4
        ('float32.tflite', True)
    """
    output = check_place("output", output)
    _check_arguments(model, output, source, formats)
    examples = {"calibration_examples": calibration_examples, "test_examples": test_examples}
    resolution = provenance.serving_resolution(model, resolution)
    for name, value in {"resolution": resolution, **examples}.items():
        if value < 1:
            raise ValueError(f"{name} must be 1 or more, got {value}")
    with files.whole(output) as written:
        written.mkdir()
        shape = {"crop": resolution, "fit": model.card.resize}
        network, calibration, images = (written.with_name(name) for name in ("network.keras", "train.npy", "test.npy"))
        _write_images(source.train, source, calibration_examples, shape, calibration)
        labels = _write_images(source.test, source, test_examples, shape, images)
        folded(model).save(network)
        card = written.with_name("card.json")
        card.write_text(_card(model, source, resolution).to_json(), encoding="utf-8")
        logger.info("converting to %s", ", ".join(formats))
        # In a separate process, because the converters warn, print and log a lot.
        run_python(
            "the conversion failed", "-m", "bit_keras.edge.convert", network, card, calibration, written, *formats
        )
        expected = _predict(model, images)
        artefacts = [_check(name, written / FORMATS[name].file_name, images, expected, labels) for name in formats]
        class_names = "".join(f"{label(name)}\n" for name in source.class_names)
        (written / "class_names.txt").write_text(class_names, encoding="utf-8")
    artefacts = [dataclasses.replace(artefact, path=output / artefact.path.name) for artefact in artefacts]
    write_summary(artefacts, output / "summary.json")
    return artefacts


def _check_arguments(model: BiT, output: Path, source: data.Source, formats: Sequence[str]) -> None:
    if os.path.lexists(output):
        raise FileExistsError(f"output must be a directory that does not exist yet, got {output}")
    source.check_trainable("calibration")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ValueError(f"formats must be some of {', '.join(FORMATS)}, got {', '.join(formats) or 'none'}")
    check_convertible("model", model)
    if model.num_classes != source.num_classes:
        raise ValueError(
            f"the model must have an output for each class of {source.name}, got {model.num_classes} outputs for "
            f"{source.num_classes} classes"
        )


def check_convertible(name: str, model: Network) -> None:
    """Raises ImportError if a converter is not installed, and ValueError if a model cannot be converted.

    Args:
        name: of the argument, for messages.
        model: its value.
    """
    require("an export to LiteRT and ONNX", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai_edge_litert")
    if model.dtype_policy.name != "float32":
        raise ValueError(
            f"the {name} must be in float32, like the computations in the files, got {model.dtype_policy.name}"
        )
    if (num_bytes := 4 * model.count_params()) >= _MAX_BYTES:
        raise ValueError(
            f"LiteRT and ONNX files must have less than {_MAX_BYTES:,} bytes, the network has {num_bytes:,}"
        )


def _card(model: BiT, source: data.Source, resolution: int) -> Card:
    """Returns the card of a file, whose images are in [0, 1]."""
    names = tuple(source.class_names)
    return dataclasses.replace(model.card, class_names=names, resolution=resolution, input_range=(0.0, 1.0))


def _write_images(
    split: data.source.Split, source: data.Source, max_examples: int, shape: dict, path: Path
) -> np.ndarray:
    """Writes images in [0, 1] to an npy file; returns their class indices [N]. `shape` is for `data.test_batches`."""
    count = min(max_examples, len(split))
    chosen = split.take(np.linspace(0, len(split) - 1, count).astype(int))
    batches = data.test_batches(dataclasses.replace(source, test=chosen), batch_size=_BATCH_SIZE, **shape)
    # Memory-mapped: 1000 images of 480 pixels need 2.8 GB.
    written = np.lib.format.open_memmap(path, "w+", np.float32, (count, shape["crop"], shape["crop"], 3))
    labels = []
    for batch, targets in batches.as_numpy_iterator():
        written[len(labels) : len(labels) + len(batch)] = (batch + 1) / 2
        labels += list(targets.argmax(axis=-1))
    written.flush()
    return np.array(labels)


def _predict(model: BiT, images_file: Path) -> np.ndarray:
    images = np.load(images_file, mmap_mode="r")
    starts = range(0, len(images), _BATCH_SIZE)
    return np.concatenate([model.predict_on_batch(2 * images[i : i + _BATCH_SIZE] - 1) for i in starts])


def _check(name: str, path: Path, images: Path, expected: np.ndarray, labels: np.ndarray) -> Artefact:
    """Runs a file in a fresh process and compares its outputs with the model's."""
    logger.info("running %s in a fresh process", name)
    result = images.with_name("result.npz")
    # By path, not as a module: the program must not import the library.
    run_python(f"{name} does not run", Path(__file__).with_name("run.py"), path, images, result)
    with np.load(result, allow_pickle=False) as archive:
        found, input_format = archive["logits"], str(archive["input"])
        rates = dict(zip(archive["batch_sizes"].tolist(), archive["images_per_second"].tolist()))
    difference, accuracies = compare(name, found, expected, labels)
    before, after = accuracies
    extra = {"test accuracy": after, "Keras accuracy": before, "test examples": str(len(labels)), "input": input_format}
    return Artefact(name, path, difference, rates, extra)


def compare(
    name: str, found: np.ndarray, expected: np.ndarray, labels: np.ndarray
) -> tuple[float, tuple[float, float]]:
    """Compares the logits of a file with those of the Keras model.

    Args:
        name: of the format, a key of `FORMATS`.
        found: logits [N, K] of the file.
        expected: logits [N, K] of the model.
        labels: class indices [N].

    Returns:
        The largest difference relative to the largest logit, and the accuracies (of the model, of the file).

    Raises:
        RuntimeError: the difference or the loss of accuracy is above the limit of the format.
    """
    limits = FORMATS[name]
    difference = relative_difference(expected, found)
    if difference > limits.max_difference:
        raise RuntimeError(
            f"{name}: the logits differ by {difference:.2g} of their scale, allowed is {limits.max_difference}"
        )
    before, after = (float(np.mean(logits.argmax(axis=-1) == labels)) for logits in (expected, found))
    max_loss = max(limits.max_accuracy_loss, 1 / len(labels))
    if before - after > max_loss + 1e-9:  # a margin for rounding
        raise RuntimeError(
            f"{name}: the test accuracy falls from {before:.4f} to {after:.4f}, allowed is a loss of {max_loss:.2g}"
        )
    return difference, (before, after)
