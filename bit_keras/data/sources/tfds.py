"""Sources from TensorFlow Datasets."""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from bit_keras.data import held_out
from bit_keras.data.errors import DataError
from bit_keras.data.examples import no_examples
from bit_keras.data.source import Source, Split, median_size
from bit_keras.data.sources import tfds_errors
from bit_keras.data.sources.tfds_records import ARRAY_RECORD, Records
from bit_keras.data.splits import assign
from bit_keras.system.logs import only_from
from bit_keras.system.optional import is_installed, require

_SAMPLE = 64  # images from which the median size is estimated
_SLICED = re.compile(r"([^\[\]]+)\[(.*)\]")  # "name[:80%]"
_DTYPES = (np.uint8, np.uint16)
_RETRIES = 4  # per request; with TFDS's default of 10 a missing network is reported after 3.5 minutes


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
    open_split = _opener(builder, *features)
    names = _splits(name, builder, open_split)
    splits = {split: open_split(found) for split, found in names.items()}
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
    if isinstance(splits["test"], Records):  # tf.data shuffles them in another way than TFRecord files
        identity["files"] = ARRAY_RECORD
    return Source(
        name=name,
        class_names=class_names,
        image_size=image_size(splits["test" if evaluation_only else "train"], builder.info.features[features[0]].shape),
        identity=identity,
        test_split=test_split,
        evaluation_only=evaluation_only,
        **splits,
    )


def prepared(dataset: str, data_dir: str | None, manual_dir: str | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset, which is downloaded and prepared if necessary; raises as `open_tfds`.

    Without TensorFlow it must be prepared in ArrayRecord files, by `bit_keras.data.prepare`.
    """
    builder = find(dataset, data_dir)
    if not is_installed("tensorflow"):
        _check_readable(dataset, builder, data_dir or builder.data_dir_root)
    else:
        download_and_prepare(builder, manual_dir)
    return builder


def find(dataset: str, data_dir: str | None, **options) -> tfds.core.DatasetBuilder:
    """Returns the builder of a dataset; raises DataError if there is no such dataset."""
    if is_installed("tensorflow"):
        from bit_keras.data import tensorflow_for_data  # noqa: F401  before TFDS uses it: hides GPUs
    try:
        return tfds.builder(dataset, data_dir=data_dir, **options)
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_opened(dataset, error) from error


def download_and_prepare(builder: tfds.core.DatasetBuilder, manual_dir: str | None) -> None:
    """Prepares a dataset unless it is prepared; raises as `open_tfds`."""
    try:
        with _few_retries():
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir))
    except Exception as error:  # the dataset's own code may raise any type
        raise tfds_errors.not_prepared(builder, manual_dir, error) from error


def is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
    """Tells whether a dataset is prepared, without TFDS's warning if it is not."""
    with only_from(logging.ERROR, "absl"):
        return builder.is_prepared()


def has_format(builder: tfds.core.DatasetBuilder, name: str) -> bool:
    """Tells whether a dataset is prepared in files of a format, "tfrecord" or "array_record"."""
    record = builder.info.as_proto  # TFDS's own list lacks formats that were added to prepared data
    return is_prepared(builder) and name in (record.file_format, *record.alternative_file_formats)


def check_tfrecord(name: str, builder: tfds.core.DatasetBuilder) -> None:
    """Raises DataError for a dataset that is prepared in ArrayRecord files alone."""
    if has_format(builder, ARRAY_RECORD) and not has_format(builder, "tfrecord"):
        raise DataError(
            f"{name} reads TFRecord files, and in {builder.data_dir} are ArrayRecord files alone: give another "
            "--data_dir, where TensorFlow Datasets prepares it anew"
        )


def _check_readable(name: str, builder: tfds.core.DatasetBuilder, data_dir: str) -> None:
    """Raises DataError unless a dataset can be read without TensorFlow."""
    command = f"python -m bit_keras.data prepare {builder.info.full_name} --data_dir={data_dir}"
    if not is_prepared(builder):
        raise DataError(
            f"{name} is not prepared in {data_dir}, and TensorFlow is not installed; where it is, prepare "
            f"the data and copy them: {command}"
        )
    if not has_format(builder, ARRAY_RECORD):
        raise DataError(
            f"{name} in {builder.data_dir} is not in ArrayRecord files, and only TensorFlow, which is not installed, "
            f"reads others; where it is, convert them: {command}"
        )
    require(f"{name} in ArrayRecord files", "array_record")


def _opener(builder: tfds.core.DatasetBuilder, image: str, label: str) -> Callable[[str], Split]:
    """Returns the function that opens a split by its name."""
    is_indexed = has_format(builder, ARRAY_RECORD)

    def open_records(split: str) -> Records:
        # A builder of its own, which knows all formats, and of which the data source changes the format.
        return Records(tfds.builder_from_directory(builder.data_dir), split, image, label)

    if not is_installed("tensorflow") or (is_indexed and not has_format(builder, "tfrecord")):
        require(f"{builder.info.full_name} in ArrayRecord files", "array_record")
        return open_records
    from bit_keras.data.sources.task_labels import label_of
    from bit_keras.data.sources.tfds_stream import Reading, Stream

    reading = Reading(image, label_of(label))
    return lambda split: Stream(builder, split, reading, records=open_records(split) if is_indexed else None)


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Limits the retries of TFDS, which has no argument for them and doubles the waiting time with each."""
    retries, downloader.MAX_RETRIES = downloader.MAX_RETRIES, _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries


def _check_features(name: str, features: tfds.features.FeatureConnector, image: str, label: str) -> None:
    has = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
    found = has.get(image)
    is_image = isinstance(found, tfds.features.Image) and found.shape[-1] in (1, 3, 4) and found.np_dtype in _DTYPES
    if not is_image or not isinstance(has.get(label), tfds.features.ClassLabel):
        raise DataError(
            f'{name} must have the features "{image}", an Image of 1, 3 or 4 channels, and "{label}", '
            f"a ClassLabel; --image_column and --label_column name others; it has {features}"
        )


def _splits(name: str, builder: tfds.core.DatasetBuilder, open_split: Callable[[str], Split]) -> dict[str, str]:
    """Returns {split: its name in the dataset} as `assign`."""
    present = [split for split in ("train", "validation", "test") if split in builder.info.splits]
    if not present:
        raise DataError(f"{name} must have a split train, validation or test, it has {list(builder.info.splits)}")

    def is_labelled(split: str) -> bool:
        return open_split(split).is_labelled()

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


def image_size(split: Split, shape: tuple[int | None, ...]) -> tuple[int, int]:
    """Returns (height, width) in pixels of a dataset's images; estimates of the medians if they differ.

    Args:
        split: a `tfds_stream.Stream` or `Records`.
        shape: of the feature that is the image.
    """
    height, width, _ = shape
    if height and width:
        return height, width
    return median_size([image.shape[:2] for image in split.sample(_SAMPLE)])
