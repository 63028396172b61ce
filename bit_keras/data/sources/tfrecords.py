"""Sources from TFRecord files of `tf.train.Example`, with random access to the records."""

import dataclasses
import hashlib
import os
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf.message import DecodeError

from bit_keras.data import held_out
from bit_keras.data.errors import DataError, check_labels
from bit_keras.data.loaders import preprocessing_numpy, streams
from bit_keras.data.remembered import Table, remembered, stamp
from bit_keras.data.source import Source, median_size
from bit_keras.data.sources.scan import conditions, scan
from bit_keras.data.sources.shards import find_shards
from bit_keras.data.splits import assign
from bit_keras.data.tensorflow_for_data import tf
from bit_keras.system.logs import doing, logger
from bit_keras.system.texts import counted

# The names of features; the first one of the right type in the first record is used.
_IMAGES = ("image/encoded", "image", "encoded", "image_raw", "jpeg", "png")
_LABELS = ("image/class/label", "label", "labels", "class", "target", "category")
_NAMES = ("class_names.txt", "labels.txt", "classes.txt", "label.labels.txt")  # the last is that of TFDS
_NUMBERED = re.compile(r"(\d+):(.+)")  # a line of TF-Slim: "0:daisy"
_HEADER, _FOOTER = 12, 4  # bytes before a record (its length and a checksum) and after it (checksum of the data)
_SAMPLE = 64  # first images, whose median size is that of the data
_CHUNK = 1_024  # records that are parsed together
_MESSAGE = 300  # most characters quoted from a message, which may contain a whole record
_GZIP = b"\x1f\x8b"
_COUNT = struct.Struct("<q")


