"""Program: memory of a process that trains one network after the other, which must not grow with their number.

Each run is a whole `bit_keras.finetune` of a few updates, and its result is dropped. Memory is the resident memory in
MB after a garbage collection. The last line is the ratio of the memory after the last run to that after the tenth: PASS
up to 1.2, else the exit status is 1. The backend is that of KERAS_BACKEND.

Example:
    KERAS_BACKEND=jax python -m benchmarks.run_memory --runs=200

On jax almost all of the time is compilation, which a persistent cache (JAX_COMPILATION_CACHE_DIR) saves.
"""

import ctypes
import gc
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
from absl import flags

from benchmarks import frame
from bit_keras import data, finetune
from bit_keras.system.logs import logger

REFERENCE = 10  # the run that later ones are compared with: by then caches are filled
LIMIT = 1.2  # of the ratio to its memory


def memory_after(runs: int, model: str, **options) -> Iterator[float]:
    """Fine-tunes `runs` networks one after the other.

    Args:
        runs: their number.
        model: architecture or weights.
        **options: settings of `bit_keras.finetune`.

    Yields:
        The resident memory after each run, in MB.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 32, 32, 3), np.uint8)
    labels = np.arange(len(images)) % 4
    source = data.from_arrays(images, labels, images[:8], labels[:8], class_names=list("abcd"), name="noise")
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            finetune(model, source, str(Path(folder, str(number))), seed=number, **options)
            yield resident()


def resident() -> float:
    """Returns the resident memory of this process in MB, after returning what is free to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def verdict(reference: float, last: float, runs: int) -> str:
    """Returns the last line: the ratio of two memories, and whether it is within the limit."""
    ratio = last / reference
    passed = "PASS" if ratio <= LIMIT else f"over {LIMIT}"
    return f"memory after run {runs} / after run {REFERENCE} = {ratio:.3f}: {passed}"


def _define_flags() -> None:
    flags.DEFINE_integer("runs", 200, "Number of runs.", lower_bound=REFERENCE)
    flags.DEFINE_string("model", "BiT-mini-R17x0.5", "Architecture or weights.")
    flags.DEFINE_integer("resolution", 32, "Side of the images in pixels.", lower_bound=1)
    flags.DEFINE_integer("batch_size", 8, "Images per update.", lower_bound=1)
    flags.DEFINE_integer("steps", 5, "Updates per run.", lower_bound=5)


def main() -> None:
    given = flags.FLAGS
    settings = {"resolution": given.resolution, "batch_size": given.batch_size, "steps": given.steps}
    settings["eval_every"] = given.steps
    logger.setLevel(logging.WARNING)  # without the progress of each run
    print(f"{given.model} on the {keras.backend.backend()} backend, {settings}\n{'run':>6} {'MB':>8} {'seconds':>8}")
    reference, began = 0.0, time.monotonic()
    for number, megabytes in enumerate(memory_after(given.runs, given.model, **settings), start=1):
        if number == REFERENCE:
            reference = megabytes
        if number <= REFERENCE or number % 10 == 0 or number == given.runs:
            print(f"{number:>6} {megabytes:>8,.0f} {time.monotonic() - began:>8,.0f}", flush=True)
    print(verdict(reference, megabytes, given.runs))
    sys.exit(megabytes > LIMIT * reference)


if __name__ == "__main__":
    _define_flags()
    frame.run(main)
