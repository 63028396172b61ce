"""Official npz files (https://storage.googleapis.com/bit_models/): one array for each official key."""

import os
import zipfile
import zlib
from pathlib import Path

import numpy as np

from bit_keras.checkpoints.apply import CheckpointError
from bit_keras.checkpoints.names import normalize_key
from bit_keras.files import whole


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads an official npz file.

    Args:
        path: the file. Numbers on layer names are taken off; gamma and beta may carry leading axes of size 1.

    Returns:
        {official key: array of floats}. Kernels are [height, width, in, out], gamma, beta and bias [channels].

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no npz file, or an entry is no array of finite floats or stands there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    arrays = {}
    try:
        # Given a path, np.load leaves the file of a broken archive open.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for name in archive.files:
                key = normalize_key(name)
                if key in arrays:
                    raise CheckpointError(f"{path}: two entries mean {key}, the second is {name}")
                arrays[key] = _check(path, name, archive[name])
    except CheckpointError:
        raise
    except (ValueError, OSError, EOFError, AttributeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # AttributeError: a member that is no .npy comes as bytes. RuntimeError: encrypted, or an unknown compression.
        raise CheckpointError(f"{path} is no readable npz file of arrays: {error}") from error
    except TypeError as error:
        # np.load answers a plain .npy with an array, which is no context manager.
        raise CheckpointError(f"{path} is no npz archive but a single array") from error
    return arrays


def write_npz(arrays: dict[str, np.ndarray], path: str | os.PathLike) -> None:
    """Writes {official key: array} as an npz file, whole or not at all.

    Args:
        arrays: what to write.
        path: the file, which must end in ".npz"; an existing file is replaced.

    Raises:
        ValueError: the name does not end in ".npz".
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f'the name of an npz file must end in ".npz", got {str(path)!r}')
    with whole(path) as temporary:
        np.savez(temporary, **arrays)


def _check(path: Path, name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        raise CheckpointError(f"{path}: {name} must hold floats, got {array.dtype}")
    if not np.isfinite(array).all():
        raise CheckpointError(f"{path}: {name} must be finite, got NaN or infinity")
    has_leading_ones = name.endswith(("/gamma", "/beta")) and set(array.shape[:-1]) == {1}
    return array.reshape(-1) if has_leading_ones else array
