"""Reads weight files of every format. The format is detected from the content, not from the name."""

import hashlib
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bit_keras.checkpoints.card import Card
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.folders import weight_file
from bit_keras.checkpoints.readers import (
    h5,
    hdf5,
    hub_module,
    keras_file,
    keras_h5,
    npz,
    torch_pickle,
    torch_state,
)
from bit_keras.system.checks import known_arguments
from bit_keras.zoo import presets


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """Reads an HDF5 file of Keras 2 or 3."""
    with hdf5.open_hdf5(path) as file:
        if keras_h5.is_model(file):
            return keras_h5.read_model(file)
        return h5.read_legacy(file) if h5.is_legacy(file) else keras_file.read_layers(file)


def _read_hdf5_card(path: Path) -> Card | None:
    with hdf5.open_hdf5(path) as file:
        if keras_h5.is_model(file):
            return keras_h5.read_card(file)
    return keras_file.read_weights_card(path)


READERS = {
    "npz": npz.open_npz,
    "h5": _read_hdf5,
    "safetensors": torch_state.read_safetensors,
    "SavedModel": hub_module.read_saved_model,
    "keras": keras_file.read_keras,
    "safetensors in shards": torch_state.read_shards,
}

_CARD_READERS = {
    "npz": npz.read_card,
    "safetensors": torch_state.read_card,
    "SavedModel": hub_module.read_card,
    "keras": keras_file.read_card,
    "h5": _read_hdf5_card,
}


def read_card(path: str | os.PathLike) -> Card | None:
    """Returns the card that a weight file carries; None if it carries none, or is of no known format.

    Args:
        path: as in `read_weights`.

    Raises:
        ImportError: a package that the format needs is not installed.
        CheckpointError: the card is damaged.
        OSError: the file cannot be opened or read.
    """
    try:
        path = weight_file(Path(path))
        reader = _CARD_READERS.get(detect_format(path))
    except (CheckpointError, FileNotFoundError):
        return None
    return None if reader is None else reader(path)


@known_arguments
def read_weights(path: str | os.PathLike) -> Mapping[str, np.ndarray]:
    """Reads a BiT's weights from a file or directory of any known format.

    Args:
        path: official npz or h5; safetensors of timm, transformers or bit_pytorch, or the index of its shards; a
            SavedModel directory; Keras 3's `.keras`, `.weights.h5` or `.h5`; or a folder with one of these,
            of which best.npz is taken, or else weights.npz, or the only weight file.

    Returns:
        {official key: array of floats}. Kernels are [height, width, in, out], gamma, beta and bias [channels].

    Raises:
        FileNotFoundError: the file does not exist.
        ImportError: a package that the format needs is not installed.
        CheckpointError: the file is of no known format, damaged, or one that was published under a wrong name.
        OSError: the file cannot be opened or read.

    Example:
        >>> from bit_keras.checkpoints import read_weights
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5")
        >>> model.save("model.keras")
        >>> read_weights("model.keras")["resnet/head/conv2d/kernel"].shape
        (1, 1, 1024, 360)
    """
    path = weight_file(Path(path))
    _refuse_wrong_upload(path)
    return READERS[detect_format(path)](path)


def detect_format(path: str | os.PathLike) -> str:
    """Returns the format of a file or directory, a key of READERS; raises the same errors as `read_weights`."""
    path = weight_file(Path(path))
    if path.is_dir():
        return "SavedModel"
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with open(path, "rb") as stream:
        start = stream.read(16)
    if torch_pickle.is_pickle(start) or (start.startswith(b"PK") and torch_pickle.is_torch_zip(path)):
        raise torch_pickle.refusal(path)
    if start.startswith(b"PK"):
        return "keras" if _holds_keras_weights(path) else "npz"
    if start.startswith(b"\x89HDF"):
        return "h5"
    if start.lstrip().startswith(b"{") and 0 not in start:
        return "safetensors in shards"
    # The length of the header, 8 bytes, and the beginning of a JSON dict.
    if start[8:9] == b"{" or path.suffix == ".safetensors":
        return "safetensors"
    raise CheckpointError(f"{path} begins with {start!r}, unlike all known formats: {', '.join(READERS)}")


def _holds_keras_weights(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return keras_file.WEIGHTS in archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError):
        return False  # the npz reader then raises the error


def _refuse_wrong_upload(path: Path) -> None:
    """Raises CheckpointError for a file of the official bucket known to hold another network than its name states."""
    faulty = presets.faulty_file(path.name)
    if faulty is not None and path.is_file():
        with open(path, "rb") as stream:
            if hashlib.file_digest(stream, "md5").hexdigest() == faulty.md5:
                raise CheckpointError(f"{path}: {faulty.fault}")
