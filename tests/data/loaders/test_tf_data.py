import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data.loaders import streams

ARGUMENTS = {"batch_size": 8, "resize": 12, "crop": 9, "seed": 3}


def _batches(source, count, **changes):
    dataset = data.train_batches(source, **{**ARGUMENTS, **changes})
    return [(images.numpy(), labels.numpy()) for images, labels in dataset.take(count)]


def _same(first, second):
    return all((a == b).all() for pair in zip(first, second, strict=True) for a, b in zip(*pair))


def test_shapes_and_ranges(any_source):
    dataset = data.train_batches(any_source, **ARGUMENTS)
    assert dataset.element_spec == (tf.TensorSpec((8, 9, 9, 3), tf.float32), tf.TensorSpec((8, 3), tf.float32))
    for images, labels in dataset.take(4):
        assert -1 <= images.numpy().min() < -0.5
        assert 0.5 < images.numpy().max() <= 1
        assert np.sort(labels).tolist() == [[0, 0, 1]] * 8
    assert dataset.cardinality() == tf.data.INFINITE_CARDINALITY or dataset.cardinality() < 0


def test_batch_is_a_pure_function_of_seed_and_step(any_source):
    batches = _batches(any_source, 12)
    keras.utils.set_random_seed(99)
    for start_step in (1, 5, 11):  # a pass has 5 steps, or 9 / 8 with few-shot data
        assert _same(_batches(any_source, 12 - start_step, start_step=start_step), batches[start_step:])
    assert not _same(_batches(any_source, 12, seed=4), batches)
    for first, second in itertools.combinations(batches, 2):
        assert not _same([first], [second])


def test_shards_are_the_batch(any_source):
    whole = _batches(any_source, 4, start_step=3)  # steps 3 to 6 cross the end of a pass
    shards = [_batches(any_source, 4, start_step=3, shard=(index, 4)) for index in range(4)]
    for step, (images, labels) in enumerate(whole):
        for index in range(4):
            np.testing.assert_array_equal(shards[index][step][0], images[index::4])
            np.testing.assert_array_equal(shards[index][step][1], labels[index::4])


def test_example_is_augmented_anew_in_every_pass(array_source):
    """A source with one training example, whose batches differ by augmentation only."""
    one = array_source.few_shot(1, seed=0)
    images = np.concatenate([images for images, _ in _batches(one, 6, resize=64, crop=32)])
    labels = np.concatenate([labels.argmax(1) for _, labels in _batches(one, 6, resize=64, crop=32)])
    for label in range(3):
        assert len(np.unique(images[labels == label], axis=0)) > 0.8 * np.sum(labels == label)


def test_switched_off_augmentation_leaves_the_resized_examples(any_source):
    images, labels = zip(*_batches(any_source, 6, random_crop=False, flip=False))
    examples = streams.shuffled(any_source.train, ARGUMENTS["seed"]).take(48).as_numpy_iterator()
    for image, one_hot, (original, label) in zip(np.concatenate(images), np.concatenate(labels), examples):
        original = tf.io.decode_png(original) if isinstance(original, bytes) else original
        np.testing.assert_allclose(image, tf.image.resize(original, (9, 9)).numpy() / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(one_hot, np.eye(3)[label])


@pytest.mark.parametrize("switches", [{"flip": False}, {"random_crop": False}])
def test_each_switch_reaches_the_images(array_source, switches):
    assert not _same(_batches(array_source, 2, **switches), _batches(array_source, 2))


def test_half_of_the_images_are_mirrored():
    left_bright = np.zeros((1, 4, 4, 3), np.uint8)
    left_bright[:, :, :2] = 255
    source = data.from_arrays(left_bright, [0], left_bright, [0])
    ((images, _),) = _batches(source, 1, batch_size=1_000, random_crop=False, crop=4)
    mirrored = np.sum(images[:, 0, 0, 0] < 0)
    assert 437 < mirrored < 563  # four standard deviations: sqrt(1000 * 0.5 * 0.5)


@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_evaluation_counts_every_example_once(any_source, batch_size):
    dataset = data.test_batches(any_source, batch_size=batch_size, crop=9)
    images, labels = zip(*dataset.as_numpy_iterator())
    assert {len(batch) for batch in images[:-1]} <= {batch_size}
    assert dataset.cardinality() == len(images)
    examples = [(_decoded(image), label) for image, label in streams.in_order(any_source.test).as_numpy_iterator()]
    images, labels = np.concatenate(images), np.concatenate(labels)
    assert len(images) == len(labels) == len(examples) == 11
    for image, one_hot, (original, label) in zip(images, labels, examples):
        np.testing.assert_allclose(image, tf.image.resize(original, (9, 9)).numpy() / 127.5 - 1, atol=1e-6)
        np.testing.assert_array_equal(one_hot, np.eye(3)[label])


def _decoded(image):
    return tf.io.decode_png(image) if isinstance(image, bytes) else image


def test_keras_trains_and_evaluates_on_the_batches(array_source):
    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    model.fit(data.train_batches(array_source, **ARGUMENTS), steps_per_epoch=2, epochs=2, shuffle=False, verbose=0)
    result = model.evaluate(data.test_batches(array_source, batch_size=4, crop=9), verbose=0, return_dict=True)
    assert result["accuracy"] * 11 == pytest.approx(round(result["accuracy"] * 11), abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be 1 or more, got 0"),
        ({"crop": 0}, "crop must be 1 or more, got 0"),
        ({"resize": 8}, "resize must not be less than crop, got 8 and 9"),
        ({"start_step": -1}, "start_step must be 0 or more, got -1"),
        ({"shard": (2, 2)}, r"shard must be \(index, count\) with 0 <= index < count"),
        ({"shard": (0, 3)}, r"count divide batch_size 8; got \(0, 3\)"),
    ],
)
def test_bad_arguments(array_source, changes, message):
    with pytest.raises(ValueError, match=message):
        data.train_batches(array_source, **{**ARGUMENTS, **changes})


def test_resize_is_not_looked_at_without_random_crop(array_source):
    assert _same(_batches(array_source, 1, random_crop=False, resize=1), _batches(array_source, 1, random_crop=False))


@pytest.mark.parametrize("changes", [{"batch_size": 0}, {"crop": -2}])
def test_bad_arguments_of_evaluation(array_source, changes):
    (name, value), *_ = changes.items()
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, got {value}"):
        data.test_batches(array_source, **{"batch_size": 4, "crop": 9, **changes})
