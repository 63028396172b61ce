"""Models for TF Serving: SavedModels with warm-up requests, and the configuration files of a server."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from bit_keras.checkpoints import provenance
from bit_keras.network.model import BiT
from bit_keras.saved_models import summary
from bit_keras.saved_models.export import check_arguments
from bit_keras.saved_models.serving import ServingOptions
from bit_keras.saved_models.warmup import BATCH_SIZES, replay_warmup, write_warmup
from bit_keras.saved_models.writer import write_checked
from bit_keras.system import locks
from bit_keras.system.checks import checked_types, known_arguments
from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_folder

# Templates of the configuration files of a server; MODEL_NAME is a placeholder.
CONFIGURATION = Path(__file__).with_name("server")
CONFIGURATION_FILES = (
    *("batching-cpu.config", "batching-gpu.config", "monitoring.config"),
    *("compose.yaml", "kubernetes-cpu.yaml", "kubernetes-gpu.yaml"),
)
_MODELS_CONFIG = "models.config"


@checked_types()
def export_serving(
    model: BiT,
    output: str | os.PathLike,
    name: str = "bit",
    version: int = 1,
    class_names: Sequence[str] | None = None,
    **options,
) -> summary.Artefact:
    """Writes OUTPUT/NAME/VERSION and the server's configuration next to it; leaves no files if a check fails.

    The SavedModel is reloaded and compared in a fresh process, its warm-up requests are run, and its speed is measured.

    Args:
        model: the network, in float32.
        output: directory of all models of a server. Existing configuration files are kept; the model is added to
            models.config if that does not list it.
        name: of the model: letters, digits, ".", "_" and "-", starting with a letter or digit.
        version: number of the version, 1 or more; the server loads the largest.
        class_names: the names of the outputs, in their order; None for those of the card of the weights, or class
            indices if it has none.
        **options: of `bit_keras.saved_models.serving.ServingOptions`. The default resolution is that of the weights,
            `model.resolution`, or 224 pixels if that is None.

    Returns:
        The record of the SavedModel, which is also written to OUTPUT/NAME/summary.json.

    Raises:
        ValueError: an argument or models.config is not as described above.
        FileExistsError: the version exists.
        RuntimeError: the outputs of the SavedModel differ from the model's.

    Example:
        >>> from bit_keras.saved_models.tf_serving import export_serving
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5", num_classes=2)
        >>> artefact = export_serving(model, "models", name="pets", class_names=["cat", "dog"], resolution=32)
        >>> artefact.path
        PosixPath('models/pets/1')
    """
    path = new_version(output, name, version)
    class_names = check_arguments(model, path, "serving", class_names, options)
    resolution = options["resolution"] = provenance.serving_resolution(model, options.get("resolution"))
    precision = ServingOptions(model.num_classes, **options).precision

    def write(written: Path) -> float:
        return write_checked(model, written, "serving", class_names, options, destination=path)

    return publish(path, f"serving, {precision}", resolution, write)


def publish(
    path: Path,
    kind: str,
    resolution: int,
    write: Callable[[Path], float],
    *,
    warmup_sizes: Sequence[int] = BATCH_SIZES,
    measured_sizes: Sequence[int] = summary.BATCH_SIZES,
) -> summary.Artefact:
    """Writes a version with warm-up requests, the configuration of the server and a summary; see `export_serving`.

    Args:
        path: OUTPUT/NAME/VERSION, as returned by `new_version`.
        kind: name of the artefact in the summary.
        resolution: side in pixels of the images to warm up and to measure with.
        write: writes a SavedModel to the path that it gets, checks it, and returns its difference from the model.
        warmup_sizes: images per warm-up request.
        measured_sizes: images per call whose speed is measured.

    Raises:
        ValueError: models.config is damaged.
        RuntimeError: a warm-up request failed.
    """
    output, name = path.parents[1], path.parent.name
    read_models_config(output)  # raises before anything is written
    with _without_new_empty_folders(path), whole(path) as written:
        difference = write(written)
        logger.info("writing and running warm-up requests")
        write_warmup(written, name, resolution, warmup_sizes)
        loaded = tf.saved_model.load(str(written))
        count = replay_warmup(written, loaded)
        logger.info("measuring at %d pixels", resolution)
        rates = _measure(loaded, resolution, measured_sizes)
    artefact = summary.Artefact(kind, path, difference, rates, {"warm-up requests": str(count)})
    write_configuration(output, name)
    summary.write_summary([artefact], path.with_name("summary.json"))
    return artefact


@known_arguments
def new_version(output: str | os.PathLike, name: str, version: int) -> Path:
    """Returns OUTPUT/NAME/VERSION; raises as `export_serving` if it must not be created."""
    if keras.backend.backend() != "tensorflow":
        raise ValueError(f"KERAS_BACKEND must be tensorflow to export for TF Serving, got {keras.backend.backend()}")
    if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(
            f'name must be letters, digits, ".", "_" and "-", starting with a letter or digit, got {name!r}'
        )
    if version < 1:
        raise ValueError(f"version must be 1 or more, got {version}")
    path = check_folder("output", output) / name / str(version)
    if os.path.lexists(path):
        raise FileExistsError(f"version {version} of {name} exists, in {path}; take another one")
    return path


def write_configuration(output: Path, name: str) -> None:
    """Writes the configuration of a server of the models in `output`; existing files are kept, a new model is added."""
    for file in CONFIGURATION_FILES:
        if not (output / file).exists():
            content = (CONFIGURATION / file).read_text(encoding="utf-8").replace("MODEL_NAME", name)
            _write_text(output / file, content)
    with locks.in_turn(output / f".{_MODELS_CONFIG}.lock"):  # other exports add their models
        config = read_models_config(output)
        models = config.model_config_list.config
        if name not in [model.name for model in models]:
            models.add(name=name, base_path=f"/models/{name}", model_platform="tensorflow")
            _write_text(output / _MODELS_CONFIG, text_format.MessageToString(config))


def read_models_config(output: Path) -> ModelServerConfig:
    """Returns the contents of OUTPUT/models.config, empty if it does not exist; raises ValueError if it is invalid."""
    path = output / _MODELS_CONFIG
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{path} must be a ModelServerConfig in text form: {error}") from error


def _write_text(path: Path, text: str) -> None:
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def _without_new_empty_folders(path: Path) -> Iterator[None]:
    """Removes the folders above `path` that the block created and left empty."""
    missing = [folder for folder in path.parents if not folder.exists()]
    try:
        yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: the export succeeded
                folder.rmdir()


def _measure(loaded, resolution: int, batch_sizes: Sequence[int]) -> dict[int, float]:
    serve = loaded.signatures["serving_default"]

    def run(images: np.ndarray) -> None:
        serve(images=tf.constant(images))["scores"].numpy()  # returns when it is computed

    return summary.measure(run, resolution, batch_sizes=batch_sizes)
