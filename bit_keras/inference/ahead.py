"""Reads and prepares images in threads while a network has the batch before."""

import collections
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from bit_keras.inference.inputs import Input

_THREADS = min(16, 4 + (os.cpu_count() or 1))  # some wait for addresses, others decode


class Prepared(NamedTuple):
    """An image that is ready for the network, or the reason why it is not.

    Attributes:
        name: as in `Input`.
        value: what `prepare` returned; None if the image cannot be read.
        error: why it cannot be read, None if it can.
    """

    name: str
    value: object
    error: str | None


def prepared(inputs: Iterable[Input], prepare: Callable[[Input], object], batch_size: int) -> Iterator[list[Prepared]]:
    """Yields batches of prepared images, in order and in constant memory; at most two batches are read ahead.

    Args:
        inputs: images; may be endless.
        prepare: reads and prepares one of them, in any thread; OSError, ValueError and MemoryError are reasons why it
            cannot be read.
        batch_size: images per batch; the last one may be smaller.
    """
    pool, ahead = ThreadPoolExecutor(_THREADS), collections.deque()
    try:
        for each in inputs:
            ahead.append((each.name, pool.submit(prepare, each)))
            if len(ahead) == 2 * batch_size:
                yield [_result(*ahead.popleft()) for _ in range(batch_size)]
        while ahead:
            yield [_result(*ahead.popleft()) for _ in range(min(batch_size, len(ahead)))]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _result(name: str, future: Future) -> Prepared:
    try:
        return Prepared(name, future.result(), None)
    except (OSError, ValueError, MemoryError) as error:
        return Prepared(name, None, str(error) or type(error).__name__)
