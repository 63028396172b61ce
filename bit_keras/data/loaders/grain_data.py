"""Batches from grain, for examples with random access. `batches` checks and documents the arguments."""

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator

import keras
import numpy as np

from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing_numpy as preprocessing
from bit_keras.data.source import Source, Split
from bit_keras.system.logs import only_from

with only_from(logging.ERROR, "absl"):  # grain warns where JAX, which is not needed here, is not installed
    import grain

_ORDER, _AUGMENTATION = 0, 1  # streams of random numbers

Example = tuple[np.ndarray, np.ndarray]  # image and one-hot label


class Batches(keras.utils.PyDataset):
    """Batches with random access, which threads load ahead when they are read in order.

    Keras's `fit` treats grain's own dataset as endless and warns at the end of every evaluation, because it has no
    length; this one has.

    Args:
        make: function from the index of an example to the example.
        num_examples: number of examples, None for endless batches. The last batch may be smaller.
        batch_size: examples per batch.
    """

    def __init__(self, make: Callable[[int], Example], num_examples: int | None, batch_size: int):
        super().__init__()  # without threads of Keras
        self._examples = grain.MapDataset.source(_Examples(make, num_examples or sys.maxsize))
        self._batch_size = batch_size
        self._num_batches = num_examples and -(-num_examples // batch_size)
        self._next, self._iterator = 0, None

    @property
    def num_batches(self) -> int | None:
        """Number of batches, None if endless."""
        return self._num_batches

    def __len__(self) -> int:
        if self._num_batches is None:
            raise TypeError("endless batches have no length")
        return self._num_batches

    def __getitem__(self, number: int) -> Example:
        if self._iterator is None or number != self._next:
            self._iterator = self._from(number)
        self._next = number + 1
        return next(self._iterator)

    def __iter__(self) -> Iterator[Example]:
        return self._from(0)

    def _from(self, number: int) -> Iterator[Example]:
        # Prefetches the examples of one batch, and one batch: 512 images of 480 pixels are 1.4 GB.
        options = grain.ReadOptions(min(os.cpu_count() or 1, self._batch_size), self._batch_size)
        examples = self._examples[number * self._batch_size :].to_iter_dataset(options)
        batches = examples.batch(self._batch_size, drop_remainder=False)
        return iter(grain.experimental.ThreadPrefetchIterDataset(batches, prefetch_buffer_size=1))


def train_batches(
    source: Source,
    *,
    batch_size: int,
    resize: int,
    crop: int,
    seed: int,
    start_step: int,
    shard: tuple[int, int],
    random_crop: bool,
    flip: bool,
    min_area: float | None,
    fit: str,
    keep: bool,
) -> Batches:
    """See `bit_keras.data.train_batches`."""
    split = _with_index(source, source.train)
    read = functools.cache(split.read) if keep else split.read
    index, count = shard
    start = start_step * batch_size + index
    index_at = train_order(len(split), seed)

    def make(number: int) -> Example:
        position = start + number * count
        image, label = read(index_at(position))
        if min_area is not None:
            bits = random_bits(seed, _AUGMENTATION, position, preprocessing.PRETRAINING_BITS)
            image = preprocessing.pretraining_image(image, bits, crop=crop, min_area=min_area, flip=flip)
            return image, _one_hot(label, source)
        bits = random_bits(seed, _AUGMENTATION, position, 3)
        image = preprocessing.train_image(
            image, bits, resize=resize, crop=crop, random_crop=random_crop, flip=flip, fit=fit
        )
        return image, _one_hot(label, source)

    return Batches(make, None, batch_size // count)


def train_order(length: int, seed: int) -> Callable[[int], int]:
    """Returns the function from a position in endless passes over a split of this length to an index in the split."""

    @functools.lru_cache(maxsize=2)  # a batch across the end of a pass needs two orders
    def order(one_pass: int) -> np.ndarray:
        return np.argsort(random_bits(seed, _ORDER, one_pass, length), kind="stable")

    def index_at(position: int) -> int:
        one_pass, place = divmod(position, length)
        return int(order(one_pass)[place])

    return index_at


def train_indices(examples: Examples, seed: int, start: int, count: int) -> list[int]:
    """Returns the indices of `count` training examples from position `start` on."""
    index_at = train_order(len(examples), seed)
    return [index_at(position) for position in range(start, start + count)]


def test_batches(source: Source, *, batch_size: int, crop: int, fit: str, keep: bool) -> Batches:
    """See `bit_keras.data.test_batches`."""
    split = _with_index(source, source.test)
    read = functools.cache(split.read) if keep else split.read

    def make(number: int) -> Example:
        image, label = read(number)
        return preprocessing.test_image(image, crop=crop, fit=fit), _one_hot(label, source)

    return Batches(make, len(split), batch_size)


class _Examples(grain.sources.RandomAccessDataSource):
    def __init__(self, make: Callable[[int], Example], length: int):
        self._make, self._length = make, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, number: int) -> Example:
        return self._make(number)


def _with_index(source: Source, split: Split) -> Split:
    split = getattr(split, "indexed", split)
    if not hasattr(split, "read"):
        raise DataError(
            f"the loader grain needs random access to the examples, which {source.name}, of the kind "
            f"{source.identity['kind']}, does not support; allowed is the loader tf.data. For TensorFlow Datasets, "
            "python -m bit_keras.data prepare makes files with random access"
        )
    if isinstance(split, Examples):  # others check each label that they read
        check_labels(f"{source.name}: labels", split.labels, source.num_classes)
    return split


def random_bits(seed: int, stream: int, number: int, size: int) -> np.ndarray:
    """Returns uint64 [size], a pure function of the arguments. Raw bits are the same in all versions of NumPy."""
    key = np.array([seed % 2**64, number], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, 0, stream], np.uint64)).random_raw(size)


def _one_hot(label: np.ndarray, source: Source) -> np.ndarray:
    one_hot = np.zeros(source.num_classes, np.float32)
    one_hot[label[label != -1] if source.multi_label else label] = 1
    return one_hot
