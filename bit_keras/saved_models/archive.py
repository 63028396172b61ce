"""Untrusted tar archives of SavedModels: all of an archive is checked before anything is written.

The contents are unpacked next to the archive, with a list of them, so that later calls can tell whether they are
complete and of this archive.
"""

import atexit
import bz2
import errno
import glob
import gzip
import hashlib
import lzma
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import filelock

from bit_keras.checkpoints.checks import CheckpointError, check_bytes, max_bytes
from bit_keras.system import files, inventory
from bit_keras.system.logs import logger

_MAX_MEMBERS = 10_000  # a SavedModel has a dozen files; one with a vocabulary for each of many features some hundreds
_MAX_READ = 1 << 20  # bytes at once: tarfile reads a header, which may contain a long name, as a whole
_BLOCK = 512  # bytes; tar pads files and ends with zeros in this unit
_OPEN = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
# What damaged archives raise. UnicodeError and other ValueErrors: impossible names.
_ERRORS = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, MemoryError, NotImplementedError)
# Errors of the system that names in an archive cause: too long, or a file where another name needs a folder.
_NAME_ERRORS = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.ENOTEMPTY)


def unpacked(archive: Path) -> Path:
    """Returns the folder with the contents of an archive, which is unpacked on first use.

    Args:
        archive: a tar file, plain or compressed by gzip, bzip2 or xz. It is unpacked to NAME.unpacked next to it or, in
            a folder that cannot be written, to a temporary one for as long as this process runs.

    Raises:
        CheckpointError: it is no such archive, is damaged or truncated, or has too many or too large contents. Nothing
            is left behind.
        OSError: the archive cannot be read, or the disk is full.
    """
    folder = archive.with_name(f"{archive.name}.unpacked")
    digest = _digest(archive)
    if inventory.is_complete(folder, sha256=digest):
        return folder
    try:
        # The lock may be cleaned away while it is held; both processes then unpack, and the last one's folder stays.
        with filelock.FileLock(f"{folder}.lock"):
            if not inventory.is_complete(folder, sha256=digest):
                _unpack(archive, folder, digest)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        folder = Path(tempfile.mkdtemp(prefix="bit_keras_archive_"), folder.name)
        atexit.register(shutil.rmtree, folder.parent, ignore_errors=True)
        logger.warning("%s cannot be written, so %s is unpacked for this process alone", archive.parent, archive.name)
        _unpack(archive, folder, digest)
    return folder


def _digest(archive: Path) -> str:
    with open(archive, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(archive: Path, folder: Path, digest: str) -> None:
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*"):  # of a killed process
        shutil.rmtree(path, ignore_errors=True)
    try:
        with _opened(archive) as (stream, tar):
            _check(archive, stream, tar)
        with _opened(archive) as (_, tar), files.whole(folder) as temporary:
            files.extract(tar, temporary)
            inventory.forget(folder)
            shutil.rmtree(folder, ignore_errors=True)  # incomplete, or of another archive
    except CheckpointError:
        raise
    except _ERRORS as error:
        raise _fault(archive, error) from error
    except OSError as error:
        if error.errno is None or error.errno in _NAME_ERRORS:
            raise _fault(archive, error) from error
        raise OSError(error.errno, f"{archive} cannot be unpacked: {error.strerror}", str(folder)) from error
    inventory.record(folder, sha256=digest)


def _fault(archive: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{archive} must be a tar archive of a SavedModel: {str(error) or type(error).__name__}")


@contextmanager
def _opened(archive: Path) -> Iterator[tuple["_Bounded", tarfile.TarFile]]:
    with open(archive, "rb") as stream:
        start = stream.read(6)
    opener = next((opener for magic, opener in _OPEN.items() if start.startswith(magic)), open)
    with opener(archive, "rb") as stream:
        bounded = _Bounded(stream, max_bytes(archive) + _MAX_MEMBERS * 4 * _BLOCK)
        with tarfile.open(fileobj=bounded, mode="r:") as tar:
            yield bounded, tar


def _check(archive: Path, stream: "_Bounded", tar: tarfile.TarFile) -> None:
    """Reads all of an archive, whose checksum is at its end, and raises an error unless it can be unpacked."""
    end = total = 0
    for count, member in enumerate(tar, 1):
        if count > _MAX_MEMBERS:
            raise CheckpointError(f"{archive} must have at most {_MAX_MEMBERS:,} files")
        if not (member.isreg() or member.isdir()) or member.issparse():
            raise tarfile.ReadError(f"{member.name!r} is neither a file nor a folder")
        end = member.offset_data
        if member.isreg():
            end += -(-member.size // _BLOCK) * _BLOCK
            total += member.size
        check_bytes(archive, total)
    # tarfile takes a damaged header for the end.
    stream.seek(end)
    rest = stream.read(_BLOCK)
    if len(rest) < _BLOCK or any(rest):
        raise tarfile.ReadError("it is truncated, or the header of a file is damaged")
    while rest:
        if any(rest):
            raise tarfile.ReadError("something follows its end")
        rest = stream.read(_MAX_READ)


class _Bounded:
    """File object for tarfile that reads neither too much at once nor too much in all.

    Args:
        stream: of the archive without compression.
        size: most bytes of it.
    """

    def __init__(self, stream: BinaryIO, size: int):
        self._stream, self._size = stream, size

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"a header promises {size:,} bytes, at most {_MAX_READ:,} are read")
        self._check(self.tell())
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if not 0 <= position <= self._size:
            raise tarfile.ReadError(f"it has more than {self._size:,} bytes without compression")
