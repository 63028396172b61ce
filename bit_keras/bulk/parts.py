"""The output of a job: a folder of files, each with the rows of a part of the images, and what the job is."""

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from pyarrow import parquet

from bit_keras.bulk.images import Image
from bit_keras.bulk.places import Place, written
from bit_keras.inference.prediction import Prediction
from bit_keras.system import locks

FORMATS = ("parquet", "tfrecord")
MANIFEST = "_job.json"  # readers of Parquet skip names that begin with "_"


class Part(NamedTuple):
    """Some of the images of a job.

    Attributes:
        name: of its file without its ending; it tells number and images.
        images: in the order of the rows.
    """

    name: str
    images: Sequence[Image]


def divided(images: Sequence[Image], size: int) -> list[Part]:
    """Returns the parts of a job: `size` images each, in order; the last one may be smaller."""
    parts = []
    for number, first in enumerate(range(0, len(images), size)):
        some = images[first : first + size]
        parts.append(Part(f"part-{number:06d}-{digest(some)[:12]}", some))
    return parts


def digest(images: Sequence[Image]) -> str:
    """Returns a hash of the names of images."""
    return hashlib.sha256(json.dumps(images).encode()).hexdigest()


class Output:
    """The folder of a job's results.

    Args:
        place: the folder; made if it does not exist.
        identity: JSON-able values that determine the rows. A folder with others is refused.
        file_format: one of `FORMATS`.

    Raises:
        ValueError: the folder holds the results of another job.
        FileExistsError: it holds something else, or is a file.
        OSError: it cannot be read or written.
    """

    def __init__(self, place: Place, identity: Mapping[str, object], file_format: str):
        self._place, self._ending, self._write = place, f".{file_format}", _WRITERS[file_format]
        try:
            self._open(identity)
        except (FileExistsError, PermissionError) as error:
            raise type(error)(f"output: {error}") from error
        except OSError as error:
            raise OSError(f"output: {place.address} cannot be used: {error}") from error

    def _open(self, identity: Mapping[str, object]) -> None:
        system, manifest = self._place.system, self._place / MANIFEST
        system.makedirs(self._place.path, exist_ok=True)
        self._there = {path.rpartition("/")[2] for path in system.ls(self._place.path, detail=False)}
        others = {name for name in self._there if not name.startswith(".")} - {MANIFEST}
        if others and MANIFEST not in self._there:
            raise FileExistsError(f"must be a new or empty folder, or that of the same job, got {self._place.address}")
        if others:
            _compare(self._place.address, json.loads(system.cat_file(manifest.path)), identity)
        else:  # a job that has written no rows does not bind the next one
            with written(manifest) as path:
                path.write_text(json.dumps(identity, indent=2) + "\n")

    @property
    def address(self) -> str:
        return self._place.address

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Locks the folder, if it is on a local disk, for the block; raises BlockingIOError if it is locked."""
        if not self._place.is_local:
            yield
            return
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(locks.held(Path(self._place.path, locks.NAME)))
            except locks.NoLocksError:
                pass
            except BlockingIOError:
                raise BlockingIOError(f"output: another job is writing to {self._place.address}") from None
            yield

    def has(self, part: Part) -> bool:
        """Tells whether the file of a part existed at the start."""
        return part.name + self._ending in self._there

    def write(self, part: Part, rows: pa.Table) -> None:
        """Writes the file of a part, whole or not at all."""
        with written(self._place / (part.name + self._ending)) as path:
            self._write(rows, path)


def _compare(address: str, there: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    differences = [
        f"{name} {_shown(there.get(name))} instead of {_shown(wanted.get(name))}"
        for name in {**there, **wanted}
        if there.get(name) != wanted.get(name)
    ]
    if differences:
        raise ValueError(
            f"output: {address} holds the results of another job, with {'; '.join(differences)}: give a new folder"
        )


def _shown(value) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def identity(settings, **others) -> dict[str, object]:
    """Returns the values that determine the rows of a job, JSON-able."""
    return json.loads(json.dumps({**dataclasses.asdict(settings), **others}))


def table(rows: Sequence[Prediction], what: str) -> pa.Table:
    """Returns rows as a table with the columns file, classes, probabilities, indices, features and error.

    Args:
        rows: predictions, with features unless only classes are asked for.
        what: "predictions" leaves features out, "features" the classes, "both" nothing.
    """
    columns = {"file": pa.array([_text(row.file) for row in rows], pa.string())}
    if what != "features":
        columns |= {
            "classes": pa.array([list(map(_text, row.names)) for row in rows], pa.list_(pa.string())),
            "probabilities": pa.array([row.probabilities for row in rows], pa.list_(pa.float32())),
            "indices": pa.array([row.indices for row in rows], pa.list_(pa.int32())),
        }
    if what != "predictions":
        columns["features"] = pa.array([row.features for row in rows], pa.list_(pa.float32()))
    columns["error"] = pa.array([row.error and _text(row.error) for row in rows], pa.string())
    return pa.table(columns)


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()  # bytes in a file's name that are no text


def _write_parquet(rows: pa.Table, path: Path) -> None:
    parquet.write_table(rows, path)


def _write_tfrecord(rows: pa.Table, path: Path) -> None:
    """Writes `tf.train.Example`s; an error is "" if there is none."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in rows.to_pylist():
            writer.write(tf.train.Example(features=tf.train.Features(feature=dict(_features(row)))).SerializeToString())


def _features(row: Mapping[str, object]) -> Iterator[tuple]:
    import tensorflow as tf

    for name, value in row.items():
        values = value if isinstance(value, list) else [value or ""]
        if value is None and name == "features":
            continue
        if name in ("file", "classes", "error"):
            values = [text.encode() for text in values]
            yield name, tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
        elif name == "indices":
            yield name, tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            yield name, tf.train.Feature(float_list=tf.train.FloatList(value=values))


_WRITERS = {"parquet": _write_parquet, "tfrecord": _write_tfrecord}
