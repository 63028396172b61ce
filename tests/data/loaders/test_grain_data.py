"""Batches of grain, compared with those of tf.data where nothing is random."""

import io
import itertools
import threading

import keras
import numpy as np
import pytest
from PIL import Image

from bit_keras import data
from bit_keras.data.examples import Examples
from bit_keras.data.loaders.grain_data import Batches

ARGUMENTS = {"batch_size": 8, "resize": 12, "crop": 9, "seed": 3, "loader": "grain"}


@pytest.fixture(params=["arrays", "folder", "few_shot", "encoded"])
def source(request) -> data.Source:
    """The same examples from each kind of source with random access."""
    if request.param == "folder":
        return data.load(request.getfixturevalue("image_folder"))
    if request.param == "encoded":
        return data.load("numbered/fixed", data_dir=str(request.getfixturevalue("tfds_dir"))).few_shot(12, seed=0)
    source = request.getfixturevalue("array_source")
    return source.few_shot(3, seed=0) if request.param == "few_shot" else source


def _batches(source, count, **changes):
    return list(itertools.islice(data.train_batches(source, **{**ARGUMENTS, **changes}), count))


def _same(first, second):
    return all((a == b).all() for pair in zip(first, second, strict=True) for a, b in zip(*pair))


def test_test_batches_are_those_of_tf_data(array_source, image_folder):
    for source in (array_source, data.load(image_folder)):
        for batch_size, crop in itertools.product((4, 11, 50), (1, 5, 9, 16)):
            ours = list(data.test_batches(source, batch_size=batch_size, crop=crop, loader="grain"))
            theirs = list(data.test_batches(source, batch_size=batch_size, crop=crop).as_numpy_iterator())
            for (images, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
                assert images.dtype == labels.dtype == np.float32
                np.testing.assert_allclose(images, expected, atol=1e-5)
                np.testing.assert_array_equal(labels, expected_labels)


def test_an_image_is_prepared_as_by_tf_data(array_source):
    """With one example and no random augmentation there is only one order."""
    one = array_source.train.take(np.array([5]))
    source = data.from_arrays(one.images, one.labels, one.images, one.labels, class_names=list("abc"))
    for resize, crop in ((12, 9), (4, 3), (40, 33)):
        changes = {"resize": resize, "crop": crop, "random_crop": False, "flip": False}
        for (images, labels), (expected, expected_labels) in zip(
            _batches(source, 2, **changes), _batches(source, 2, **changes, loader="tf.data"), strict=True
        ):
            np.testing.assert_allclose(images, expected, atol=1e-5)
            np.testing.assert_array_equal(labels, expected_labels)


def test_every_pass_has_every_example_once_in_another_order(source):
    n = source.num_train
    batches = _batches(source, 5, batch_size=n, random_crop=False, flip=False)
    expected = data.test_batches(
        data.from_arrays(*_arrays(source.train), *_arrays(source.train), class_names=list("abc")), batch_size=n, crop=9
    )
    ((images, labels),) = expected.as_numpy_iterator()
    orders = []
    for batch in batches:
        distances = np.abs(batch[0][:, None] - images[None]).max(axis=(-1, -2, -3))
        order = distances.argmin(axis=1)
        assert distances.min(axis=1).max() < 1e-5
        assert sorted(order) == list(range(n))
        np.testing.assert_array_equal(batch[1], labels[order])
        orders.append(tuple(order))
    assert len(set(orders)) == 5


def _arrays(split):
    images, labels = zip(*(split.read(index) for index in range(len(split))))
    return np.stack(images), np.array(labels)


def test_batch_is_a_pure_function_of_seed_and_step(source):
    batches = _batches(source, 12)
    assert {(images.shape, labels.shape) for images, labels in batches} == {((8, 9, 9, 3), (8, 3))}
    keras.utils.set_random_seed(99)
    for start_step in (1, 5, 11):
        assert _same(_batches(source, 12 - start_step, start_step=start_step), batches[start_step:])
    assert not _same(_batches(source, 12, seed=4), batches)
    for first, second in itertools.combinations(batches, 2):
        assert not _same([first], [second])
    by_number = data.train_batches(source, **ARGUMENTS)
    for number in (3, 4, 0, 9, 9):
        assert _same([by_number[number]], [batches[number]])
    assert _same(_batches(source, 1, start_step=10**12), _batches(source, 1, start_step=10**12))


def test_shards_are_the_batch(source):
    whole = _batches(source, 4, start_step=3)  # steps 3 to 6 cross the end of a pass
    for index in range(4):
        shard = _batches(source, 4, start_step=3, shard=(index, 4))
        assert _same(shard, [(images[index::4], labels[index::4]) for images, labels in whole])


def test_orders_are_uniform_over_passes_and_seeds():
    """Each of the 24 orders of 4 examples is as frequent as the others."""
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1).repeat(3, axis=-1)
    source = data.from_arrays(images, np.arange(4), images, np.arange(4))
    switches = {"crop": 1, "random_crop": False, "flip": False}
    ((_, labels),) = _batches(source, 1, batch_size=4 * 480, **switches)
    of_seeds = [_batches(source, 1, batch_size=4, seed=seed, **switches)[0][1].argmax(1) for seed in range(30)]
    assert len({tuple(order) for order in of_seeds}) >= 10
    _, counts = np.unique(labels.argmax(1).reshape(-1, 4), axis=0, return_counts=True)
    assert len(counts) == 24
    # Chi-squared with 23 degrees of freedom: exceeds 50 for one seed in a thousand.
    assert np.sum((counts - 20) ** 2 / 20) < 50


