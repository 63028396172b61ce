"""Sources of benchmark tasks, whose data are in TensorFlow Datasets."""

import numpy as np

from bit_keras.data.errors import DataError
from bit_keras.data.examples import no_examples
from bit_keras.data.source import Source
from bit_keras.data.sources.task_labels import LABELS, REAL_LABELS
from bit_keras.data.sources.tfds import check_tfrecord, image_size, prepared
from bit_keras.data.sources.tfds_stream import Reading, Stream
from bit_keras.zoo.evaluation_sets import EvaluationSet
from bit_keras.zoo.tasks import Task, get_task


def open_task(name: str, data_dir: str | None = None, manual_dir: str | None = None) -> Source:
    """Opens a task of `bit_keras.zoo.tasks`, whose data are downloaded and prepared if necessary.

    The encoded training images are read into memory: there are 1,000 of them.

    Args:
        name: of the task.
        data_dir, manual_dir: as in `open_tfds`.

    Raises:
        DataError: the task is unknown, the data cannot be downloaded or prepared, or archives or packages are missing.
    """
    try:
        task = get_task(name)
    except ValueError as error:
        raise DataError(str(error)) from error
    try:
        builder = prepared(task.builder, data_dir, manual_dir)
    except DataError as error:
        raise DataError(f"{task.name}: {error}\n{task.preparation.note}".rstrip()) from error
    check_tfrecord(task.name, builder)
    reading = Reading("image", LABELS[task.label], task.scale)
    train, test = (Stream(builder, split, reading) for split in (task.train, task.test))
    return Source(
        name=task.name,
        class_names=_class_names(task, builder.info.features),
        image_size=image_size(train, builder.info.features["image"].shape),
        train=train.take(np.arange(len(train))),
        test=test,
        identity={"kind": "tfds", "fingerprint": builder.info.full_name, "task": task.name},
        test_split=task.test,
        random_crop=task.random_crop,
        flip=task.flip,
    )


def open_real(row: EvaluationSet, data_dir: str | None = None, manual_dir: str | None = None) -> Source:
    """Opens the validation images of ILSVRC-2012 with ReaL's labels, any number of them for each image.

    Args:
        row: of the table of evaluation sets.
        data_dir, manual_dir: as in `open_tfds`.

    Raises:
        DataError: the data cannot be downloaded or prepared, or archives are missing.
    """
    builder = prepared(row.builder, data_dir, manual_dir)
    check_tfrecord(row.name, builder)
    test = Stream(builder, row.split, Reading("image", REAL_LABELS))
    return Source(
        name=row.name,
        class_names=tuple(builder.info.features["real_label"].feature.names),
        image_size=image_size(test, builder.info.features["image"].shape),
        train=no_examples(),
        test=test,
        identity={"kind": "tfds", "fingerprint": builder.info.full_name},
        multi_label=True,
        test_split=row.split,
        evaluation_only=row.reason,
    )


def _class_names(task: Task, features) -> tuple[str, ...]:
    """Returns the names of a label that is a feature, numbers for one that is computed."""
    (feature, *_) = LABELS[task.label].features
    names = getattr(features[feature], "names", None) or ()
    if len(names) != task.num_classes:
        names = map(str, range(task.num_classes))
    return tuple(names)
