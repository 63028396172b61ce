"""Splits of TensorFlow Datasets in TFRecord files, which tf.data reads one after the other."""

import dataclasses
import functools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing, preprocessing_numpy
from bit_keras.data.loaders.streams import passes
from bit_keras.data.sources import tfds_records
from bit_keras.data.sources.task_labels import Label
from bit_keras.data.tensorflow_for_data import tf

_SHUFFLE_BYTES = 2**30  # size of the shuffle buffer of encoded images: all of CIFAR, some 10,000 of ImageNet
_RECORD = r".*-(\d+)-of-\d+.*__(\d+)"  # TFDS's identifier of a record: the numbers of its file and in its file


@dataclasses.dataclass(frozen=True)
class Reading:
    """How image and label are made of an example.

    Attributes:
        image: name of the feature that is the image.
        label: how the label is made of the others.
        scale: factor of the pixels.
    """

    image: str
    label: Label
    scale: int = 1

    def __call__(self, example: dict) -> tuple[tf.Tensor, tf.Tensor]:
        image = example[self.image]
        if self.scale != 1:
            image = preprocessing.decode(image) * tf.constant(self.scale, tf.uint8)
        return image, self.label.compute(example)


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A `Split` of a prepared dataset: sequential access to encoded images.

    Attributes:
        builder: of the dataset.
        split: name of the split, or an expression such as "train[:800]+validation[:200]", which has no `subset`.
        reading: how image and label are made of an example.
        is_chosen: bool, for each record in the order of the files, whether it belongs to this split; None for all.
        records: the whole split in ArrayRecord files; None if it is not prepared in these, too.
    """

    builder: tfds.core.DatasetBuilder
    split: str
    reading: Reading
    is_chosen: np.ndarray | None = None
    records: tfds_records.Records | None = None

    @property
    def indexed(self) -> tfds_records.Records | None:
        """The same examples in the same order with random access, if the dataset is prepared for it."""
        return self.records and dataclasses.replace(self.records, is_chosen=self.is_chosen)

    def __len__(self) -> int:
        return self._info.num_examples if self.is_chosen is None else np.count_nonzero(self.is_chosen)

    @property
    def _info(self) -> tfds.core.SplitInfo:
        return self.builder.info.splits[self.split]

    @functools.cached_property
    def labels(self) -> np.ndarray:
        labels = self._open().map(lambda _, label: label).batch(1_024)
        return np.concatenate(list(labels.as_numpy_iterator()))

    def in_order(self) -> tf.data.Dataset:
        return self._open()

    def shuffled(self, seed: int, start: int, shard: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
        """Shuffles the files, and then the examples within a buffer."""
        bytes_per_example = max(1, self._info.num_bytes // self._info.num_examples)
        buffer_size = max(1, min(len(self), _SHUFFLE_BYTES // bytes_per_example))

        @tf.autograph.experimental.do_not_convert  # AutoGraph would convert TFDS's code as well
        def one_pass(number: tf.Tensor) -> tf.data.Dataset:
            # Dataset.shuffle combines its seed with the global one, which this sets for the function's graph only. It
            # must not be 0: Dataset.shuffle would then compare its own seed with 0, and that is a tensor here.
            tf.random.set_seed(1)
            key = tf.stack([tf.constant(seed, tf.int64), number])
            file_seed, seed_in_buffer = tf.unstack(
                tf.random.stateless_uniform([2], key, minval=None, maxval=None, dtype=tf.int64, alg="philox")
            )
            examples = self._open(shuffle_seed=file_seed)
            return examples.shuffle(buffer_size, seed_in_buffer, reshuffle_each_iteration=False)

        return passes(one_pass, len(self), start, shard)

    def is_labelled(self) -> bool:
        """Tells whether the first example has a label; in a split without labels all are -1."""
        return all(label >= 0 for _, label in self.in_order().take(1).as_numpy_iterator())

    def sample(self, count: int) -> Iterator[np.ndarray]:
        """Yields the first images."""
        return (preprocessing.decode(image) for image, _ in self.in_order().take(count))

    def take(self, indices: np.ndarray) -> Examples:
        """Reads the encoded images of these examples into memory."""
        is_taken = np.zeros(indices[-1] + 1, bool)
        is_taken[indices] = True
        is_taken = tf.constant(is_taken)
        examples = self.in_order().take(len(is_taken)).enumerate().filter(lambda i, _: is_taken[i])
        images, labels = zip(*((image, label) for _, (image, label) in examples.as_numpy_iterator()))
        images = np.array(images, dtype=object if isinstance(images[0], bytes) else np.uint8)
        return Examples(images, np.array(labels, np.int64))

    def subset(self, indices: np.ndarray) -> "Stream":
        """Leaves the examples in their files; each pass over the subset reads all records."""
        records = np.concatenate(
            list(self._numbered().map(lambda _, __, record: record).batch(1_024).as_numpy_iterator())
        )
        is_chosen = np.zeros(self._info.num_examples, bool)
        is_chosen[records[indices]] = True
        return dataclasses.replace(self, is_chosen=is_chosen)

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`; stops to count where the limit is passed."""
        info, (height, width, _) = self._info, self.builder.info.features[self.reading.image].shape
        used = info.num_bytes * len(self) // max(1, info.num_examples)
        if height and width:
            return used + 3 * height * width * len(self) <= limit
        images = iter(self.in_order().as_numpy_iterator())
        while used <= limit:
            image, _ = next(images, (None, None))
            if image is None:
                return True
            used += 3 * math.prod(preprocessing_numpy.header_size(image))
        return False

    def _open(self, shuffle_seed: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the dataset of (encoded image, label); with a seed the order of the files is shuffled."""
        if self.is_chosen is None:
            return self._features(shuffle_seed).map(tf.autograph.experimental.do_not_convert(self.reading))
        return self._numbered(shuffle_seed).map(lambda image, label, _: (image, label))

    def _numbered(self, shuffle_seed: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the dataset of (encoded image, label, number of the record in the order of the files)."""
        lengths = self._info.shard_lengths
        begins = tf.constant(np.cumsum([0, *lengths[:-1]]), tf.int64)

        @tf.autograph.experimental.do_not_convert
        def number(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            shard, index = (  # an identifier is, for example, "cifar10-train.tfrecord-00000-of-00001__12"
                tf.strings.to_number(tf.strings.regex_replace(example["tfds_id"], _RECORD, group), tf.int64)
                for group in (r"\1", r"\2")
            )
            return *self.reading(example), tf.gather(begins, shard) + index

        examples = self._features(shuffle_seed, add_tfds_id=True).map(number)
        if self.is_chosen is None:
            return examples
        is_chosen = tf.constant(self.is_chosen)
        return examples.filter(lambda image, label, record: tf.gather(is_chosen, record))

    def _features(self, shuffle_seed: tf.Tensor | None, add_tfds_id: bool = False) -> tf.data.Dataset:
        image = self.reading.image
        return self.builder.as_dataset(
            split=self.split,
            shuffle_files=shuffle_seed is not None,
            decoders=tfds.decode.PartialDecoding(
                {image: True, **self.reading.label.features}, decoders={image: tfds.decode.SkipDecoding()}
            ),
            read_config=tfds.ReadConfig(
                shuffle_seed=shuffle_seed,
                interleave_cycle_length=tfds_records.CYCLE,
                interleave_block_length=tfds_records.BLOCK,
                enable_ordering_guard=False,  # it would reject shuffled files of an ordered dataset
                try_autocache=False,  # each pass is a new dataset, so a cache would only need memory
                skip_prefetch=True,
                add_tfds_id=add_tfds_id,
            ),
        )
