"""Sources from TFRecord files of `tf.train.Example`, with random access to the records."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.loaders import preprocessing, streams
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources.shards import find_shards
from bit_keras.data.splits import SPLIT_NAMES, assign
from bit_keras.system.logs import doing, logger

_IMAGE = "image/encoded"
_LABELS = ("image/class/label", "label", "labels")  # the first one that exists in the first record is used
_NAMES = ("class_names.txt", "labels.txt")
_HEADER, _FOOTER = 12, 4  # bytes before a record (its length and a checksum) and after it (checksum of the data)
_CHUNK = 1_024  # records that are parsed together
_SAMPLE = 64  # images from which the median size is estimated
_MESSAGE = 300  # most characters quoted from a message, which may contain a whole record
_GZIP = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Labelled images in TFRecord files; a `Split`.

    Attributes:
        files: names of the files, [F].
        file: int32 [N], index of each record's file in `files`.
        offset: int64 [N], beginning of the record's data in the file, in bytes.
        length: int64 [N], length of the data in bytes.
        labels: int64 [N], or [N, L] padded with -1.
    """

    files: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def in_order(self) -> tf.data.Dataset:
        return self._read(tf.data.Dataset.range(len(self)))

    def shuffled(self, seed: int, start: int, shard: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
        return self._read(streams.shuffled_indices(len(self), seed, start, shard))

    def take(self, indices: np.ndarray) -> "Records":
        chosen = {name: getattr(self, name)[indices] for name in ("file", "offset", "length", "labels")}
        return dataclasses.replace(self, **chosen)

    subset = take

    def _read(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        sizes = np.array([os.path.getsize(name) for name in self.files], np.int64)
        with tf.device("CPU"):  # leaves the accelerator's memory to the model
            columns = [tf.constant(c) for c in (self.files, sizes, self.file, self.offset, self.length, self.labels)]
        names, sizes, file, offset, length, labels = columns

        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            number, begin, size = (tf.gather(column, index) for column in (file, offset, length))
            rest = tf.gather(sizes, number) - begin - size
            # The only op of TensorFlow that reads a range of a file.
            records = tf.data.FixedLengthRecordDataset(tf.gather(names, number), size, begin, rest, buffer_size=size)
            image = tf.io.FixedLenFeature([], tf.string)
            example = tf.io.parse_single_example(records.get_single_element(), {_IMAGE: image})
            return example[_IMAGE], tf.gather(labels, index)

        return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def open_tfrecords(root: str | os.PathLike) -> Source:
    """Opens a folder of TFRecord files.

    Every file is read once to verify its checksums and to index its records. The index takes 20 + 8 L bytes per record,
    where L is the largest number of labels of a record. Images are not decoded, except for a few from which the median
    size is estimated.

    Args:
        root: folder with uncompressed files of the split "train", such as "train-00000-of-00010" or
            "train-0.tfrecord", and of "test", or of "validation", "valid" or "val", or of both; without "test" the
            validation split is for testing; and with "class_names.txt" or "labels.txt", one name per line. Records are
            `tf.train.Example`s with "image/encoded", one encoded image, and "image/class/label", "label" or "labels":
            one or several int64 in [0, number of classes).

    Raises:
        DataError: the folder does not have these files, or a file cannot be read or contains a faulty record.
    """
    root = Path(root).expanduser()
    class_names = _read_names(root)
    names = assign(root, [name for name in SPLIT_NAMES if find_shards(root, name)])
    splits = {split: _scan(find_shards(root, name), len(class_names)) for split, name in names.items()}
    multi_label = any(records.labels.ndim == 2 for records in splits.values())
    if multi_label:
        for split, records in splits.items():
            splits[split] = dataclasses.replace(records, labels=records.labels.reshape(len(records), -1))
    identity = {
        "kind": "tfrecords",
        "fingerprint": _fingerprint(class_names, [splits["train"], splits["test"]]),
    }
    if "validation" in splits:
        identity["validation"] = _fingerprint(class_names, [splits["validation"]])
    return Source(
        name=root.resolve().name,
        class_names=class_names,
        image_size=_image_size(splits["train"]),
        identity=identity,
        multi_label=multi_label,
        test_split=names["test"],
        **splits,
    )


def _image_size(train: Records) -> tuple[int, int]:
    sizes = []
    for number, (image, _) in enumerate(train.in_order().take(_SAMPLE).as_numpy_iterator()):
        try:
            sizes.append(preprocessing.measure(image))
        except ValueError as error:
            name = train.files[train.file[number]]
            raise DataError(f"{name}: {_IMAGE} of training record {number} cannot be decoded: {error}") from error
    return median_size(sizes)


def _read_names(root: Path) -> tuple[str, ...]:
    for path in (root / name for name in _NAMES):
        if path.is_file():
            names = tuple(path.read_text(encoding="utf-8").splitlines())
            if not names:
                raise DataError(f"{path} must hold the names of the classes, one a line, got none")
            return names
    raise DataError(f"{root} must hold the names of the classes, one a line, in {' or '.join(_NAMES)}; got neither")


def _scan(paths: Sequence[Path], num_classes: int) -> Records:
    """Indexes the records of the files and reads their labels."""
    lengths, counts, labels = [], [], []
    parse = None
    with doing(lambda: f"{len(labels)} of {len(paths)} TFRecord files read"):
        for path in paths:
            parse = parse or _parser(path)
            sizes, label_counts, values = _scan_file(path, parse, num_classes)
            lengths.append(sizes)
            counts.append(label_counts)
            labels.append(values)
    file = np.repeat(np.arange(len(paths), dtype=np.int32), [len(sizes) for sizes in lengths])
    offset = np.concatenate([np.cumsum(n + _HEADER + _FOOTER) - n - _FOOTER for n in lengths])
    if not len(file):
        raise DataError(f"{paths[0].parent}: TFRecord files must hold records, got none in {paths[0].name} and others")
    labels = _pad(np.concatenate(labels), np.concatenate(counts))
    logger.info("%d records in %d files like %s", len(file), len(paths), paths[0])
    return Records(np.array([str(path) for path in paths], object), file, offset, np.concatenate(lengths), labels)


def _parser(path: Path) -> Callable | None:
    """Returns a function that parses serialized examples, None for a file without records.

    Its results are the bytes of each example, the bytes of each image, the number of labels per example, all labels.
    """
    try:
        first = next(iter(tf.data.TFRecordDataset(str(path)).take(1).as_numpy_iterator()), None)
        if first is None:
            return None
        present = tf.train.Example.FromString(first).features.feature
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error
    except DecodeError as error:
        raise DataError(f"{path}: records must be examples of tf.train.Example: {error}") from error
    key = next((name for name in _LABELS if name in present), None)
    if key is None:
        raise DataError(f"{path}: an example must have one of {', '.join(_LABELS)}, got {', '.join(sorted(present))}")
    features = {_IMAGE: tf.io.FixedLenFeature([], tf.string, ""), key: tf.io.RaggedFeature(tf.int64)}

    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_example(serialized, features)
        return (
            tf.strings.length(serialized),
            tf.strings.length(example[_IMAGE]),
            example[key].row_lengths(),
            example[key].values,
        )

    return parse


def _scan_file(path: Path, parse: Callable | None, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the length of each record in bytes, its number of labels, and all labels."""
    chunks = [(np.empty(0, np.int64),) * 4]
    try:
        if parse is not None:
            records = tf.data.TFRecordDataset(str(path)).batch(_CHUNK)
            chunks += list(records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).as_numpy_iterator())
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # the latter: binary data in the message
        raise DataError(f"{path}: an example does not fit: {str(error)[:_MESSAGE]}") from error
    except tf.errors.OpError as error:
        raise _unreadable(path, error) from error
    sizes, images, counts, labels = (np.concatenate(column).astype(np.int64) for column in zip(*chunks))
    for what, column in ((_IMAGE, images), ("label", counts)):
        missing = np.flatnonzero(column == 0)
        if len(missing):
            raise DataError(f"{path}: every example must have {what}; record {missing[0]} has none")
    check_labels(f"{path}: labels", labels, num_classes)
    return sizes, counts, labels


def _unreadable(path: Path, error: tf.errors.OpError) -> DataError:
    try:
        with path.open("rb") as file:
            is_compressed = file.read(2) == _GZIP
    except OSError as fault:
        return DataError(f"{path} cannot be read: {fault.strerror}")
    if is_compressed:
        return DataError(f"{path} must not be compressed, because records are read in any order; gunzip it first")
    return DataError(f"{path} cannot be read as a TFRecord file, it is corrupted or truncated: {error.message}")


def _pad(labels: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns labels [N] if every image has one, else [N, L] padded with -1."""
    most = counts.max()
    if most == 1:
        return labels
    padded = np.full((len(counts), most), -1, np.int64)
    padded[np.arange(most) < counts[:, None]] = labels
    return padded


def _fingerprint(class_names: Sequence[str], splits: Sequence[Records]) -> str:
    digest = hashlib.sha256(repr(class_names).encode())
    for split in splits:
        digest.update(repr([Path(name).name for name in split.files]).encode())
        for array in (split.file, split.length, split.labels):
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()
