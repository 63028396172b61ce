"""Limits of image files, so that none fills the memory or is read without end; environment variables raise them."""

import os
import stat
from pathlib import Path

# Above the 200 megapixels of telephones, below what TensorFlow and libavif decode.
_MAX_PIXELS = 2**28
_MAX_BYTES = 2**29
_PIXELS, _BYTES = "BIT_KERAS_MAX_PIXELS", "BIT_KERAS_MAX_BYTES"
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def check_pixels(height: int, width: int) -> None:
    """Raises ValueError if an image has more than 2**28 pixels, or the number in BIT_KERAS_MAX_PIXELS."""
    most, _ = current()
    if height * width > most:
        raise ValueError(f"has {height * width:,} pixels; at most {most:,} are decoded, unless {_PIXELS} allows more")


def check_bytes(size: int) -> None:
    """Raises ValueError if a file has more than 2**29 bytes, or the number in BIT_KERAS_MAX_BYTES."""
    _, most = current()
    if size > most:
        raise ValueError(f"has {size:,} bytes; at most {most:,} are read, unless {_BYTES} allows more")


def current() -> tuple[int, int]:
    """Returns the most pixels of an image, and the most bytes of its file."""
    return _limit(_PIXELS, _MAX_PIXELS), _limit(_BYTES, _MAX_BYTES)


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the content of a regular file of at most 2**29 bytes, or the number in BIT_KERAS_MAX_BYTES.

    Raises:
        OSError: the file cannot be read; `strerror` is the reason.
        ValueError: it is not a regular file, such as a pipe or a device, or has too many bytes.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"must be a file, not {_kind(status.st_mode)}")
    check_bytes(status.st_size)
    with open(path, "rb", opener=_without_waiting) as file:
        return file.read(status.st_size) or b""  # no more: files of the system may have no end


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # else opening a pipe waits for a writer


def printable(path: str | os.PathLike | Path) -> str:
    """Returns a path for messages and lists, with a code such as \\xe9 for each byte that is not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _kind(mode: int) -> str:
    return next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "of another kind")


def _limit(variable: str, default: int) -> int:
    value = os.environ.get(variable) or default
    try:
        limit = int(value)
    except ValueError:
        limit = 0
    if limit < 1:
        raise ValueError(f"the environment variable {variable} must be a whole number, 1 or more, got {value!r}")
    return limit
