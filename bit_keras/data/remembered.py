"""What earlier starts found out about the files of data, so that not every start has to read all of them.

A table of it is a file in the folder "data" of the library's cache (`system.paths.cache_folder`). Losing it costs time
and nothing else: a damaged table is ignored, and one that cannot be written is left out.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.npz import ERRORS
from bit_keras.system.paths import cache_folder
from bit_keras.system.version import VERSION

_FOLDER = "data"
_KEY = 16  # bytes of a stamp
_MAX_BYTES = 2**31  # of all tables together; the least recently used ones are deleted
_WORTHWHILE = 1.0  # seconds: what is found out sooner is not written
_RECENT = 2.0  # seconds in which a file may change once more without another time stamp

_used_paths: set[Path] = set()


class Table:
    """Rows of bytes, each found under the stamp of a file."""

    def __init__(self, rows: Mapping[bytes, bytes]):
        self.rows = rows
        self.used = {}
        self.has_grown = False

    def get(self, key: bytes | None) -> bytes | None:
        """Returns the row of a stamp, None if nothing is known."""
        row = self.rows.get(key)
        if row is not None:
            self.used[key] = row
        return row

    def put(self, key: bytes | None, row: bytes) -> None:
        """Adds a row; without a stamp the file is not remembered."""
        if key is not None:
            self.used[key] = row
            self.has_grown = True


@contextlib.contextmanager
def remembered(*names: str) -> Iterator[Table]:
    """Yields the table with these names. What the block adds is written at its end, also if it is interrupted.

    Rows that a complete block has not asked for belong to files that have changed or are gone, and are dropped.
    """
    path = _path(names)
    _used_paths.add(path)
    table, began, is_complete = Table(_read(path)), time.monotonic(), False
    try:
        yield table
        is_complete = True
    finally:
        if table.has_grown and time.monotonic() - began > _WORTHWHILE:
            _write(path, table.used if is_complete else {**table.rows, **table.used})


def stamp(path: str | os.PathLike) -> bytes | None:
    """Returns what identifies a file and changes with its content: path, size and times of the last changes.

    None for a file that does not exist, or has changed so recently that another change might not be noticed.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    changed = status.st_mtime if os.name == "nt" else status.st_ctime
    if time.time() - changed < _RECENT:
        return None
    # The time of the last change of the file's record, ctime, differs also for a file that another one has replaced
    # with its size and time of modification.
    identity = (os.path.abspath(path), status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return hashlib.blake2b(os.fsencode(repr(identity)), digest_size=_KEY).digest()


def forget() -> None:
    """Deletes the tables that this process has used, because they have turned out to be wrong."""
    for path in _used_paths:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _path(names: tuple[str, ...]) -> Path:
    return cache_folder() / _FOLDER / f"{hashlib.sha256(repr((VERSION, names)).encode()).hexdigest()}.npz"


def _read(path: Path) -> dict[bytes, bytes]:
    try:
        if path.stat().st_size > _MAX_BYTES:
            return {}
        with open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            keys, ends, content = (archive[name] for name in ("keys", "ends", "content"))
            keys, content = keys.reshape(-1, _KEY), memoryview(content.astype(np.uint8, casting="no"))
            begins = [0, *ends.tolist()]
            if len(keys) != len(ends) or begins != sorted(begins) or begins[-1] != len(content):
                return {}
        with contextlib.suppress(OSError):
            os.utime(path)
        return {
            key.tobytes(): bytes(content[begin:end]) for key, begin, end in zip(keys, begins, begins[1:], strict=False)
        }
    except (*ERRORS, KeyError, IndexError):
        return {}


def _write(path: Path, rows: Mapping[bytes, bytes]) -> None:
    content = np.frombuffer(b"".join(rows.values()), np.uint8)
    if len(content) > _MAX_BYTES // 2:
        return
    keys = np.frombuffer(b"".join(rows), np.uint8)
    ends = np.cumsum([len(row) for row in rows.values()], dtype=np.int64)
    try:
        with whole(path) as temporary:
            np.savez(temporary, keys=keys, ends=ends, content=content)
        _delete_oldest(path.parent)
    except OSError as error:
        logger.info("the next start checks the data once more, because it cannot be remembered: %s", error)


def _delete_oldest(folder: Path) -> None:
    tables = sorted(((table.stat(), table) for table in folder.glob("*.npz")), key=lambda pair: -pair[0].st_mtime)
    total = 0
    for status, table in tables:
        total += status.st_size
        if total > _MAX_BYTES:
            table.unlink(missing_ok=True)
