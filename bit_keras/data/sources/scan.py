"""Checks every image file before training, so that training does not fail on a damaged one."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from bit_keras.data.errors import DataError, shortened
from bit_keras.system.logs import doing, logger
from bit_keras.system.optional import is_installed
from bit_keras.system.progress_bar import image_bar

_CHUNK = 1_000  # images that are queued for the threads at one time


def scan(paths: Sequence[Path], skip_unreadable: bool = False) -> dict[Path, tuple[int, int]]:
    """Decodes every image once, as the loaders do: `preprocessing` if TensorFlow is installed, else
    `preprocessing_numpy`. Both accept the same files.

    A terminal shows a progress bar; elsewhere the progress is logged.

    Args:
        paths: image files.
        skip_unreadable: True leaves out, and logs, the images that cannot be used.

    Returns:
        {path: (height, width) in pixels of the upright image}, in the order of `paths`.

    Raises:
        DataError: an image cannot be used. The message lists the first ones; `files` of the error are all of them.
    """
    sizes, faults = {}, {}
    look = functools.partial(_look, measure=_decoder())

    def progress_line() -> str:
        return "" if not bar.disable else f"{len(sizes) + len(faults):,} of {len(paths):,} images checked"

    with image_bar() as bar, doing(progress_line), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task("check images", total=len(paths))
        for start in range(0, len(paths), _CHUNK):
            chunk = paths[start : start + _CHUNK]
            for path, result in zip(chunk, pool.map(look, chunk), strict=True):
                (faults if isinstance(result, str) else sizes)[path] = result
                bar.advance(task)
    if faults:
        named = shortened([f"{path}: {fault}" for path, fault in faults.items()])
        message = "\n  ".join([f"{len(faults)} of {len(paths)} images cannot be used:", *named])
        if not skip_unreadable:
            raise DataError(message, files=[str(path) for path in faults])
        logger.warning("left out, %s", message)
    return sizes


def _decoder() -> Callable[[bytes], tuple[int, int]]:
    if is_installed("tensorflow"):
        from bit_keras.data.loaders.preprocessing import measure
    else:
        from bit_keras.data.loaders.preprocessing_numpy import measure
    return measure


def _look(path: Path, measure: Callable[[bytes], tuple[int, int]]) -> tuple[int, int] | str:
    """Returns the size of an image, or the reason why it cannot be used."""
    try:
        return measure(path.read_bytes())
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
