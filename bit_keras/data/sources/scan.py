"""Checks every image file before training, so that training does not fail on a damaged one."""

import concurrent.futures
import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.loaders import limits, preprocessing_numpy
from bit_keras.system.logs import doing, logger
from bit_keras.system.optional import is_installed
from bit_keras.system.progress_bar import image_bar

_CHUNK = 1_000  # images that are queued for the threads at one time
_LARGE = 2**25  # pixels above which images are decoded one after the other: each takes hundreds of megabytes

Item = TypeVar("Item")


def scan(
    items: Sequence[Item],
    skip_unreadable: bool = False,
    read: Callable[[Item], bytes] | None = None,
    name: Callable[[Item], str] = limits.printable,
    *,
    measure: Callable[[bytes], tuple[int, int]] | None = None,
    sizes: np.ndarray | None = None,
) -> np.ndarray:
    """Decodes every image once, as the loaders do: `preprocessing` if TensorFlow is installed, else
    `preprocessing_numpy`. Both accept the same files.

    A terminal shows a progress bar; elsewhere the progress is logged.

    Args:
        items: image files, or what `read` takes instead.
        skip_unreadable: True leaves out, and logs, the images that cannot be used.
        read: returns the content of an image file; raises OSError or ValueError with the reason. None for items that
            are paths.
        name: returns the name of an item for messages.
        measure: decodes an image and returns height and width in pixels; raises ValueError with the reason if it cannot
            be used. None for what decodes the images in training.
        sizes: the array to fill and return, also in part if the scan is interrupted. Images whose size is in it
            already are not decoded. None for a new one.

    Returns:
        int32 [N, 2]: height and width in pixels of each upright image, 0 for those that cannot be used.

    Raises:
        DataError: an image cannot be used. The message lists the first ones; `files` of the error are all of them.
    """
    sizes = np.zeros((len(items), 2), np.int32) if sizes is None else sizes
    unknown = np.flatnonzero(sizes[:, 0] == 0).tolist()
    faults, count = {}, 0
    look = functools.partial(_look, read=read or read_file, measure=measure or _decoder(), alone=threading.Lock())

    def progress_line() -> str:
        return "" if not bar.disable else f"{count:,} of {len(unknown):,} images checked"

    with image_bar() as bar, doing(progress_line), concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        task = bar.add_task("check images", total=len(unknown))
        for start in range(0, len(unknown), _CHUNK):
            chunk = unknown[start : start + _CHUNK]
            found = pool.map(look, [items[index] for index in chunk])
            for index, result in zip(chunk, found, strict=True):
                if isinstance(result, str):
                    faults[items[index]] = result
                else:
                    sizes[index] = result
                count += 1
                bar.advance(task)
    if faults:
        named = shortened([f"{name(item)}: {fault}" for item, fault in faults.items()])
        message = "\n  ".join([f"{len(faults)} of {len(items)} images cannot be used:", *named])
        if not skip_unreadable:
            raise DataError(message, files=[name(item) for item in faults])
        logger.warning("left out, %s", message)
    return sizes


def conditions() -> str:
    """Returns what else decides whether an image can be used: the library that decodes it, and the limits."""
    return repr((_decoder().__module__, limits.current()))


def _decoder() -> Callable[[bytes], tuple[int, int]]:
    if is_installed("tensorflow"):
        from bit_keras.data.loaders.preprocessing import measure
    else:
        from bit_keras.data.loaders.preprocessing_numpy import measure
    return measure


def read_file(path: Path) -> bytes:
    """Returns the content of an image file; raises OSError or ValueError with the reason why it cannot be used."""
    if limits.printable(path) != str(path):
        raise ValueError("its path must be UTF-8: rename the file or the folder, for example with convmv")
    return limits.read_file(path)


def _look(item: Item, read: Callable, measure: Callable, alone: threading.Lock) -> tuple[int, int] | str:
    """Returns the size of an image, or the reason why it cannot be used."""
    try:
        encoded = read(item)
        is_large = math.prod(preprocessing_numpy.header_size(encoded)) > _LARGE
        with alone if is_large else contextlib.nullcontext():
            return measure(encoded)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:
        return str(error)
