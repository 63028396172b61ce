"""Checks every image file before training, so that training does not fail on a damaged one."""

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from rich import progress
from rich.console import Console

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.sources import exif
from bit_keras.system.logs import doing, logger
from bit_keras.system.optional import is_installed

_CHUNK = 1_000  # images that are queued for the threads at one time


@dataclasses.dataclass(frozen=True)
class Look:
    """Properties of an image that can be used.

    Attributes:
        size: (height, width) in pixels of the upright image.
        orientation: EXIF orientation, 1 to 8.
    """

    size: tuple[int, int]
    orientation: int


def scan(paths: Sequence[Path], skip_unreadable: bool = False) -> dict[Path, Look]:
    """Decodes every image once, with TensorFlow if it is installed and else with Pillow.

    A terminal shows a progress bar; elsewhere the progress is logged.

    Args:
        paths: image files.
        skip_unreadable: True leaves out, and logs, the images that cannot be used.

    Returns:
        The properties of each image, in the order of `paths`.

    Raises:
        DataError: an image cannot be used. The message lists the first ones; `files` of the error are all of them.
    """
    looks, faults = {}, {}
    look = functools.partial(_look, measure=_decoder())

    def progress_line() -> str:
        return "" if not bar.disable else f"{len(looks) + len(faults):,} of {len(paths):,} images checked"

    with _bar() as bar, doing(progress_line), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task("check images", total=len(paths))
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            for path, result in zip(chunk, pool.map(look, chunk), strict=True):
                (faults if isinstance(result, str) else looks)[path] = result
                bar.advance(task)
    if faults:
        named = shortened([f"{path}: {fault}" for path, fault in faults.items()])
        message = "\n  ".join([f"{len(faults)} of {len(paths)} images cannot be used:", *named])
        if not skip_unreadable:
            raise DataError(message, files=[str(path) for path in faults])
        logger.warning("left out, %s", message)
    return looks


def _bar() -> progress.Progress:
    console = Console(stderr=True)
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _decoder() -> Callable[[bytes], tuple[int, int, int]]:
    if is_installed("tensorflow"):
        from bit_keras.data.loaders.preprocessing import measure
    else:
        from bit_keras.data.loaders.preprocessing_numpy import measure
    return measure


def _look(path: Path, measure: Callable[[bytes], tuple[int, int, int]]) -> Look | str:
    """Returns the properties of an image, or the reason why it cannot be used."""
    try:
        encoded = path.read_bytes()
        frames, height, width = measure(encoded)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError:
        if encoded[8:12] == b"WEBP":
            return "cannot be decoded; a WebP file must be a single image without alpha, a PNG file may have it"
        return "cannot be decoded as JPEG, PNG, BMP, WebP or GIF"
    if frames > 1:
        return f"must be a single image, got an animation of {frames} frames"
    if _is_coloured_by_palette(encoded):
        return "must not be a BMP with a palette of colours, which TensorFlow ignores; save it as PNG"
    orientation = exif.orientation(encoded)
    return Look((width, height) if orientation >= 5 else (height, width), orientation)


def _is_coloured_by_palette(encoded: bytes) -> bool:
    """Tells whether an image is a BMP with 8 bits per pixel or less whose palette has other values than grey ones."""
    if not encoded.startswith(b"BM") or int.from_bytes(encoded[28:30], "little") > 8:
        return False
    start, end = 14 + int.from_bytes(encoded[14:18], "little"), int.from_bytes(encoded[10:14], "little")
    colours = encoded[start:end]  # blue, green, red, 0
    grey = bytes(range(256))[: len(colours) // 4]
    return any(colours[channel::4] != grey for channel in range(3))
