"""Files on local disks, in buckets of clouds, and wherever else fsspec or pyarrow can open them."""

import contextlib
import functools
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import fsspec
from fsspec.implementations.arrow import ArrowFSWrapper
from fsspec.implementations.local import LocalFileSystem
from pyarrow import fs

from bit_keras.system.files import whole
from bit_keras.system.paths import expanded

_BUCKET = re.compile(r"((?:gs|gcs|s3)://(?:anonymous@)?)([^/]+)(.*)", re.DOTALL)
_PATIENCE = 30  # seconds in which Google Cloud must answer; pyarrow would try for 15 minutes


class Place(NamedTuple):
    """A file or folder.

    Attributes:
        system: the file system that it is on.
        path: its path there.
        prefix: what makes an address of a path on that file system; "" for a local disk.
    """

    system: fsspec.AbstractFileSystem
    path: str
    prefix: str

    @property
    def address(self) -> str:
        return f"{self.prefix}{self.path}"

    @property
    def is_local(self) -> bool:
        return isinstance(self.system, LocalFileSystem)

    def __truediv__(self, name: str) -> "Place":
        return self._replace(path=f"{self.path.rstrip('/')}/{name}")


def place_of(address: str) -> Place:
    """Returns the place of an address, which may not exist.

    Args:
        address: a local path; gs://bucket/path or s3://bucket/path, with "anonymous@" before a public bucket, which
            needs no credentials; or the address of another file system of fsspec whose package is installed.

    Raises:
        ValueError: it has another form.
        ImportError: the package for this kind of address is not installed.
        OSError: the bucket cannot be reached.
    """
    address = expanded(address)
    if match := _BUCKET.fullmatch(address):
        prefix, bucket, path = match.groups()
        return Place(_bucket(prefix, bucket), f"{bucket}{path}".rstrip("/"), prefix)
    try:
        system, path = fsspec.core.url_to_fs(address)
    except ValueError as error:
        raise ValueError(f"an address must be of a known file system, got {address}: {error}") from error
    if isinstance(system, LocalFileSystem):
        return Place(system, path, "")
    if not address.rstrip("/").endswith(path):
        raise ValueError(f"an address must be of one file system, got {address}")
    return Place(system, path, address.rstrip("/").removesuffix(path))


@functools.cache
def _bucket(prefix: str, bucket: str) -> ArrowFSWrapper:
    options = f"?retry_limit_seconds={_PATIENCE}" if prefix.startswith("g") else ""
    return ArrowFSWrapper(fs.FileSystem.from_uri(f"{prefix}{bucket}/{options}")[0])


@contextlib.contextmanager
def written(place: Place) -> Iterator[Path]:
    """Yields the local path of a file to write, which appears at `place` at the end of the block, whole or not at all.

    Args:
        place: the file; an existing one is replaced.
    """
    if place.is_local:
        with whole(place.path) as path:
            yield path
        return
    folder, _, name = place.path.rpartition("/")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, name)
        yield path
        unfinished = f"{folder}/_{uuid.uuid4().hex}-{name}"  # readers of Parquet skip names that begin with "_"
        place.system.put_file(os.fspath(path), unfinished)
        place.system.mv(unfinished, place.path)
