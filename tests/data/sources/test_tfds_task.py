"""Tasks on the features of the real builders of TensorFlow Datasets, with mocked examples."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import data
from bit_keras.data.sources.task_labels import LABELS
from bit_keras.zoo.evaluation_sets import EVALUATION_SETS
from bit_keras.zoo.label_lists import list_of
from bit_keras.zoo.tasks import TASKS, VTAB
from tests.zoo.test_tasks import SIZES

COUNT = 8  # mocked examples of each split


def _objects(names: list[str]) -> tf.data.Dataset:
    """Examples with 3 to 10 objects each; the mock gives every member of a sequence another length."""
    random = np.random.default_rng(0)

    def examples():
        for number in range(COUNT):
            members = {"pixel_coords": random.uniform(5, 12, (number + 3, 3)), "type": np.arange(number + 3) % 5}
            members["location"] = random.uniform(1, 40, (number + 3, 3))
            yield {
                "image": tf.io.encode_png(np.full((8, 12, 3), number, np.uint8)),
                "objects": {name: members[name] for name in names},
            }

    kinds = {"pixel_coords": tf.float32, "location": tf.float32, "type": tf.int64}
    shapes = {"pixel_coords": (None, 3), "location": (None, 3), "type": (None,)}
    signature = {
        "image": tf.TensorSpec((), tf.string),
        "objects": {name: tf.TensorSpec(shapes[name], kinds[name]) for name in names},
    }
    return tf.data.Dataset.from_generator(examples, output_signature=signature)


@contextlib.contextmanager
def mocked(task, folder, examples=None):
    """Prepared data of a task with the true sizes of its splits, of which any reads COUNT examples."""
    members = LABELS[task.label].features.get("objects")
    if members:
        features = tfds.builder(task.builder, data_dir=folder).info.features
        assert set(members) <= set(features["objects"].feature)
        examples = examples or _objects(list(members))
    sizes = SIZES[task.builder.partition(":")[0]][0]
    with mocked_splits(task.builder, sizes, folder, (lambda *_, **__: examples) if examples else None):
        yield


@contextlib.contextmanager
def mocked_splits(name, sizes, folder, as_dataset=None):
    """Prepared data with these sizes of their splits, of which any reads COUNT examples, or those of `as_dataset`."""
    builder = tfds.builder(name, data_dir=folder)
    splits = [
        tfds.core.SplitInfo(
            name=split,
            shard_lengths=[size],
            num_bytes=0,
            filename_template=tfds.core.ShardedFileTemplate(
                dataset_name=builder.name, data_dir=builder.data_dir, split=split, filetype_suffix="tfrecord"
            ),
        )
        for split, size in sizes.items()
    ]
    builder.info.set_splits(tfds.core.SplitDict(splits))
    builder.data_path.mkdir(parents=True)
    builder.info.write_to_directory(builder.data_path)
    with tfds.testing.mock_data(COUNT, data_dir=str(folder), as_dataset_fn=as_dataset):
        yield


@pytest.mark.parametrize("task", VTAB, ids=lambda task: task.name)
def test_a_task_by_its_name(task, tmp_path):
    with mocked(task, tmp_path):
        source = data.load(task.name, tmp_path)
        assert (source.name, source.num_classes, source.test_split) == (task.name, task.num_classes, task.test)
        assert source.num_test == SIZES[task.builder.partition(":")[0]][1]
        assert source.num_train == COUNT
        assert (source.random_crop, source.flip) == (task.random_crop, task.flip)
        assert source.train.labels.shape == (COUNT,)
        assert set(source.train.labels) <= set(range(task.num_classes))
        image, _ = source.train.read(0)
        assert image.ndim == 3
        assert image.shape[-1] == 3  # also for grey images
        if task.label == "number of objects":
            assert source.train.labels.tolist() == list(range(COUNT))


def test_images_of_zeros_and_ones_are_scaled(tmp_path):
    task, pixels = TASKS["vtab/dsprites-xpos"], np.random.default_rng(0).integers(0, 2, (COUNT, 6, 6, 1), np.uint8)
    images = [tf.io.encode_png(image).numpy() for image in pixels]
    examples = tf.data.Dataset.from_tensor_slices({"image": images, "label_x_position": np.arange(COUNT)})
    with mocked(task, tmp_path, examples):
        source = data.load(task.name, tmp_path)
    np.testing.assert_array_equal(source.train.images, np.repeat(255 * pixels, 3, axis=-1))
    assert source.train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_augmentations_that_would_change_the_label(image_folder):
    source = data.load(image_folder)
    reading = {"batch_size": 4, "resize": 12, "crop": 8, "seed": 0, "keep": False}
    plain = next(iter(data.train_batches(source, random_crop=False, flip=False, **reading)))
    guarded = type(source)(**{**vars(source), "random_crop": False, "flip": False})
    for expected, found in zip(plain, next(iter(data.train_batches(guarded, **reading)))):
        np.testing.assert_array_equal(found, expected)


def test_what_a_task_needs_is_said(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", unreachable)
    with pytest.raises(data.DataError, match=r"such as vtab/clevr-count.*got 'vtab/clevr_count'"):
        data.load("vtab/clevr_count", tmp_path)
    with pytest.raises(data.DataError, match=r"(?s)vtab/eurosat: .*EuroSAT\.zip"):
        data.load("vtab/eurosat", tmp_path)


def test_real_labels(tmp_path):
    sets = [[3], [], [7, 8], list(range(9)), [999]]
    images = [tf.io.encode_jpeg(np.zeros((6, 6, 3), np.uint8)).numpy()] * len(sets)
    row = EVALUATION_SETS["imagenet2012_real"]

    def examples(*_, **__):
        signature = {"image": tf.TensorSpec((), tf.string), "real_label": tf.TensorSpec((None,), tf.int64)}
        pairs = [{"image": image, "real_label": labels} for image, labels in zip(images, sets, strict=True)]
        return tf.data.Dataset.from_generator(lambda: iter(pairs), output_signature=signature)

    with mocked_splits(row.builder, {"validation": len(sets)}, tmp_path, examples):
        source = data.load("imagenet2012_real", tmp_path)
        ((_, targets),) = data.test_batches(source, batch_size=8, crop=4)
        assert source.test.labels.shape == (5, 9)
    assert [np.flatnonzero(target).tolist() for target in targets.numpy()] == sets
    assert (source.num_classes, source.num_train, source.test_split) == (1_000, 0, "validation")
    assert list_of(source.class_names) == "ilsvrc2012"
    assert source.multi_label
    with pytest.raises(data.DataError, match="imagenet2012_real must not be used for training"):
        source.check_trainable()


@pytest.mark.parametrize(
    ("name", "splits", "test_split"),
    [
        ("imagenet_v2/threshold-0.7", {"test": 10}, "test"),
        ("imagenet2012", {"validation": 10}, "validation"),  # without the archive of the training images
    ],
)
def test_data_without_training_images(tmp_path, name, splits, test_split):
    with mocked_splits(name, splits, tmp_path):
        source = data.load(name, tmp_path)
        assert (source.num_train, source.num_test, source.num_classes) == (0, 10, 1_000)
        assert source.test_split == test_split
        with pytest.raises(data.DataError, match=f"{name} must not be used for training: it has no training images"):
            data.train_batches(source, batch_size=2, resize=8, crop=8, seed=0)
        with pytest.raises(data.DataError, match="a slice is one of the split train"):
            data.load(f"{name}[:10%]", tmp_path)
