"""Sources from TensorFlow Datasets."""

import contextlib
import dataclasses
import functools
import math
import re
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from bit_keras.data import held_out
from bit_keras.data.errors import DataError
from bit_keras.data.examples import Examples, no_examples
from bit_keras.data.loaders import preprocessing, preprocessing_numpy
from bit_keras.data.loaders.streams import passes
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources import tfds_errors
from bit_keras.data.sources.task_labels import Label, label_of
from bit_keras.data.splits import assign
from bit_keras.data.tensorflow_for_data import tf

_SHUFFLE_BYTES = 2**30  # size of the shuffle buffer of encoded images: all of CIFAR, some 10,000 of ImageNet
_SAMPLE = 64  # images from which the median size is estimated
_RECORD = r".*-(\d+)-of-\d+.*__(\d+)"  # TFDS's identifier of a record: the numbers of its file and in its file
_SLICED = re.compile(r"([^\[\]]+)\[(.*)\]")  # "name[:80%]"
_DTYPES = (np.uint8, np.uint16)
_RETRIES = 4  # per request; with TFDS's default of 10 a missing network is reported after 3.5 minutes


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


def open_tfds(
    name: str,
    data_dir: str | None = None,
    manual_dir: str | None = None,
    seed: int = 0,
    divide: bool = True,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Opens a dataset of TensorFlow Datasets, which is downloaded and prepared if necessary.

    The split "train" is for training, "validation" for validation and "test" for testing. If there is no test split or
    it has no labels (label -1, as in imagenet2012), "validation" is for testing; without both, 20 % of the training
    images of each class. Data without a split "train", such as imagenet_v2, are for evaluation only.

    Args:
        name: "name", "name/config" or "name:version", each also with a slice of the training split as in TensorFlow
            Datasets, such as "name[:80%]"; the rest of it is for testing if there is no other split for that.
        data_dir: folder of the prepared data, None for the default of TensorFlow Datasets.
        manual_dir: folder of the archives that only a user can download, such as those of imagenet2012, and of others
            that should not be downloaded; None for "downloads/manual" in `data_dir`. Used to prepare the data only.
        seed: of the choice of test images where there is no such split, in [0, 2**32).
        divide: False, for evaluation, makes all images the test split, named "all", if there is no other split.
        image_column, label_column: names of the features; None for "image" and "label".

    Raises:
        DataError: the dataset does not exist, does not have labelled images in these splits, cannot be downloaded or
            prepared, or archives are missing; the message then contains the dataset's instructions.
    """
    sliced = _SLICED.fullmatch(name)
    builder = prepared(sliced[1] if sliced else name, data_dir, manual_dir)
    features = image_column or "image", label_column or "label"
    _check_features(name, builder.info.features, *features)
    reading = Reading(features[0], label_of(features[1]))
    names = _splits(name, builder, reading)
    splits = {split: Stream(builder, found, reading) for split, found in names.items()}
    evaluation_only = "" if "train" in names else "it has no training images"
    if evaluation_only:
        if sliced:
            raise DataError(f"{name}: a slice is one of the split train, which {sliced[1]} does not have")
        splits["train"] = no_examples()
    test_split, identity = names.get("test", "test"), {"kind": "tfds", "fingerprint": builder.info.full_name}
    rest = None
    if sliced:
        is_chosen = _slice(name, sliced[2], builder)
        identity["slice"] = sliced[2]
        splits["train"], rest = (
            dataclasses.replace(splits["train"], is_chosen=part) for part in (is_chosen, ~is_chosen)
        )
    class_names = tuple(builder.info.features[features[1]].names)
    if "test" not in splits and not divide:
        splits["test"], test_split = splits["train"], "all"
    elif "test" not in splits and rest:
        splits["test"], test_split = rest, "rest of train"
    elif "test" not in splits:
        splits["train"], splits["test"] = held_out.divide(
            splits["train"], class_names, held_out.TEST_SHARE, seed, held_out.FOR_TEST
        )
        if seed:  # an identity without it means seed 0
            identity["split_seed"] = seed
    if "validation" in names:
        identity["validation"] = names["validation"]
    if features != ("image", "label"):
        identity["features"] = list(features)
    return Source(
        name=name,
        class_names=class_names,
        image_size=image_size(splits["test" if evaluation_only else "train"]),
        identity=identity,
        test_split=test_split,
        evaluation_only=evaluation_only,
        **splits,
    )


def prepared(dataset: str, data_dir: str | None, manual_dir: str | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset, which is downloaded and prepared if necessary; raises as `open_tfds`."""
    try:
        builder = tfds.builder(dataset, data_dir=data_dir)
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_opened(dataset, error) from error
    try:
        with _few_retries():
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_prepared(builder, manual_dir, error) from error
    return builder


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Limits the retries of TFDS, which has no argument for them and doubles the waiting time with each."""
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries


@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """A `Split` of a prepared dataset: sequential access to encoded images.

    Attributes:
        builder: of the dataset.
        split: name of the split, or an expression such as "train[:800]+validation[:200]", which has no `subset`.
        reading: how image and label are made of an example.
        is_chosen: bool, for each record in the order of the files, whether it belongs to this split; None for all.
    """

    builder: tfds.core.DatasetBuilder
    split: str
    reading: Reading
    is_chosen: np.ndarray | None = None

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
            return self._features(shuffle_seed).map(self.reading)
        return self._numbered(shuffle_seed).map(lambda image, label, _: (image, label))

    def _numbered(self, shuffle_seed: tf.Tensor | None = None) -> tf.data.Dataset:
        """Returns the dataset of (encoded image, label, number of the record in the order of the files)."""
        lengths = self._info.shard_lengths
        begins = tf.constant(np.cumsum([0, *lengths[:-1]]), tf.int64)

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
                interleave_cycle_length=16,
                enable_ordering_guard=False,  # it would reject shuffled files of an ordered dataset
                try_autocache=False,  # each pass is a new dataset, so a cache would only need memory
                skip_prefetch=True,
                add_tfds_id=add_tfds_id,
            ),
        )


def _check_features(name: str, features: tfds.features.FeatureConnector, image: str, label: str) -> None:
    has = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    found = has.get(image)
    is_image = isinstance(found, tfds.features.Image) and found.shape[-1] in (1, 3, 4) and found.np_dtype in _DTYPES
    if not is_image or not isinstance(has.get(label), tfds.features.ClassLabel):
        raise DataError(
            f'{name} must have the features "{image}", an Image of 1, 3 or 4 channels, and "{label}", '
            f"a ClassLabel; --image_column and --label_column name others; it has {features}"
        )


def _splits(name: str, builder: tfds.core.DatasetBuilder, reading: Reading) -> dict[str, str]:
    """Returns {split: its name in the dataset} as `assign`."""
    present = [split for split in ("train", "validation", "test") if split in builder.info.splits]
    if not present:
        raise DataError(f"{name} must have a split train, validation or test, it has {list(builder.info.splits)}")

    def is_labelled(split: str) -> bool:
        first = Stream(builder, split, reading).in_order().take(1)
        return all(label >= 0 for _, label in first.as_numpy_iterator())

    if "validation" in present and not is_labelled("validation"):
        present.remove("validation")
    if "train" in present:
        return assign(name, present, is_labelled)
    labelled = [split for split in ("test", "validation") if split in present and is_labelled(split)]
    if not labelled:
        raise DataError(f"{name} must have labels, of which its splits {', '.join(present)} have none")
    return {"test": labelled[0]}


def _slice(name: str, part: str, builder: tfds.core.DatasetBuilder) -> np.ndarray:
    """Returns bool [N]: whether each record of the training split is in a slice such as ":80%"."""
    is_chosen = np.zeros(builder.info.splits["train"].num_examples, bool)
    try:
        (absolute,) = tfds.core.ReadInstruction.from_spec(f"train[{part}]").to_absolute(builder.info.splits)
        is_chosen[absolute.from_ : absolute.to] = True
    except (ValueError, AssertionError) as error:
        raise DataError(f"{name}: a slice must be like [:80%], [10%:] or [100:200], got [{part}]") from error
    if not is_chosen.any():
        raise DataError(f"{name}: the slice [{part}] of {len(is_chosen):,} training images is empty")
    return is_chosen


def image_size(split: Stream) -> tuple[int, int]:
    """Returns (height, width) in pixels of a dataset's images; estimates of the medians if they differ."""
    height, width, _ = split.builder.info.features[split.reading.image].shape
    if height and width:
        return height, width
    images = (preprocessing.decode(image) for image, _ in split.in_order().take(_SAMPLE))
    return median_size([image.shape[:2] for image in images])
