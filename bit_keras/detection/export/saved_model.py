"""SavedModels of detectors, for TF Serving and as folders; each is run in a fresh process and compared.

TensorFlow is imported in functions: the library works without it until something is exported.
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import keras
import numpy as np

from bit_keras.checkpoints.card import KEY, Card
from bit_keras.detection.export.comparison import Comparison
from bit_keras.detection.network.detector import Detector
from bit_keras.saved_models.export import check_class_names, names_of
from bit_keras.system import files
from bit_keras.system.checks import checked_types
from bit_keras.system.logs import doing, logger, shows_messages
from bit_keras.system.optional import require
from bit_keras.system.paths import check_new
from bit_keras.system.processes import run_python

if TYPE_CHECKING:
    from bit_keras.detection.export.options import ServingOptions
    from bit_keras.saved_models.summary import Artefact

_RUN = Path(__file__).with_name("run_exported.py")
# [N, H, W] of the images on which the written SavedModel must agree with the detector.
_CHECK_SIZES = ((2, 64, 64), (1, 100, 150))
# Images per warm-up request and per measured call. An image of 1024 pixels has as many of them as 21 of 224, and
# `serve_bytes` computes one at a time.
_SERVED_TOGETHER = (1,)


@checked_types()
@shows_messages
def export_detector(
    detector: Detector,
    path: str | os.PathLike,
    class_names: Sequence[str] | None = None,
    *,
    verbose: bool = True,
    **options,
) -> Path:
    """Writes a detector as a SavedModel for TF Serving and compares what it finds in a fresh process.

    `bit_keras.export_saved_model(detector, path, "serving")` calls this. If the results differ, no SavedModel is left
    behind. The network is folded (`bit_keras.network.folding`), for inference only. The signatures:

    - `serving_default`: "images", float32 [N, H, W, 3] in **[0, 1]**, any N, H and W, to "boxes" [N, limit, 4], [top,
      left, bottom, right] in pixels of these images, "scores" [N, limit], falling, "classes" [N, limit], strings, which
      are class indices if there are no names, "class_ids" [N, limit], int32, and "num" [N], int32, the boxes of each
      image. Beyond "num" boxes and scores are 0, classes "" and class_ids -1.
    - `serve_bytes`: "image_bytes", strings [N], each a JPEG, PNG, GIF or BMP file, to the same and to "valid" [N],
      booleans, and "error" [N], strings. The files are decoded and turned upright (EXIF), and their longer side is
      resized to the resolution as in evaluation; boxes are in pixels of the upright image in its own size. An invalid
      file has False in "valid", the reason in "error" and no boxes; the other rows are not affected.
    - `heads`: "images" to the raw outputs "class" [N, A, K] and "box" [N, A, 4], see `Detector`.

    Assets are the card in JSON, `assets/bit_keras_card.json`, and, where the names are known, `assets/class_names.txt`,
    one name per line. On the jax and torch backends a process on the tensorflow backend writes the SavedModel.

    Args:
        detector: unchanged.
        path: local directory to create, which must not exist.
        class_names: the names of the classes, in their order; None for those of the card, `detector.class_names`.
        verbose: False shows no progress.
        **options: of `bit_keras.detection.export.options.ServingOptions`: resolution, by default that of the weights,
            `detector.resolution`; precision, score, iou, limit, candidates, max_rows, max_pixels and max_scans.

    Returns:
        `path`.

    Raises:
        ValueError: the class names or an option are not as described, or the resolution is not known.
        TypeError: an option is unknown.
        FileExistsError: `path` exists.
        ImportError: TensorFlow is not installed.
        RuntimeError: the SavedModel could not be written, or returns other values than the detector.

    Example:
        >>> from bit_keras.detection.export import export_detector
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=2, width=32, depth=1)
        >>> export_detector(detector, "served_detector", score=0.3, resolution=64, verbose=False)
        PosixPath('served_detector')
    """
    path = check_new("path", path)
    class_names, options = check_arguments(detector, class_names, options)
    with files.whole(path) as written:
        write_checked(detector, written, class_names, options, destination=path)
    return path


@checked_types()
def export_detector_serving(
    detector: Detector,
    output: str | os.PathLike,
    name: str = "detector",
    version: int = 1,
    class_names: Sequence[str] | None = None,
    **options,
) -> "Artefact":
    """Writes OUTPUT/NAME/VERSION and the server's configuration, as `bit_keras.saved_models.tf_serving.export_serving`.

    The SavedModel is reloaded and compared in a fresh process, its warm-up requests are run, and its speed is measured.

    Args:
        detector: on the tensorflow backend.
        output: directory of all models of a server.
        name: of the model: letters, digits, ".", "_" and "-", starting with a letter or digit.
        version: number of the version, 1 or more; the server loads the largest.
        class_names: as in `export_detector`.
        **options: as in `export_detector`.

    Returns:
        The record of the SavedModel, which is also written to OUTPUT/NAME/summary.json.

    Raises:
        ValueError: an argument or models.config is not as described.
        TypeError: an option is unknown, or an argument has the wrong type.
        FileExistsError: the version exists.
        ImportError: TensorFlow or tensorflow-serving-api is not installed.
        RuntimeError: the SavedModel could not be written, or returns other values than the detector.

    Example:
        >>> from bit_keras.detection.export import export_detector_serving
        >>> detector = detection.Detector.from_preset("BiT-mini-R17x0.5", num_classes=2, width=32, depth=1)
        >>> export_detector_serving(detector, "models", name="birds", resolution=64).path
        PosixPath('models/birds/1')
    """
    require("an export for TF Serving", "tensorflow", "tensorflow_serving")
    from bit_keras.saved_models import tf_serving

    path = tf_serving.new_version(output, name, version)
    class_names, options = check_arguments(detector, class_names, options)

    def write(written: Path) -> float:
        return write_checked(detector, written, class_names, options, destination=path)

    sizes = {"warmup_sizes": _SERVED_TOGETHER, "measured_sizes": _SERVED_TOGETHER}
    return tf_serving.publish(path, f"detector, {options.precision}", options.resolution, write, **sizes)


def check_arguments(
    detector: Detector, class_names: Sequence[str] | None, options: dict
) -> tuple[Sequence[str] | None, "ServingOptions"]:
    """Raises what `export_detector` raises before it writes anything; returns class names and options."""
    require("a SavedModel", "tensorflow")
    from bit_keras.detection.export.options import ServingOptions

    class_names = names_of(detector) if class_names is None else class_names
    if class_names is not None:
        check_class_names(class_names, detector.num_classes)
    resolution = check_resolution(detector, options.get("resolution"))
    return class_names, ServingOptions(**{**options, "resolution": resolution})


def check_resolution(detector: Detector, resolution: int | None) -> int:
    """Returns the side in pixels of the squares that a detector gets, that of its card if none is given.

    Raises:
        ValueError: neither is known.
    """
    known = detector.resolution
    if resolution is None:
        if known is None:
            raise ValueError("resolution must be given: the card of the detector does not state that of its training")
        logger.info("images are resized into squares of %d pixels, which the weights are for", known)
        return known
    if known not in (None, resolution):
        logger.warning("%d pixels were asked for, but the weights are for %d (model.resolution)", resolution, known)
    return resolution


def write_checked(
    detector: Detector, path: Path, class_names: Sequence[str] | None, options: "ServingOptions", destination: Path
) -> float:
    """Writes a SavedModel and compares it with the detector in a fresh process.

    Args:
        detector, class_names, options: as returned by `check_arguments`.
        path: directory to create. The caller removes it when this function raises.
        destination: where the caller will move it, for messages.

    Returns:
        The largest difference of raw outputs, relative to their scale.

    Raises:
        RuntimeError: the SavedModel could not be written, or returns other values than the detector.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        names_file, card = Path(scratch, "class_names.txt"), Path(scratch, f"{KEY}.json")
        if class_names is not None:
            names_file.write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8")
        card.write_text(card_of(detector, class_names).to_json(), encoding="utf-8")
        with doing(f"writing SavedModel {destination}"):
            _write(detector, path, options, names_file, card)
        with doing("comparing it with the detector in a fresh process"):
            comparison = Comparison(detector, class_names, options)
            result = run_exported(path, comparison.inputs(_CHECK_SIZES))
            return comparison.check(result, path)


def card_of(detector: Detector, class_names: Sequence[str] | None, **changes) -> Card:
    """Returns the card of an exported detector."""
    return dataclasses.replace(detector.card, class_names=class_names and tuple(class_names), **changes)


def run_exported(path: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs an exported detector in a fresh process; see `run_exported.py`.

    Raises:
        RuntimeError: it does not run.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        inputs_file, result_file = Path(scratch, "inputs.npz"), Path(scratch, "result.npz")
        np.savez(inputs_file, **inputs)
        # By path, not as a module: the program must not import the library.
        run_python(f"{path.name} does not run", _RUN, path, inputs_file, result_file)
        with np.load(result_file, allow_pickle=False) as archive:
            return dict(archive)


def _write(detector: Detector, path: Path, options: "ServingOptions", names_file: Path, card: Path) -> None:
    if keras.backend.backend() == "tensorflow":
        from bit_keras.detection.export import serving

        serving.write(detector, path, options, names_file, card)
        return
    source = names_file.with_name("model.keras")
    detector.save(source)
    arguments = (source, path, names_file, card, json.dumps(dataclasses.asdict(options)))
    run_python("the SavedModel could not be written", "-m", "bit_keras.detection.export.serving", *arguments)
