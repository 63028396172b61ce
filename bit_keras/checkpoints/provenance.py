"""Where weights come from: the run that wrote them, or the table of published weights.

A run's folder holds config.json with its settings and data, and task.json with values derived from them.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from bit_keras.system.files import write_json
from bit_keras.system.logs import logger
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS

CONFIG = "config.json"
_TASK = "task.json"
# Side in pixels of served images if the weights' resolution is unknown.
_SERVED = 224
# Most bytes of a configuration read from an untrusted .keras file; that of a BiT has a few thousand.
_LARGEST_CONFIGURATION = 2**22
# Names of the weight files of a run, without the suffix of the format.
_WRITTEN = ("weights", "best")


def write_task(folder: Path, resolution: int, class_names: Sequence[str]) -> None:
    """Writes the training resolution in pixels and the class names of the network's outputs to a run's folder."""
    write_json(folder / _TASK, {"resolution": resolution, "class_names": list(class_names)})


def run_folder(model: str | os.PathLike) -> Path | None:
    """Returns the folder of the run that wrote a weight file, None if no run is known."""
    path = Path(model)
    path = path.resolve() if path.is_symlink() else path
    is_of_a_run = path.name.partition(".")[0] in _WRITTEN and {"data", "backend"} <= _read(path.parent / CONFIG).keys()
    return path.parent if is_of_a_run else None


def run_data(model: str | os.PathLike) -> dict:
    """Returns the `Source.describe` of the data of the run that wrote the weights; empty if no run is known."""
    folder = run_folder(model)
    return _read(folder / CONFIG)["data"] if folder else {}


def run_class_names(model: str | os.PathLike) -> tuple[str, ...] | None:
    """Returns the class names of the outputs of the network that a run wrote, None if unknown."""
    folder = run_folder(model)
    names = _read(folder / _TASK).get("class_names") if folder else None
    return None if names is None else tuple(names)


def training_resolution(model: str | os.PathLike) -> tuple[int, str] | None:
    """Returns the resolution in pixels that weights were trained at, and the source of it; None if unknown.

    Args:
        model: name of published weights, or path or address of a file.
    """
    if row := PRESETS.get(os.fspath(model)):
        recorded = {"the table of published weights": row.training_resolution}
    elif folder := run_folder(model):
        recorded = {folder / name: _read(folder / name).get("resolution") for name in (CONFIG, _TASK)}
    else:
        recorded = {model: _keras_configuration(Path(model)).get("resolution")}
    for place, pixels in recorded.items():
        if isinstance(pixels, int) and pixels > 0:
            return pixels, f"{place} says that the weights were trained at {pixels}"
    return None


def best_resolution(model: str | os.PathLike) -> tuple[int, str] | None:
    """Returns the recommended resolution of weights in pixels, and the reason; None if unknown."""
    row = PRESETS.get(os.fspath(model))
    if row and row.evaluation_resolution:
        return row.evaluation_resolution, f"the published accuracy of {row.name} was measured at that"
    return training_resolution(model)


def choose_resolution(model: str | os.PathLike, resolution: int | None, otherwise: tuple[int, str]) -> tuple[int, str]:
    """Returns the resolution in pixels at which to use a model, and the reason.

    Args:
        model: name of published weights, or path or address of a file.
        resolution: resolution requested by the user, None for that of the weights.
        otherwise: resolution and reason if that of the weights is unknown.
    """
    known = best_resolution(model)
    if resolution is None:
        return known or otherwise
    if known and known[0] != resolution:
        logger.warning("%d pixels were asked for, but %s", resolution, known[1])
    return resolution, "asked for"


def serving_resolution(network, resolution: int | None = None) -> int:
    """Returns the resolution in pixels at which to serve a network, and logs the reason.

    Args:
        network: a `BiT`.
        resolution: resolution requested by the user, None for `network.resolution`, or 224 if that is None as well.
    """
    known = network.resolution
    if resolution is not None:
        if known not in (None, resolution):
            logger.warning("%d pixels were asked for, but the weights are for %d (model.resolution)", resolution, known)
        return resolution
    if known is not None:
        logger.info("served at %d pixels, which the weights are for (model.resolution)", known)
        return known
    logger.info("served at %d pixels; the training resolution of the weights is unknown (model.resolution)", _SERVED)
    return _SERVED


def fingerprint(model: str | os.PathLike) -> str | None:
    """Returns the SHA-256 of a weight file or folder; None for published weights, a variant or an address."""
    path = Path(model)
    if os.fspath(model) in {"", *PRESETS, *VARIANTS} or not path.exists():
        return None
    if path.is_file():
        return _sha256(path)
    lines = [f"{file.relative_to(path).as_posix()} {_sha256(file)}" for file in path.rglob("*") if file.is_file()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _keras_configuration(path: Path) -> dict:
    """Returns the configuration of the model in a .keras file, {} if it cannot be read or is too large."""
    if path.suffix != ".keras" or not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive, archive.open("config.json") as file:
            content = json.loads(file.read(_LARGEST_CONFIGURATION))["config"]
            return content if isinstance(content, dict) else {}
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile):
        return {}


def _read(path: Path) -> dict:
    """Returns the content of a run's JSON file, {} if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
