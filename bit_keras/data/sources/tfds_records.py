"""Splits of TensorFlow Datasets in ArrayRecord files, which are read by index and without TensorFlow."""

import collections
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import tensorflow_datasets as tfds

from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing_numpy

ARRAY_RECORD = "array_record"  # TFDS's name of the format
CYCLE, BLOCK = 16, 16  # files that tf.data reads in turn, and the records that it reads from each


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """A `Split` of a prepared dataset with random access to encoded images, in the order in which tf.data reads them.

    Attributes:
        builder: of the dataset.
        split: name of the split.
        image, label: names of the features.
        is_chosen: bool, for each record in the order of the files, whether it belongs to this split; None for all.
    """

    builder: tfds.core.DatasetBuilder
    split: str
    image: str
    label: str
    is_chosen: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self._order)

    @property
    def _info(self) -> tfds.core.SplitInfo:
        return self.builder.info.splits[self.split]

    @functools.cached_property
    def _records(self) -> Sequence[dict]:
        # The other features are decoded as well: TFDS has no partial decoding of data sources.
        decoders = {self.image: tfds.decode.SkipDecoding()}
        return self.builder.as_data_source(self.split, decoders=decoders, file_format=ARRAY_RECORD)

    @functools.cached_property
    def _order(self) -> np.ndarray:
        """The number of the record of each example."""
        order = interleaved([each.take for each in self._info.file_instructions])
        return order if self.is_chosen is None else order[self.is_chosen[order]]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        return np.array([self._records[record][self.label] for record in self._order], np.int64)

    def encoded(self, index: int) -> tuple[bytes, np.int64]:
        """Returns an encoded image and its label."""
        example = self._records[int(self._order[index])]
        return example[self.image], np.int64(example[self.label])

    def read(self, index: int) -> tuple[np.ndarray, np.int64]:
        """Returns an image, uint8 [H, W, 3], and its label.

        Raises:
            DataError: the image cannot be decoded, or the label is out of its range.
        """
        image, label = self.encoded(index)
        name = f"{self.builder.info.full_name}, {self.split}"
        check_labels(f"{name}: labels", label, self.builder.info.features[self.label].num_classes)
        try:
            return preprocessing_numpy.decode(image), label
        except (OSError, ValueError) as error:
            raise DataError(f"{name}: image {index}: {error}") from error

    def is_labelled(self) -> bool:
        """Tells whether the first example has a label; in a split without labels all are -1."""
        return self.encoded(0)[1] >= 0

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """Yields the first images."""
        return (preprocessing_numpy.decode(self.encoded(index)[0]) for index in range(min(count, len(self))))

    def take(self, indices: np.ndarray) -> Examples:
        """Reads the encoded images of these examples into memory."""
        images, labels = zip(*map(self.encoded, indices), strict=True)
        return Examples(np.array(images, dtype=object), np.array(labels, np.int64))

    def subset(self, indices: np.ndarray) -> "Records":
        """Leaves the examples in their files."""
        is_chosen = np.zeros(self._info.num_examples, bool)
        is_chosen[self._order[indices]] = True
        return dataclasses.replace(self, is_chosen=is_chosen)

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`; stops to count where the limit is passed."""
        info, (height, width, _) = self._info, self.builder.info.features[self.image].shape
        used = info.num_bytes * len(self) // max(1, info.num_examples)
        if height and width:
            return used + 3 * height * width * len(self) <= limit
        for index in range(len(self)):
            if used > limit:
                break
            used += 3 * math.prod(preprocessing_numpy.header_size(self.encoded(index)[0]))
        return used <= limit


def interleaved(lengths: Sequence[int]) -> np.ndarray:
    """Returns the order in which `tf.data.Dataset.interleave` reads the records of files, as TFDS calls it.

    Args:
        lengths: number of records of each file.

    Returns:
        int64 [sum of lengths]: numbers of records, counted through all files.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    files = collections.deque(zip(ends - lengths, ends, strict=True))
    slots, order = collections.deque([None] * CYCLE), [np.zeros(0, np.int64)]
    while files or any(slots):
        span = slots.popleft() or (files.popleft() if files else None)
        if span:
            begin, end = span
            order.append(np.arange(begin, min(begin + BLOCK, end)))
            # A file that ends with its block is found to be at its end when its turn comes again.
            span = (begin + BLOCK, end) if begin + BLOCK <= end else None
        slots.append(span)
    return np.concatenate(order)