@dataclasses.dataclass(frozen=True, eq=False)
class _Shard:
    """The n records of one file.

    Attributes:
        stamp: of the file, see `remembered.stamp`.
        lengths: int64 [n], length of the data in bytes.
        counts: int32 [n], number of labels.
        sizes: int32 [n, 2], height and width of each image; 0 before the images are read.
        labels: int64 [sum of counts].
    """

    stamp: bytes | None
    lengths: np.ndarray
    counts: np.ndarray
    sizes: np.ndarray
    labels: np.ndarray

    def to_row(self) -> bytes:
        """Returns the arrays in bytes, after the number of records."""
        columns = (self.lengths, self.counts, self.sizes, self.labels)
        return b"".join([_COUNT.pack(len(self.lengths)), *(column.tobytes() for column in columns)])

    @classmethod
    def from_row(cls, key: bytes, row: bytes) -> "_Shard":
        (count,), at = _COUNT.unpack_from(row), _COUNT.size
        columns = []
        for dtype, size in ((np.int64, count), (np.int32, count), (np.int32, 2 * count)):
            columns.append(np.frombuffer(row, dtype, size, at))
            at += columns[-1].nbytes
        lengths, counts, sizes = columns
        return cls(key, lengths, counts, sizes.reshape(-1, 2), np.frombuffer(row, np.int64, offset=at))


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Labelled images in TFRecord files; a `Split`.

    Attributes:
        files: names of the files, [F].
        file: int32 [N], index of each record's file in `files`.
        offset: int64 [N], beginning of the record's data in the file, in bytes.
        length: int64 [N], length of the data in bytes.
        labels: int64 [N], or [N, L] padded with -1.
        number: int32 [N], number of each record in its file, from 0 on.
        image: name of the feature with the encoded image.
        sizes: int32 [N, 2], height and width of each image; 0 before the images are read.
    """

    files: np.ndarray
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray
    labels: np.ndarray
    number: np.ndarray
    image: str
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image, uint8 [H, W, 3], and its label, int64 [] or [L].

        Raises:
            DataError: the image cannot be read.
        """
        try:
            return preprocessing_numpy.decode(self.read_encoded(index)), self.labels[index]
        except (OSError, ValueError) as error:
            raise DataError(f"{self.name(index)}: {error}", files=[self.name(index)]) from error

    def read_encoded(self, index: int) -> bytes:
        """Returns the encoded image of a record; raises OSError or ValueError with the reason why there is none."""
        with open(self.files[self.file[index]], "rb") as file:
            file.seek(self.offset[index])
            record = file.read(self.length[index])
        try:
            return tf.train.Example.FromString(record).features.feature[self.image].bytes_list.value[0]
        except (DecodeError, IndexError) as error:
            raise ValueError("the record is damaged") from error

    def name(self, index: int) -> str:
        """Returns the name of a record for messages: its file, and its number in the file, from 0 on."""
        return f"{self.files[self.file[index]]}, record {self.number[index]}"

    def in_order(self) -> tf.data.Dataset:
        return self._read(tf.data.Dataset.range(len(self)))

    def shuffled(self, seed: int, start: int, shard: tuple[int, int] = (0, 1)) -> tf.data.Dataset:
        return self._read(streams.shuffled_indices(len(self), seed, start, shard))

    def take(self, indices: np.ndarray) -> "Records":
        columns = ("file", "offset", "length", "labels", "number", "sizes")
        return dataclasses.replace(self, **{name: getattr(self, name)[indices] for name in columns})

    subset = take

    def fits_in(self, limit: int) -> bool:
        """See `bit_keras.data.source.Split`."""
        return int(self.length.sum() + 3 * self.sizes.prod(axis=1, dtype=np.int64).sum()) <= limit

    def _read(self, indices: tf.data.Dataset) -> tf.data.Dataset:
        sizes = np.array([os.path.getsize(name) for name in self.files], np.int64)
        with tf.device("CPU"):  # leaves the accelerator's memory to the model
            columns = [tf.constant(c) for c in (self.files, sizes, self.file, self.offset, self.length, self.labels)]
        names, sizes, file, offset, length, labels = columns

        @tf.autograph.experimental.do_not_convert
        def read(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            number, begin, size = (tf.gather(column, index) for column in (file, offset, length))
            rest = tf.gather(sizes, number) - begin - size
            # The only op of TensorFlow that reads a range of a file.
            records = tf.data.FixedLengthRecordDataset(tf.gather(names, number), size, begin, rest, buffer_size=size)
            image = tf.io.FixedLenFeature([], tf.string)
            example = tf.io.parse_single_example(records.get_single_element(), {self.image: image})
            return example[self.image], tf.gather(labels, index)

        return indices.map(read, num_parallel_calls=tf.data.AUTOTUNE)


def open_tfrecords(
    root: str | os.PathLike,
    seed: int = 0,
    skip_unreadable: bool = False,
    divide: bool = True,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Source:
    """Opens a folder of TFRecord files.

    Every file is read once to verify its checksums and to index its records, and every image is decoded once, so that
    training does not fail on a damaged one. Later starts remember the index of a file that has not changed. It takes
    36 + 8 L bytes per record, where L is the largest number of labels of a record.

    Args:
        root: folder with uncompressed files of the split "train", and of "test", or of "validation", "valid" or "val",
            or of both; and with "class_names.txt" or "labels.txt", one name per line. The split is a word in the name
            of a file, such as "train-00000-of-00010" or "flowers_train.tfrecord", or of its folder. Without "test", or
            if that has no labels, the validation split is for testing; without both, 20 % of the images of each class.
            Records are of type `tf.train.Example`: an encoded image in the feature "image/encoded" or "image", and one
            or several int64 in [0, number of classes), in "image/class/label", "label", "labels", "class" or "target".
        seed: of the choice of test images where there is no such split, in [0, 2**32).
        skip_unreadable: True leaves out the images that cannot be used, as if they did not exist.
        divide: as in `open_folder`.
        image_column, label_column: names of the features, None for those above.

    Raises:
        DataError: the folder does not have these files, a file cannot be read or contains a faulty record, or an image
            cannot be used; `files` of the error then are all such records.

    Example:
        >>> import os
        >>> import tensorflow as tf
        >>> from bit_keras.data.sources.tfrecords import open_tfrecords
        >>> image = tf.io.read_file("robin.jpg").numpy()
        >>> features = {
        ...     "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        ...     "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
        ... }
        >>> os.mkdir("records")
        >>> with open("records/class_names.txt", "w") as file:
        ...     print("robin", file=file)
        >>> with tf.io.TFRecordWriter("records/train.tfrecord") as writer:
        ...     for _ in range(5):
        ...         writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
        >>> open_tfrecords("records")
        Source(records: 4 training and 1 test example of 1 classes)
    """
    root = Path(root).expanduser()
    lines, class_names = _read_names(root)
    images, labels = (
        (given,) if given else usual for given, usual in ((image_column, _IMAGES), (label_column, _LABELS))
    )
    shards = find_shards(root)

    def is_labelled(name: str) -> bool:
        """Competitions publish test records without a label, or with -1."""
        _, first = _first_record(shards[name])
        key = _feature_of(first, labels, "int64_list")
        return first is None or (key is not None and list(first[key].int64_list.value) != [-1])

    names = assign(root, shards, is_labelled)
    features = ",".join([*images, *labels])
    with remembered("TFRecord files", str(root.resolve()), features, conditions()) as table:
        scanned = {split: _scan(shards[name], len(class_names), images, labels, table) for split, name in names.items()}
        splits = {split: records for split, (records, _) in scanned.items()}
        multi_label = any(records.labels.ndim == 2 for records in splits.values())
        if multi_label:
            for split, records in splits.items():
                splits[split] = dataclasses.replace(records, labels=records.labels.reshape(len(records), -1))
        found = [shard for _, shards in scanned.values() for shard in shards]
        splits, size = _check_images(splits, found, skip_unreadable, table)
    test_split, identity = names.get("test", "test"), {"kind": "tfrecords"}
    if "test" not in splits and divide:
        splits["train"], splits["test"] = held_out.divide(
            splits["train"], class_names, held_out.TEST_SHARE, seed, held_out.FOR_TEST
        )
        if seed:  # an identity without it means seed 0
            identity["split_seed"] = seed
    elif "test" not in splits:
        splits["test"], test_split = splits["train"], "all"
    identity["fingerprint"] = _fingerprint(lines, [splits["train"], splits["test"]])
    if splits["train"].image != _IMAGES[0]:
        identity["image"] = splits["train"].image
    if "validation" in splits:
        identity["validation"] = _fingerprint(lines, [splits["validation"]])
    return Source(
        name=root.resolve().name,
        class_names=class_names,
        image_size=size,
        identity=identity,
        multi_label=multi_label,
        test_split=test_split,
        **splits,
    )


def _check_images(
    splits: dict[str, Records], shards: Sequence[_Shard], skip_unreadable: bool, table: Table
) -> tuple[dict[str, Records], tuple[int, int]]:
    """Decodes every image of unknown size once; returns the usable records, and the median size of some of them.

    Args:
        splits: {split: its records}, in the order of the shards.
        shards: all of them; those without faults are put into the table, also if the check is interrupted.
        skip_unreadable: as in `open_tfrecords`.
        table: what is remembered of the shards.
    """
    parts, ends = list(splits.values()), np.cumsum([len(records) for records in splits.values()])

    def of(item: int) -> tuple[Records, int]:
        part = int(np.searchsorted(ends, item, "right"))
        return parts[part], item - int(ends[part]) + len(parts[part])

    def read(item: int) -> bytes:
        records, index = of(item)
        return records.read_encoded(index)

    def name(item: int) -> str:
        records, index = of(item)
        return records.name(index)

    sizes = np.concatenate([records.sizes for records in parts])
    try:
        scan(range(ends[-1]), skip_unreadable, read, name, sizes=sizes)
    finally:
        of_shards = np.split(sizes, np.cumsum([len(shard.sizes) for shard in shards])[:-1])
        for shard, found in zip(shards, of_shards, strict=True):
            if found.all() and not shard.sizes.all():
                table.put(shard.stamp, dataclasses.replace(shard, sizes=found).to_row())
    checked = {}
    for (split, records), found in zip(splits.items(), np.split(sizes, ends[:-1]), strict=True):
        usable = np.flatnonzero(found[:, 0])
        if not len(usable):
            raise DataError(f"{records.files[0]} and others: {split} must have images that can be used, got none")
        checked[split] = dataclasses.replace(records, sizes=found).take(usable)
    return checked, median_size(checked["train"].sizes[:_SAMPLE])


def _read_names(root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the lines of the file of class names, and the names in them."""
    for path in (root / name for name in _NAMES):
        if path.is_file():
            lines = tuple(path.read_text(encoding="utf-8").splitlines())
            if not lines:
                raise DataError(f"{path} must hold the names of the classes, one a line, got none")
            numbered = [_NUMBERED.fullmatch(line) for line in lines]
            if all(match and int(match[1]) == number for number, match in enumerate(numbered)):
                return lines, tuple(match[2] for match in numbered)
            return lines, lines
    raise DataError(f"{root} must hold the names of the classes, one a line, in {' or '.join(_NAMES[:2])}; got neither")


def _scan(
    paths: Sequence[Path], num_classes: int, images: Sequence[str], labels: Sequence[str], table: Table
) -> tuple[Records, list[_Shard]]:
    """Indexes the records of the files and reads their labels, from the first of these features that exist.

    Files in the table are not read.
    """
    first, features = _first_record(paths)
    if features is None:
        raise DataError(f"{paths[0].parent}: TFRecord files must hold records, got none in {paths[0].name} and others")
    image = _require_feature(first, features, images, "bytes_list", "--image_column")
    parse = _parser(image, _require_feature(first, features, labels, "int64_list", "--label_column"))
    shards = []
    with doing(lambda: f"{len(shards)} of {len(paths)} TFRecord files read"):
        for path in paths:
            key = stamp(path)  # before the file is read, so that a later change is noticed
            row = table.get(key)
            shards.append(_scan_file(path, key, image, parse) if row is None else _Shard.from_row(key, row))
            check_labels(f"{path}: labels", shards[-1].labels, num_classes)
    counts = [len(shard.lengths) for shard in shards]
    offset = np.concatenate([offsets(shard.lengths) for shard in shards])
    logger.info("%s in %s like %s", counted(len(offset), "record"), counted(len(paths), "file"), paths[0])
    records = Records(
        files=np.array([str(path) for path in paths], object),
        file=np.repeat(np.arange(len(paths), dtype=np.int32), counts),
        offset=offset,
        length=np.concatenate([shard.lengths for shard in shards]),
        labels=_pad(*(np.concatenate([getattr(shard, name) for shard in shards]) for name in ("labels", "counts"))),
        number=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        image=image,
        sizes=np.concatenate([shard.sizes for shard in shards]),
    )
    return records, shards


def offsets(lengths: np.ndarray) -> np.ndarray:
    """Returns where the data of each record of a file begin, from the lengths of all of them, int64 [n] in bytes."""
    return np.cumsum(lengths + _HEADER + _FOOTER) - lengths - _FOOTER


def _first_record(paths: Sequence[Path]) -> tuple[Path | None, Mapping | None]:
    """Returns the first file that has a record, and the features of that; None if there is no record."""
    for path in paths:
        try:
            first = next(iter(tf.data.TFRecordDataset(str(path)).take(1).as_numpy_iterator()), None)
            if first is not None:
                return path, tf.train.Example.FromString(first).features.feature
        except tf.errors.OpError as error:
            raise unreadable(path, error) from error
        except DecodeError as error:
            raise DataError(f"{path}: records must be examples of tf.train.Example: {error}") from error
    return None, None


def _feature_of(features: Mapping | None, names: Sequence[str], kind: str) -> str | None:
    """Returns the first of these names that an example has as a feature of this kind."""
    present = [name for name in names if features and name in features]
    return next((name for name in present if features[name].WhichOneof("kind") in (kind, None)), None)


def _require_feature(path: Path, features: Mapping, names: Sequence[str], kind: str, flag: str) -> str:
    key = _feature_of(features, names, kind)
    if key is None:
        has = ", ".join(f"{name} ({features[name].WhichOneof('kind')})" for name in sorted(features))
        raise DataError(
            f"{path}: an example must have one of {', '.join(names)} as {kind}, or {flag} name it; got {has or 'none'}"
        )
    return key


def _parser(image: str, label: str) -> Callable:
    """Returns a function that parses serialized examples.

    Its results are the bytes of each example, the bytes of each image, the number of labels per example, all labels.
    """
    features = {image: tf.io.FixedLenFeature([], tf.string, ""), label: tf.io.RaggedFeature(tf.int64)}

    @tf.autograph.experimental.do_not_convert
    def parse(serialized: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_example(serialized, features)
        return (
            tf.strings.length(serialized),
            tf.strings.length(example[image]),
            example[label].row_lengths(),
            example[label].values,
        )

    return parse


def _scan_file(path: Path, key: bytes | None, image: str, parse: Callable) -> _Shard:
    """Reads the records of a file, apart from the sizes of the images."""
    chunks = [(np.empty(0, np.int64),) * 4]
    try:
        records = tf.data.TFRecordDataset(str(path)).batch(_CHUNK)
        chunks += list(records.map(parse, num_parallel_calls=tf.data.AUTOTUNE).as_numpy_iterator())
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError) as error:  # the latter: binary data in the message
        raise DataError(f"{path}: an example does not fit: {str(error)[:_MESSAGE]}") from error
    except tf.errors.OpError as error:
        raise unreadable(path, error) from error
    sizes, images, counts, labels = (np.concatenate(column).astype(np.int64) for column in zip(*chunks))
    for what, column in ((image, images), ("label", counts)):
        missing = np.flatnonzero(column == 0)
        if len(missing):
            raise DataError(f"{path}: every example must have {what}; record {missing[0]} has none")
    return _Shard(key, sizes, counts.astype(np.int32), np.zeros((len(sizes), 2), np.int32), labels)


def unreadable(path: Path, error: tf.errors.OpError) -> DataError:
    """Returns the error for a file that TensorFlow cannot read."""
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