def test_crops_and_flips_are_uniform():
    image = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 3), np.uint8)
    source = data.from_arrays(image, [0], image, [0])
    ((images, _),) = _batches(source, 1, batch_size=1_000, resize=20, crop=16)
    windows = np.lib.stride_tricks.sliding_window_view(image[0] / 127.5 - 1, (16, 16, 3))[:, :, 0]
    corners = np.stack([windows[..., 0, 0, :], windows[..., 0, -1, :]])  # [2, 5, 5, 3]: unchanged, mirrored
    counts = np.zeros(corners.shape[:3], int)
    for result in images:
        counts[np.unravel_index(np.abs(corners - result[0, 0]).max(axis=-1).argmin(), counts.shape)] += 1
    # Four standard deviations: sqrt(1000 * 0.5 * 0.5) and sqrt(1000 * 0.04 * 0.96).
    assert abs(counts[1].sum() - 500) < 64
    assert np.abs(counts.sum(axis=0) - 40).max() < 25
    assert counts.min() > 0  # the flip is independent of the offset


def test_a_stream_of_tfds_has_no_index(tfds_dir):
    source = data.load("numbered/fixed", data_dir=str(tfds_dir))
    for make in (lambda: _batches(source, 1), lambda: data.test_batches(source, batch_size=4, crop=9, loader="grain")):
        with pytest.raises(
            data.DataError, match=r"needs random access to the examples, which numbered/fixed, .*tf\.data"
        ):
            make()


def test_faults_are_raised(array_source, image_folder):
    with pytest.raises(ValueError, match=r"loader must be one of tf\.data, grain; got 'torch'"):
        data.train_batches(array_source, **{**ARGUMENTS, "loader": "torch"})
    wrong = data.Source("wrong", ("a",), (6, 9), array_source.train, array_source.test, {})
    with pytest.raises(data.DataError, match=r"wrong: labels must lie in \[0, 1\), got [12]"):
        _batches(wrong, 1)
    source = data.load(image_folder)
    victim = source.test.images[0]
    with open(victim, "wb") as file:
        file.write(b"no image")
    with pytest.raises(data.DataError, match=r"10.\.png: cannot be decoded") as error:
        list(data.test_batches(source, batch_size=4, crop=9, loader="grain"))
    assert error.value.files == (victim,)
    with pytest.raises(TypeError, match="no length"):
        len(data.train_batches(array_source, **ARGUMENTS))


def test_examples_are_made_by_threads_ahead():
    threads, made = set(), []
    both_at_work = threading.Barrier(2, timeout=20)

    def make(number):
        if number < 2:
            both_at_work.wait()  # fails unless two threads are here at the same time
        threads.add(threading.current_thread().name)
        made.append(number)
        return np.zeros((1, 1, 3), np.float32), np.zeros(2, np.float32)

    batches = Batches(make, num_examples=None, batch_size=4)
    assert len(batches[0][0]) == 4
    assert threading.current_thread().name not in threads
    assert max(made) >= 4


@pytest.mark.any_backend
def test_keras_trains_and_evaluates_on_the_batches():
    """Keras must not warn that the data have run out; warnings are errors here."""
    images = np.random.default_rng(0).integers(0, 256, (10, 6, 9, 3), np.uint8)
    source = data.from_arrays(images, np.arange(10) % 3, images, np.arange(10) % 3)
    seen = []

    class Record(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(batch)

    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    test_batches = data.test_batches(source, batch_size=4, crop=9, loader="grain")
    assert len(test_batches) == 3
    history = model.fit(
        data.train_batches(source, **ARGUMENTS),
        steps_per_epoch=3,
        epochs=4,
        initial_epoch=2,
        validation_data=test_batches,
        callbacks=[Record()],
        shuffle=False,
        verbose=0,
    ).history
    assert seen == [0, 1, 2, 0, 1, 2]
    result = model.evaluate(test_batches, verbose=0, return_dict=True)
    assert result["accuracy"] == pytest.approx(history["val_accuracy"][-1])
    assert result["accuracy"] * 10 == pytest.approx(round(result["accuracy"] * 10), abs=1e-4)


def test_examples_are_read_upright():
    image, tags, file = np.arange(18, dtype=np.uint8).reshape(2, 3, 3), Image.Exif(), io.BytesIO()
    tags[0x0112] = 6
    Image.fromarray(image).save(file, "PNG", exif=tags)
    turned, label = Examples(np.array([file.getvalue()], object), np.array([1])).read(0)
    np.testing.assert_array_equal(turned, np.rot90(image, -1))
    assert label == 1
