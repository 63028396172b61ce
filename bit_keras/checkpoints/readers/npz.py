"""Official npz files (https://storage.googleapis.com/bit_models/): one array for each official key."""

import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from tokenize import TokenError

import numpy as np

from bit_keras.checkpoints.checks import CheckpointError, check_bytes, check_finite, check_floats, promised_bytes
from bit_keras.checkpoints.names import normalize_key
from bit_keras.system.files import whole

# What np.savez and np.savez_compressed write. Other methods may ask for gigabytes before they give a byte.
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class NpzArrays(Mapping):
    """{official key: array of floats} of an npz file, checked as a whole and then read array by array when asked for.

    So a network of 4 GB needs its own memory and that of one array.

    Attributes:
        shapes: {official key: shape}, known without reading.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        for member in archive.infolist():
            key = normalize_key(member.filename.removesuffix(".npy"))
            if key in self._members:
                raise CheckpointError(f"{path}: two entries mean {key}, the second is {member.filename}")
            _check_header(path, archive, member)
            self._members[key] = member
            self.shapes[key] = self[key].shape

    def __getitem__(self, key: str) -> np.ndarray:
        member = self._members[key]
        with self._archive.open(member) as stream:
            array = check_finite(self._path, key, np.lib.format.read_array(stream, allow_pickle=False))
        has_leading_ones = key.endswith(("/gamma", "/beta")) and set(array.shape[:-1]) == {1}
        return array.reshape(-1) if has_leading_ones else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def open_npz(path: str | os.PathLike) -> NpzArrays:
    """Opens an official npz file.

    Args:
        path: the file. Numbers on layer names are taken off; gamma and beta may carry leading axes of size 1.

    Returns:
        {official key: array of floats}. Kernels are [height, width, in, out], gamma, beta and bias [channels].

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: it is no npz file, it promises more than it can hold, or an entry is no array of finite
            floats or stands there twice.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    try:
        archive = zipfile.ZipFile(path)
        check_bytes(path, sum(member.file_size for member in archive.infolist()))
        return NpzArrays(path, archive)
    except CheckpointError:
        raise
    # RuntimeError: encrypted. The last three come from a header that is no Python literal.
    except (
        *(ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error),
        *(SyntaxError, TokenError, TypeError),
    ) as error:
        raise CheckpointError(f"{path} is no readable npz file of arrays: {error}") from error


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads all arrays of an official npz file; see `open_npz`."""
    return dict(open_npz(path))


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


def _check_header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises CheckpointError unless the member is an array of floats of exactly the size that its header states."""
    if member.compress_type not in _COMPRESSIONS:
        raise CheckpointError(f"{path}: {member.filename} must be stored or deflated")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        check_floats(path, member.filename, dtype)
        if any(size < 0 for size in shape) or promised_bytes(shape, dtype) != member.file_size - stream.tell():
            raise CheckpointError(
                f"{path}: {member.filename} says {dtype} {shape}, which is not the size of its data, "
                f"{member.file_size - stream.tell()} bytes"
            )
