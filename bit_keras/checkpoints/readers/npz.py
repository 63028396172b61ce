"""Official npz files (https://storage.googleapis.com/bit_models/): one array for each official key.

Ours hold a card as well. Code that takes arrays by their official keys, as the official code and timm do, ignores it.
"""

import contextlib
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bit_keras.checkpoints import card as cards
from bit_keras.checkpoints.checks import (
    CheckpointError,
    check_bytes,
    check_finite,
    check_floats,
    promised_bytes,
    reading,
)
from bit_keras.checkpoints.names import normalize_key
from bit_keras.system.files import whole
from bit_keras.system.npz import ERRORS, MAX_HEADER, check_compression

_CARD = f"{cards.KEY}.npy"


class NpzArrays(Mapping):
    """{official key: array of floats} of an npz file. Every array is read once to check it, and again on access.

    A network of 4 GB is thus loaded with the memory of one more array. The file stays open until `close` is called or
    the object is garbage collected.

    Attributes:
        shapes, dtypes: {official key: shape} and {official key: data type}, known without reading the arrays again.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile):
        self._path, self._archive = path, archive
        self._members: dict[str, zipfile.ZipInfo] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype] = {}
        for member in archive.infolist():
            if member.filename == _CARD:
                continue
            key = normalize_key(member.filename.removesuffix(".npy"))
            if key in self._members:
                raise CheckpointError(
                    f"{path}: two entries have the official key {key}, the second is {member.filename}"
                )
            _check_header(path, archive, member)
            self._members[key] = member
            array = self[key]
            self.shapes[key], self.dtypes[key] = array.shape, array.dtype

    def __getitem__(self, key: str) -> np.ndarray:
        member = self._members[key]
        with self._archive.open(member) as stream:
            array = np.lib.format.read_array(stream, allow_pickle=False, max_header_size=MAX_HEADER)
        check_finite(self._path, key, array)
        has_leading_ones = key.endswith(("/gamma", "/beta")) and set(array.shape[:-1]) == {1}
        return array.reshape(-1) if has_leading_ones else array

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def close(self) -> None:
        """Closes the file; arrays cannot be read after that."""
        self._archive.close()


def open_npz(path: str | os.PathLike) -> NpzArrays:
    """Opens an official npz file, whose arrays are read one by one; arguments and errors are those of `read_npz`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such weight file: {path}")
    with reading(path, "npz file of arrays", ERRORS), contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))  # closed unless it is returned
        check_compression(archive)
        check_bytes(path, sum(member.file_size for member in archive.infolist()))
        arrays = NpzArrays(path, archive)
        stack.pop_all()
        return arrays


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads all arrays of an official npz file into memory.

    Args:
        path: the file. Numeric suffixes of layer names are removed; gamma and beta may have leading axes of size 1.

    Returns:
        {official key: array of floats}. Kernels are [height, width, in, out], gamma, beta and bias [channels].

    Raises:
        FileNotFoundError: the file does not exist.
        CheckpointError: it is no npz file, its headers declare more data than it can hold, an entry is not an array
            of finite floats, or two entries have the same key.
        OSError: the file cannot be opened or read.

    Example:
        >>> from bit_keras.checkpoints import locate, read_npz
        >>> arrays = read_npz(locate("BiT-mini-R17x0.5")[0])
        >>> arrays["resnet/root_block/standardized_conv2d/kernel"].shape
        (7, 7, 3, 32)
    """
    with contextlib.closing(open_npz(path)) as arrays:
        return dict(arrays)


def read_card(path: str | os.PathLike) -> cards.Card | None:
    """Returns the card of an npz file, None if it has none.

    Raises:
        CheckpointError: it is no npz file, or its card is damaged.
        OSError: the file cannot be opened or read.
    """
    with reading(path, "npz file of arrays", ERRORS), zipfile.ZipFile(path) as archive:
        check_compression(archive)
        if _CARD not in archive.namelist():
            return None
        member = archive.getinfo(_CARD)
        if member.file_size > cards.MAX_BYTES:
            raise CheckpointError(
                f"{path}: its card must have at most {cards.MAX_BYTES:,} bytes, got {member.file_size:,}"
            )
        with archive.open(member) as stream:
            _read_header(stream)
            text = stream.read()  # the array, of bytes; its header may promise another size
    return cards.Card.from_json(text, path)


def write_npz(arrays: dict[str, np.ndarray], path: str | os.PathLike, card: cards.Card | None = None) -> None:
    """Writes {official key: array} as an npz file, whole or not at all.

    Args:
        arrays: in the official shapes.
        path: the file, which must end in ".npz"; an existing file is replaced.
        card: of the weights; None writes none.

    Raises:
        ValueError: the name does not end in ".npz".

    Example:
        >>> from bit_keras.checkpoints import collect_weights, write_npz
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5")
        >>> write_npz(collect_weights(model), "weights.npz", model.card)  # what `bit_keras.save_npz` does
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f'path must end in ".npz", got {str(path)!r}')
    text = {} if card is None else {cards.KEY: np.frombuffer(card.to_json().encode(), np.uint8)}
    with whole(path) as temporary:
        np.savez(temporary, **arrays, **text)


def _check_header(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Raises CheckpointError unless a member is an array of floats whose size is exactly that in its header."""
    with archive.open(member) as stream:
        shape, dtype = _read_header(stream)
        check_floats(path, member.filename, dtype)
        if any(size < 0 for size in shape) or promised_bytes(shape, dtype) != member.file_size - stream.tell():
            raise CheckpointError(
                f"{path}: {member.filename} states {dtype} {shape}, which is not the size of its data, "
                f"{member.file_size - stream.tell()} bytes"
            )


def _read_header(stream) -> tuple[tuple[int, ...], np.dtype]:
    """Reads the header of an array and returns its shape and type."""
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream, max_header_size=MAX_HEADER)
    return shape, dtype
