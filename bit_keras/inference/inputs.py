"""Finds the images that a caller names: files, folders, patterns, addresses, and images in memory."""

import dataclasses
import functools
import glob
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bit_keras.data.sources.folder import is_hidden
from bit_keras.inference.address import fetch_image, is_address
from bit_keras.system.paths import expanded

# Endings of image files, which are taken from folders.
ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".heic", ".heif", ".avif"),
)
VALUE_RANGES = ((0, 1), (0, 255), (-1, 1))
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")

ALLOWED = (
    "paths of files or folders, patterns such as '*.jpg', http(s) addresses, PIL images, uint8 arrays [H, W, 3] or "
    "[N, H, W, 3] in [0, 255], or float arrays with value_range="
)


@dataclasses.dataclass(frozen=True, eq=False)
class Input:
    """One image.

    Attributes:
        name: path, address, or "image 3" for the fourth input.
        read: returns the bytes of a file, or an array [H, W, 3] with values in [0, 255]; raises OSError or ValueError
            with the reason if it cannot.
    """

    name: str
    read: Callable[[], bytes | np.ndarray]


def find(inputs, value_range: tuple[float, float] | None = None) -> Iterator[Input]:
    """Yields each image that `inputs` name, in order; what does not exist is one that cannot be read.

    Args:
        inputs: one, or an iterable, of: path of a file; path of a folder, of which all image files are taken, in sorted
            order and with those of its subfolders, by their ending; pattern with "*", "?" or "[...]", where "**" stands
            for any folders; address that begins with http:// or https://; PIL image; array [H, W, 3] or [N, H, W, 3].
        value_range: values of float arrays: (0, 1), (0, 255) or (-1, 1). Must be given for them, since they are not
            guessed.

    Raises:
        TypeError: an input is something else.
        ValueError: an array has another shape or dtype, or values that are not in its range.
    """
    if value_range is not None and tuple(value_range) not in VALUE_RANGES:
        raise ValueError(f"value_range must be one of {', '.join(map(str, VALUE_RANGES))}; got {value_range!r}")
    if isinstance(inputs, str | os.PathLike | Image.Image | np.ndarray) or hasattr(inputs, "__array__"):
        inputs = [inputs]
    elif not isinstance(inputs, Iterable) or isinstance(inputs, Mapping | bytes):
        raise TypeError(f"images must be {ALLOWED}; got a value of type {type(inputs).__name__}")
    for number, each in enumerate(inputs):
        yield from _find(each, f"image {number}", value_range)


def _find(each, name: str, value_range: tuple[float, float] | None) -> Iterator[Input]:
    if isinstance(each, str | os.PathLike):
        yield from _named(os.fspath(each))
    elif isinstance(each, Image.Image):
        yield Input(str(getattr(each, "filename", "") or name), functools.partial(_encode, each))
    elif hasattr(each, "__array__"):
        array = _pixels(np.asarray(each), value_range)
        if array.ndim == 3:
            yield Input(name, lambda: array)
        else:
            yield from (Input(f"{name}, {k}", functools.partial(array.__getitem__, k)) for k in range(len(array)))
    else:
        raise TypeError(f"images must be {ALLOWED}; got a value of type {type(each).__name__}")


def _named(name: str) -> Iterator[Input]:
    if is_address(name):
        yield Input(name, functools.partial(fetch_image, name))
        return
    path = Path(expanded(name))
    if not name:
        yield _unreadable(name, "the path is empty")
    elif path.is_dir():
        yield from _in_folder(path)
    elif not os.path.lexists(path) and glob.has_magic(str(path)):
        yield from _matching(path)
    else:
        yield _file(path)


def _in_folder(folder: Path) -> Iterator[Input]:
    found = False
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not is_hidden(each))  # in place: os.walk visits these
        for file in sorted(files):
            if file.lower().endswith(ENDINGS) and not is_hidden(file):
                found = True
                yield _file(Path(root, file))
    if not found:
        yield _unreadable(str(folder), f"no image files in this folder; their endings are {' '.join(ENDINGS)}")


def _matching(pattern: Path) -> Iterator[Input]:
    found, is_recursive = False, "**" in pattern.parts
    for match in sorted(glob.glob(str(pattern), recursive=True)):
        if is_hidden(os.path.basename(match)) or (is_recursive and os.path.isdir(match)):
            continue  # "**" matches a folder as well as everything in it
        found = True
        yield from _in_folder(Path(match)) if os.path.isdir(match) else [_file(Path(match))]
    if not found:
        yield _unreadable(str(pattern), "no file matches this pattern")


def _file(path: Path) -> Input:
    return Input(str(path), functools.partial(_read, path))


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError("no such file" if not path.is_symlink() else "a link to a file that does not exist")
    if not path.is_file():  # reading a pipe might never end
        raise OSError("not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot be read: {error.strerror}") from error


def _unreadable(name: str, reason: str) -> Input:
    def read() -> bytes:
        raise ValueError(reason)

    return Input(name, read)


def _encode(image: Image.Image) -> bytes:
    """Returns a PIL image as a PNG file, upright, so that it is decoded as any other file."""
    buffer = io.BytesIO()
    try:
        image = ImageOps.exif_transpose(image)
        image = image if image.mode in _PNG_MODES else image.convert("RGB")
        image.save(buffer, "PNG", compress_level=0)
    except (SyntaxError, EOFError) as error:  # of a damaged file that PIL has opened, but not read yet
        raise ValueError(f"cannot be decoded: {error}") from error
    return buffer.getvalue()


def _pixels(array: np.ndarray, value_range: tuple[float, float] | None) -> np.ndarray:
    """Returns an array with values in [0, 255]."""
    if array.ndim not in (3, 4) or array.shape[-1] != 3 or 0 in array.shape[-3:]:
        raise ValueError(f"arrays of images must be [H, W, 3] or [N, H, W, 3], got shape {list(array.shape)}")
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.floating) and array.dtype.name != "bfloat16":
        raise ValueError(f"arrays of images must be uint8 or of floats, got {array.dtype}")
    if value_range is None:
        raise ValueError(
            f"float images need their range of values, one of value_range={', '.join(map(str, VALUE_RANGES))}; got "
            f"{array.dtype} from {array.min():.4g} to {array.max():.4g} without it"
        )
    low, high = value_range
    if not (array.min() >= low and array.max() <= high):  # False also for NaN
        raise ValueError(f"images must be in value_range {low} to {high}, got {array.min():.4g} to {array.max():.4g}")
    return (array.astype(np.float32) - low) * np.float32(255 / (high - low))
