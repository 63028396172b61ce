"""Sources from TensorFlow Datasets."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples
from bit_keras.data.loaders import preprocessing
from bit_keras.data.loaders.streams import passes
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources import tfds_errors

_SHUFFLE_BYTES = 2**30  # size of the shuffle buffer of encoded images: all of CIFAR, some 10,000 of ImageNet
_SAMPLE = 64  # images from which the median size is estimated
_RETRIES = 4  # per request; with TFDS's default of 10 a missing network is reported after 3.5 minutes


def open_tfds(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> Source:
    """Opens a dataset of TensorFlow Datasets, which is downloaded and prepared if necessary.

    The split "train" is for training. The split "test" is for testing, or "validation" if there is no test split or
    it has no labels (label -1, as in imagenet2012).

    Args:
        name: "name", "name/config" or "name:version".
        data_dir: folder of the prepared data, None for the default of TensorFlow Datasets.
        manual_dir: folder of the archives that only a user can download, such as those of imagenet2012, and of others
            that should not be downloaded; None for "downloads/manual" in `data_dir`. Used to prepare the data only.

    Raises:
        DataError: the dataset does not exist, does not have labelled colour images in these splits, cannot be
            downloaded or prepared, or archives are missing; the message then contains the dataset's instructions.
    """
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_opened(name, error) from error
    _prepare(builder, manual_dir)
    _check_features(name, builder.info.features)
    train, test = _Stream(builder, "train"), _Stream(builder, _test_split(name, builder))
    return Source(
        name=name,
        class_names=tuple(builder.info.features["label"].names),
        image_size=_image_size(builder.info.features["image"], train),
        train=train,
        test=test,
        identity={"kind": "tfds", "fingerprint": builder.info.full_name},
    )


def _prepare(builder: tfds.core.DatasetBuilder, manual_dir: str | None) -> None:
    """Downloads and prepares a dataset if necessary."""
    try:
        with _few_retries():
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_prepared(builder, manual_dir, error) from error


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Limits the retries of TFDS, which has no argument for them and doubles the waiting time with each."""
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries


@dataclasses.dataclass(frozen=True, eq=False)
class _Stream:
    """A `Split` of a prepared dataset: sequential access to encoded images."""

    builder: tfds.core.DatasetBuilder
    split: str

    def __len__(self) -> int:
        return self.builder.info.splits[self.split].num_examples

    @functools.cached_property
    def labels(self) -> np.ndarray:
        labels = self._open().map(lambda _, label: label).batch(1_024)
        return np.concatenate(list(labels.as_numpy_iterator()))

    def in_order(self) -> tf.data.Dataset:
        return self._open()

    def shuffled(self, seed: int, start: int, shard: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
        """Shuffles the files, and then the examples within a buffer."""
        bytes_per_example = max(1, self.builder.info.splits[self.split].num_bytes // len(self))
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

    def take(self, indices: np.ndarray) -> Examples:
        """Reads the encoded images of these examples into memory."""
        is_taken = np.zeros(indices[-1] + 1, bool)
        is_taken[indices] = True
        is_taken = tf.constant(is_taken)
        examples = self.in_order().take(len(is_taken)).enumerate().filter(lambda i, _: is_taken[i])
        images, labels = zip(*((image, label) for _, (image, label) in examples.as_numpy_iterator()))
        return Examples(np.array(images, dtype=object), np.array(labels, np.int64))

    def _open(self, shuffle_seed: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the dataset of (encoded image, label); with a seed the order of the files is shuffled."""
        features = self.builder.as_dataset(
            split=self.split,
            shuffle_files=shuffle_seed is not None,
            decoders=tfds.decode.PartialDecoding(
                {"image": True, "label": True}, decoders={"image": tfds.decode.SkipDecoding()}
            ),
            read_config=tfds.ReadConfig(
                shuffle_seed=shuffle_seed,
                interleave_cycle_length=16,
                enable_ordering_guard=False,  # it would reject shuffled files of an ordered dataset
                try_autocache=False,  # each pass is a new dataset, so a cache would only need memory
                skip_prefetch=True,
            ),
        )
        return features.map(lambda example: (example["image"], example["label"]))


def _check_features(name: str, features: tfds.features.FeatureConnector) -> None:
    has = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = has.get("image"), has.get("label")
    is_image = isinstance(image, tfds.features.Image) and image.shape[-1] == 3 and image.dtype == np.uint8
    if not is_image or not isinstance(label, tfds.features.ClassLabel):
        raise DataError(
            f'{name} must have the features "image", an Image of 3 channels of uint8, and "label", a ClassLabel; '
            f"it has {features}"
        )


def _test_split(name: str, builder: tfds.core.DatasetBuilder) -> str:
    splits = builder.info.splits
    if "train" in splits and "test" in splits:
        first = _Stream(builder, "test").in_order().take(1)
        if all(label >= 0 for _, label in first.as_numpy_iterator()):
            return "test"
    if "train" in splits and "validation" in splits:
        return "validation"
    raise DataError(f'{name} must have a split "train" and a labelled "test" or "validation", it has {list(splits)}')


def _image_size(feature: tfds.features.Image, train: _Stream) -> tuple[int, int]:
    height, width, _ = feature.shape
    if height and width:
        return height, width
    images = (preprocessing.decode(image) for image, _ in train.in_order().take(_SAMPLE))
    return median_size([image.shape[:2] for image in images])
