"""Where weights come from: their card, the run that wrote them, or the table of published weights.

A run's folder holds config.json with its settings and data, and task.json with values derived from them.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from bit_keras.checkpoints import formats
from bit_keras.checkpoints.card import Card
from bit_keras.checkpoints.folders import CONFIG, OF_A_RUN, weight_file
from bit_keras.checkpoints.readers import shards
from bit_keras.system.files import write_json
from bit_keras.system.logs import logger
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.variants import VARIANTS

TASK = "task.json"
# Side in pixels of images to serve and predict if the weights' resolution is unknown.
UNKNOWN_RESOLUTION = 224
# Names of the weight files of a run, without the suffix of the format.
_WRITTEN = {Path(name).stem for name in OF_A_RUN}


def write_task(folder: Path, resolution: int, class_names: Sequence[str]) -> None:
    """Writes the training resolution in pixels and the class names of the network's outputs to a run's folder."""
    write_json(folder / TASK, {"resolution": resolution, "class_names": list(class_names)})


def run_folder(model: str | os.PathLike) -> Path | None:
    """Returns the folder of the run that wrote a weight file, None if no run is known."""
    path = Path(model)
    path = path.resolve() if path.is_symlink() else path
    is_of_a_run = path.name.partition(".")[0] in _WRITTEN and {"data", "backend"} <= _read(path.parent / CONFIG).keys()
    return path.parent if is_of_a_run else None


def read_card(model: str | os.PathLike) -> Card:
    """Returns what is known about weights.

    That is the card of published weights or the one in the file; what the file does not say is taken from the records
    of the run that wrote it.

    Args:
        model: name of published weights, or path of a file; nothing is known about an address.

    Raises:
        CheckpointError: the card of the file is damaged.
    """
    known = {}
    for card in reversed(_recorded(model).values()):
        known |= {name: value for name, value in vars(card).items() if value is not None}
    return Card(**known)


def training_resolution(model: str | os.PathLike) -> tuple[int, str] | None:
    """Returns the resolution in pixels that weights were trained at, and the source of it; None if unknown.

    Args:
        model: as in `read_card`.
    """
    return _trained_at(_recorded(model))


def best_resolution(model: str | os.PathLike) -> tuple[int, str] | None:
    """Returns the recommended resolution of weights in pixels, and the reason; None if unknown."""
    row = PRESETS.get(os.fspath(model))
    if row and row.evaluation_resolution:
        return row.evaluation_resolution, f"the published accuracy of {row.name} was measured at that"
    recorded = _recorded(model)
    for source, card in recorded.items():
        if card.resolution not in (None, card.training_resolution):
            return card.resolution, f"the weights are for {card.resolution} ({source})"
    return _trained_at(recorded)


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


def choose_fit(card: Card, fit: str | None) -> str:
    """Returns how images become squares for a model (`bit_keras.zoo.fits`), with a warning if its card differs.

    Args:
        card: of the model.
        fit: requested by the user, None for that of the card.
    """
    if fit not in (None, card.resize):
        logger.warning("fit %s was asked for, but the weights are for %s (their card)", fit, card.resize)
    return fit or card.resize


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
    logger.info(
        "served at %d pixels; the training resolution of the weights is unknown (model.resolution)", UNKNOWN_RESOLUTION
    )
    return UNKNOWN_RESOLUTION


def fingerprint(model: str | os.PathLike) -> str | None:
    """Returns the SHA-256 of a weight file or folder; None for published weights, a variant or an address."""
    path = Path(model)
    if os.fspath(model) in {"", *PRESETS, *VARIANTS} or not path.exists():
        return None
    path = weight_file(path)
    if path.name.endswith(shards.ENDING):
        files = [path, *shards.shard_files(path)]
        return hashlib.sha256("\n".join(_sha256(file) for file in files).encode()).hexdigest()
    if path.is_file():
        return _sha256(path)
    lines = [f"{file.relative_to(path).as_posix()} {_sha256(file)}" for file in path.rglob("*") if file.is_file()]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _recorded(model: str | os.PathLike) -> dict[str, Card]:
    """Returns {source: card} of all that is known about weights, the most reliable source first."""
    if row := PRESETS.get(os.fspath(model)):
        return {"table of published weights": Card.of_preset(row)}
    path = weight_file(Path(model))
    cards = {
        f"card of {model}": formats.read_card(path) if path.exists() else None,
        f"records in {run_folder(path)}": _run_card(path),
    }
    return {source: card for source, card in cards.items() if card is not None}


def _trained_at(recorded: dict[str, Card]) -> tuple[int, str] | None:
    for source, card in recorded.items():
        if pixels := card.training_resolution or card.resolution:
            return pixels, f"the weights were trained at {pixels} ({source})"
    return None


def _run_card(path: Path) -> Card | None:
    """Returns what the run that wrote a file recorded: earlier versions wrote no cards. None if no run is known."""
    folder = run_folder(path)
    if folder is None:
        return None
    config, task = _read(folder / CONFIG), _read(folder / TASK)
    pixels = next((value for value in (config.get("resolution"), task.get("resolution")) if value), None)
    recorded = {
        "class_names": task.get("class_names"),
        "resolution": pixels,
        "training_resolution": pixels,
        "resize": config.get("fit"),
        "data": config["data"],
    }
    return Card.from_dict(recorded, folder)


def _read(path: Path) -> dict:
    """Returns the content of a run's JSON file, {} if there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
