"""Variables of untrusted SavedModels, read without TensorFlow, whose own reader aborts the process on a damaged index.

`variables.index` is a table of LevelDB (https://github.com/google/leveldb/blob/main/doc/table_format.md) from names to
`BundleEntryProto` (tensorflow/core/protobuf/tensor_bundle.proto): type, shape, place in the data files, checksum. Here
all of it is checked, so that TensorFlow can read what is accepted.
"""

import dataclasses
import itertools
import math
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np

from bit_keras.checkpoints.readers import protobuf

# The largest BiT has 1,000 variables and an index of 100 kB.
_MAX_BYTES = 1 << 24  # of the index, of all names, which share their beginnings there, and of a string
_MAX_ENTRIES = 100_000

_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_TRAILER = 5  # after each block: type of compression and checksum
_MAX_SHARDS = 99_999  # five digits in the names of the files
_MAX_RANK = 254
# `DataType` in tensorflow/core/framework/types.proto.
_TYPES = {
    **{1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string", 8: "complex64"},
    **{9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32"},
    **{23: "uint64", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource"},
    **{21: "variant", 24: "float8_e5m2", 25: "float8_e4m3fn", 26: "float8_e4m3fnuz", 27: "float8_e4m3b11fnuz"},
    **{28: "float8_e5m2fnuz", 29: "int4", 30: "uint4", 31: "int2", 32: "uint2"},
}
_FLOATS = ("float16", "float32", "float64")
_ITEM_BYTES = {
    **{"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8},
    **{"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8, "complex64": 8, "complex128": 16},
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the index states about a variable.

    Attributes:
        dtype: name of its type.
        shape: of the whole variable.
        file: path of the data file.
        offset, size: place in the file, bytes.
        checksum: of these bytes.
        is_sliced: its values are in other entries, one for each slice, and there are no bytes here.
    """

    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int
    size: int
    checksum: int
    is_sliced: bool


def read_index(prefix: Path) -> dict[str, Entry]:
    """Returns {name: entry} of all variables.

    Args:
        prefix: path of the files without ".index" and ".data-00000-of-00001".

    Raises:
        ValueError: the index is damaged, or does not fit the data files.
        OSError: a file is missing or cannot be read.
    """
    path = prefix.with_name(f"{prefix.name}.index")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if os.path.getsize(path) > _MAX_BYTES:
        raise ValueError(f"{path.name} must have at most {_MAX_BYTES:,} bytes, got {os.path.getsize(path):,}")
    rows = list(_rows(path.read_bytes()))
    if any(a >= b for (a, _), (b, _) in itertools.pairwise(rows)):
        raise ValueError(f"the names in {path.name} must be sorted and different")
    if not rows or rows[0][0]:
        raise ValueError(f"{path.name} must begin with a header")
    files = _data_files(prefix, protobuf.fields(rows[0][1]))
    sizes = [os.path.getsize(file) for file in files]
    entries = {}
    for key, value in rows[1:]:
        name = key.decode(errors="backslashreplace")
        try:
            entries[name] = _entry(value, files, sizes)
        except ValueError as error:
            raise ValueError(f"its entry {name!r} is damaged: {error}") from error
    if any(entry.is_sliced for entry in entries.values()):
        # After one damaged slice, TensorFlow aborts on the next.
        for name, entry in entries.items():
            if not entry.is_sliced and entry.dtype != "string":
                _check(name, _bytes(entry), entry.checksum)
    return entries


def read_floats(name: str, entry: Entry) -> np.ndarray:
    """Returns a variable of floats.

    Raises:
        ValueError: it does not hold floats, or its data are damaged.
        OSError: the data file cannot be read.
    """
    if entry.dtype not in _FLOATS or entry.is_sliced:
        raise ValueError(f"{name} must hold floats, got {entry.dtype}{' in slices' * entry.is_sliced}")
    dtype = np.dtype(entry.dtype).newbyteorder("<")
    data = _bytes(entry)
    _check(name, data, entry.checksum)
    return np.frombuffer(data, dtype).reshape(entry.shape).astype(entry.dtype, copy=False)


def read_text(name: str, entry: Entry) -> bytes:
    """Returns a variable of one string, at most 16 MiB; raises as `read_floats`."""
    if entry.dtype != "string" or entry.shape or entry.size > _MAX_BYTES:
        raise ValueError(f"{name} must be a string of at most {_MAX_BYTES:,} bytes")
    data = _bytes(entry)
    # The length, its checksum, and the text. The checksum of the entry is of the length in four bytes and the others.
    length, start = protobuf.varint(data, 0)
    if length != len(data) - start - 4:
        raise ValueError(f"the length of {name} is damaged")
    _check(name, struct.pack("<I", length) + data[start:], entry.checksum)
    return data[start + 4 :]


def masked_crc32c(data: bytes) -> int:
    """Returns the CRC-32C as TensorFlow and LevelDB store it: a checksum of data with checksums would be weak."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _bytes(entry: Entry) -> bytes:
    with open(entry.file, "rb") as stream:
        stream.seek(entry.offset)
        return stream.read(entry.size)


def _check(name: str, data: bytes, checksum: int) -> None:
    if masked_crc32c(data) != checksum:
        raise ValueError(f"the data of {name} differ from their checksum")


def _rows(table: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a table in LevelDB's format, without compression."""
    if len(table) < _FOOTER or struct.unpack("<Q", table[-8:])[0] != _MAGIC:
        raise ValueError("its index does not end as an index must")
    footer = table[-_FOOTER:]
    _, at = _handle(footer, 0)  # of a block about other blocks, which is empty
    index, _ = _handle(footer, at)
    num_entries = num_bytes = 0
    for _, value in _block(table, index):
        for key, content in _block(table, _handle(value, 0)[0]):
            num_entries += 1
            num_bytes += len(key)
            if num_entries > _MAX_ENTRIES or num_bytes > _MAX_BYTES:
                raise ValueError(f"its index must have at most {_MAX_ENTRIES:,} entries")
            yield key, content


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Returns the (offset, length) of a block that is described at a position, and the position after it."""
    offset, at = protobuf.varint(data, at)
    length, at = protobuf.varint(data, at)
    return (offset, length), at


def _block(table: bytes, handle: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Yields the keys and values of a block. A key begins with a number of bytes of the key before it."""
    offset, length = handle
    end = offset + length
    if length < 4 or end + _TRAILER + _FOOTER > len(table):
        raise ValueError("its index is truncated")
    if masked_crc32c(table[offset : end + 1]) != struct.unpack("<I", table[end + 1 : end + _TRAILER])[0]:
        raise ValueError("its index differs from its checksum")
    if table[end]:
        raise ValueError("its index is compressed, as TensorFlow never writes it")
    (num_restarts,) = struct.unpack("<I", table[end - 4 : end])  # positions of complete keys, for binary search
    end -= 4 * (num_restarts + 1)
    at, key = offset, b""
    while at < end:
        shared, at = protobuf.varint(table, at)
        own, at = protobuf.varint(table, at)
        size, at = protobuf.varint(table, at)
        if shared > len(key) or at + own + size > end:
            raise ValueError("its index has an entry that is longer than its block")
        key = key[:shared] + table[at : at + own]
        at += own + size
        yield key, table[at - size : at]
    if at != end:
        raise ValueError("its index has a block that ends within an entry")


def _data_files(prefix: Path, header: dict[int, list]) -> list[Path]:
    count = protobuf.integer(header, 1)
    if not 1 <= count <= _MAX_SHARDS or protobuf.integer(header, 2):
        raise ValueError("its index must state the number of data files, of a little-endian machine")
    return [prefix.with_name(f"{prefix.name}.data-{k:05}-of-{count:05}") for k in range(count)]


def _entry(message: bytes, files: list[Path], sizes: list[int]) -> Entry:
    values = protobuf.fields(message)
    shard, offset, size = (protobuf.integer(values, number) for number in (3, 4, 5))
    dtype = _TYPES.get(protobuf.integer(values, 1))
    if dtype is None:
        raise ValueError("its type is unknown")
    if not 0 <= shard < len(files):
        raise ValueError(f"it is in data file {shard} of {len(files)}")
    if min(offset, size) < 0 or offset + size > sizes[shard]:
        raise ValueError(f"its bytes {offset} to {offset + size} must be within the data, of {sizes[shard]} bytes")
    slices = protobuf.messages(values, 7)
    for piece in slices:
        for extent in protobuf.messages(protobuf.fields(piece), 1):
            protobuf.fields(extent)
    shape = _shape(protobuf.messages(values, 2))
    item = _ITEM_BYTES.get(dtype)
    if item and not slices and size != math.prod(shape) * item:
        raise ValueError(f"it has {size} bytes, which is not the size of {dtype} {shape}")
    return Entry(dtype, shape, files[shard], offset, size, protobuf.fixed32(values, 6), bool(slices))


def _shape(messages: list[bytes]) -> tuple[int, ...]:
    shapes = [protobuf.fields(message) for message in messages]  # which the format merges, if there are several
    dimensions = [protobuf.fields(dimension) for values in shapes for dimension in protobuf.messages(values, 2)]
    shape = tuple(protobuf.integer(dimension, 1) for dimension in dimensions)
    for dimension in dimensions:
        protobuf.text(dimension, 2)
    if any(protobuf.integer(values, 3) for values in shapes) or len(shape) > _MAX_RANK or min(shape, default=0) < 0:
        raise ValueError(f"its shape is {shape}")
    if math.prod(max(size, 1) for size in shape) >= 1 << 63:
        raise ValueError(f"its shape is {shape}")
    return shape
