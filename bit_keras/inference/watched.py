"""Progress of a prediction."""

import contextlib
import time
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from rich import progress

from bit_keras.system.logs import doing, logger
from bit_keras.system.progress_bar import image_bar
from bit_keras.system.texts import counted, images_per_second


class Row(Protocol):
    """What is looked at of the result for an image, such as a `Prediction`."""

    error: str | None


@contextlib.contextmanager
def watched(rows: Generator[Row], total: int | None = None) -> Iterator["Watched"]:
    """Shows a progress bar in a terminal, on standard error, and logs numbers and speed at the end.

    Args:
        rows: a generator of the results for images, which is closed at the end of the block.
        total: their number, None if it is not known.
    """
    # Results belong on standard output, also if only standard error is a terminal.
    bar = image_bar(transient=True, redirect_stdout=False)
    found = Watched(rows, bar, total)
    with contextlib.closing(rows), doing(found.describe), bar:
        yield found
    found.log()


class Watched:
    """An iterator over results that counts them.

    Attributes:
        count: number of images so far.
        errors: number of those that cannot be read.
    """

    def __init__(self, rows: Iterator[Row], bar: progress.Progress, total: int | None):
        self._rows, self._bar, self._total = rows, bar, total
        self._task = bar.add_task("predict", total=total)
        self._began = time.perf_counter()
        self.count = self.errors = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            self.count += 1
            self.errors += row.error is not None
            self._bar.advance(self._task)
            yield row

    def without_bar(self, function: Callable[[], None]) -> None:
        """Calls a function that prints to standard output, while the bar is not on the screen."""
        if self._bar.disable:
            function()
            return
        self._bar.stop()
        function()
        self._bar.start()

    def describe(self) -> str:
        of = "" if self._total is None else f" of {self._total:,}"
        return "" if not self._bar.disable else f"{self.count:,}{of} images done"

    def log(self) -> None:
        seconds = time.perf_counter() - self._began
        images = counted(self.count, "image")
        logger.info("%s in %.1f s, %s", images, seconds, images_per_second(self.count / seconds))
        if self.errors:
            logger.warning("%s of %s cannot be read", f"{self.errors:,}", images)
