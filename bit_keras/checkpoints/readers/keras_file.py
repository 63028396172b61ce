"""Keras 3's own files of a BiT: `.weights.h5` (`model.save_weights`) and `.keras` (`model.save`).

Weights are found by the names of their layers. The saved configuration is never deserialized, so it cannot run code.
"""

import collections
import json
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from bit_keras.checkpoints.card import KEY, MAX_BYTES, Card
from bit_keras.checkpoints.checks import CheckpointError, check_bytes, reading
from bit_keras.checkpoints.names import as_convolution, layer_path, weight_key
from bit_keras.checkpoints.readers.hdf5 import Hdf5File, open_hdf5
from bit_keras.system.npz import check_compression

WEIGHTS = "model.weights.h5"
# What a damaged archive raises.
_ERRORS = (KeyError, ValueError, OSError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)


def read_keras(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the weights in a `.keras` archive.

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: it is no such archive, or its weights are not those of a BiT.
        OSError: the file cannot be opened or read, or its weights cannot be extracted to the temporary folder.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with (
        reading(path, "Keras archive", _ERRORS),
        zipfile.ZipFile(path) as archive,
        tempfile.TemporaryDirectory() as scratch,
    ):
        check_compression(archive)
        check_bytes(path, archive.getinfo(WEIGHTS).file_size)
        with open_hdf5(archive.extract(WEIGHTS, scratch)) as file:
            return read_layers(file)


def read_card(path: str | os.PathLike) -> Card | None:
    """Returns the card of the BiT in a `.keras` archive; None if it has none, or its configuration is damaged.

    Files of earlier versions have no card, but may have a resolution.

    Raises:
        CheckpointError: the card is damaged.
        OSError: the file cannot be opened or read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            check_compression(archive)
            with archive.open("config.json") as file:
                config = json.loads(file.read(MAX_BYTES))["config"]
    except (KeyError, TypeError, ValueError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error):
        return None
    if not isinstance(config, dict):
        return None
    if "card" in config:
        return Card.from_dict(config["card"], path)
    return Card(resolution=config["resolution"]) if isinstance(config.get("resolution"), int) else None


def write_weights_card(path: str | os.PathLike, card: Card) -> None:
    """Adds a card to a `.weights.h5` file, as an array of bytes, which Keras passes over."""
    with h5py.File(path, "a") as file:
        file.create_dataset(KEY, data=np.frombuffer(card.to_json().encode(), np.uint8))


def read_weights_card(path: str | os.PathLike) -> Card | None:
    """Returns the card in a `.weights.h5` file; None if it has none.

    Raises:
        CheckpointError: the card, or the file, is damaged.
        OSError: the file cannot be opened or read.
    """
    with open_hdf5(path) as file:
        name = f"/{KEY}"
        return Card.from_json(file.read_bytes(name, MAX_BYTES), path) if name in file.datasets else None


def read_layers(file: Hdf5File) -> dict[str, np.ndarray]:
    """Reads a `.weights.h5` file of a BiT.

    Args:
        file: the index of its contents.

    Returns:
        {official key: array of floats}, the head as a 1x1 convolution.

    Raises:
        CheckpointError: it holds no weights of layers, or weights of a layer that no BiT has.
    """
    arrays = {}
    for group, weights in _layers_with_weights(file):
        name = file.attributes[group].get("name")
        layer = layer_path(name) if isinstance(name, str) else None
        if layer is None:
            raise CheckpointError(f"{file.path}: {group} is of layer {name!r}, which no BiT has")
        names = ("gamma", "beta") if layer.endswith("group_norm") else ("kernel", "bias")
        if len(weights) > len(names) or weight_key(layer, names[0]) in arrays:
            raise CheckpointError(
                f"{file.path}: {group} is one weight or one layer too many for {layer}, as in a quantized network, "
                "which has no float weights"
            )
        for index, weight in enumerate(names[: len(weights)]):
            key = weight_key(layer, weight)
            arrays[key] = as_convolution(key, file.read(f"{group}/{index}"))
    if not arrays:
        raise CheckpointError(f"{file.path} is of neither Keras 2 nor 3: it lists no layers with weights")
    return arrays


def _layers_with_weights(file: Hdf5File) -> Iterator[tuple[str, list[str]]]:
    """Yields the group of each layer that has weights, and the paths of those weights; the optimizer is left out."""
    weights = collections.defaultdict(list)
    for name in file.datasets:
        weights[name.rpartition("/")[0]].append(name)
    for group in file.attributes:
        if group.startswith("/layers/") and group in weights:
            yield group, weights[group]
