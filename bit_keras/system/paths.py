"""Paths as users write them, and places for results, which are checked before work begins."""

import errno
import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bit_keras.system.files import UNFINISHED

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # pathlib makes one slash of "gs://"; "C:/" is a drive


def expanded(path: str | os.PathLike) -> str:
    """Returns a path with "~" and variables such as "$HOME" replaced by their values, as shells do.

    A path that exists exactly as it is written, and an address such as gs://bucket, are returned unchanged.
    """
    path = os.fspath(path)
    if _URL.match(path) or "\0" in path or os.path.lexists(path):
        return path
    return os.path.expanduser(os.path.expandvars(path))


def cache_folder() -> Path:
    """Returns the folder of downloads and of what the library remembers; it may not exist.

    That is BIT_KERAS_CACHE, or `models/bit_keras` in the Keras home (KERAS_HOME or ~/.keras).
    """
    cache = os.environ.get("BIT_KERAS_CACHE")
    if not cache:
        cache = Path(os.environ.get("KERAS_HOME") or "~/.keras", "models", "bit_keras")
    return Path(cache).expanduser().absolute()


def check_place(name: str, path: str | os.PathLike) -> Path:
    """Returns the expanded path of a file or folder that is going to be written; creates nothing.

    Args:
        name: of the setting, for messages.
        path: what exists there already is not looked at.

    Raises:
        ValueError: the path is empty or an address.
        OSError: a folder cannot be made or written there.
    """
    path = expanded(path)
    if not path.strip() or "\0" in path:
        raise ValueError(f"{name} must be a path, got {path!r}")
    if _URL.match(path):
        raise ValueError(f"{name} must be a local path, got {path}: write to a local folder and copy it afterwards")
    try:
        _check_writable(Path(path))
    except OSError as error:
        where = f"{error.filename}: " if error.filename not in (None, path) else ""
        raise type(error)(f"{name} cannot be written, got {path}: {where}{error.strerror}") from None
    return Path(path)


def check_new(name: str, path: str | os.PathLike) -> Path:
    """As `check_place`, for what must not exist; else raises FileExistsError."""
    place = check_place(name, path)
    if os.path.lexists(place):
        raise FileExistsError(f"{name} must not exist yet, got {place}")
    return place


def check_folder(name: str, path: str | os.PathLike) -> Path:
    """As `check_place`, for a folder that may exist; raises FileExistsError if it is something else."""
    place = check_place(name, path)
    if os.path.lexists(place) and not place.is_dir():
        raise FileExistsError(f"{name} must be a new or empty folder, got the file {place}")
    return place


def check_empty_folder(name: str, path: str | os.PathLike) -> Path:
    """As `check_place`, for a folder without content or a new one; raises FileExistsError if it is something else."""
    place = check_place(name, path)
    if os.path.lexists(place) and (not place.is_dir() or os.listdir(place)):
        raise FileExistsError(f"{name} must be a new or empty folder, got {place}")
    return place


def check_outside(name: str, path: str | os.PathLike, other: str, folders: Iterable[str | os.PathLike]) -> None:
    """Raises ValueError if a path is one of some folders, or in one; links are followed.

    Args:
        name, path: the setting and its value.
        other: the setting that these folders belong to.
        folders: the folders.
    """
    place = Path(path).resolve()
    for folder in map(Path, folders):
        if folder.resolve() in (place, *place.parents):
            raise ValueError(f"{name} must not be in {other}: got {path}, and {folder}")


def _check_writable(path: Path) -> None:
    """Raises OSError unless `path` can be made, or be written in if it is a folder."""
    if path.is_dir():
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "it is read-only", str(path))
        return
    folder = next(folder for folder in path.absolute().parents if _exists(folder))
    if not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is not a folder", str(folder))
    # Tried, because root has all permissions, but read-only and special file systems refuse it all the same.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=UNFINISHED):
        pass


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True  # other errors, such as that of a name which is too long, are raised
