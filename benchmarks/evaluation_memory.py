"""Program: peak memory of an evaluation beyond that of the network, by the number of examples and of classes.

A stand-in for the network answers with random logits, so that only the evaluation is measured.

Example:
    python -m benchmarks.evaluation_memory --examples=50000 --classes=21843
"""

import resource
import time
from collections.abc import Iterator

import numpy as np
from absl import flags

from benchmarks import frame
from bit_keras.metrics import predict

_EXAMPLES = flags.DEFINE_integer("examples", 50_000, "Images to evaluate.", lower_bound=64)
_CLASSES = flags.DEFINE_integer("classes", 21_843, "Outputs of the network.", lower_bound=5)
_BATCH = flags.DEFINE_integer("batch_size", 64, "Images per batch.", lower_bound=1)
_RESOLUTION = flags.DEFINE_integer("resolution", 224, "Side of the images, in pixels.", lower_bound=1)


class _Network:
    """Returns the same random logits for each batch, shifted by one class each time."""

    def __init__(self, batch_size: int, classes: int):
        self._logits = np.random.default_rng(0).normal(size=(batch_size, classes)).astype("float32")
        self._calls = 0

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        self._calls += 1
        return np.roll(self._logits, self._calls, axis=1)


def batches(examples: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields images of noise and one-hot labels."""
    random = np.random.default_rng(1)
    for start in range(0, examples, _BATCH.value):
        count = min(_BATCH.value, examples - start)
        targets = np.zeros((count, _CLASSES.value), "float32")
        targets[np.arange(count), random.integers(0, _CLASSES.value, count)] = 1
        yield random.uniform(-1, 1, (count, *[_RESOLUTION.value] * 2, 3)).astype("float32"), targets


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    network = _Network(_BATCH.value, _CLASSES.value)
    before, start = _peak(), time.perf_counter()
    found = predict(network, batches(_EXAMPLES.value))
    seconds, grown = time.perf_counter() - start, _peak() - before
    print(f"{len(found.is_right):,} examples of {found.num_classes:,} classes, top-1 accuracy {found.accuracy:.5f}")
    print(f"  {grown / 1e6:.0f} MB beyond libraries and network, {seconds:.0f} s")
    print(f"  the logits alone would need {4 * _EXAMPLES.value * _CLASSES.value / 1e6:,.0f} MB")


if __name__ == "__main__":
    frame.run(main)
