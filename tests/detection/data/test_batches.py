"""Batches of images with boxes: pure functions of (seed, step), whole test sets, and boxes on their pixels."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras.data import DataError, unreadable
from bit_keras.detection.data import batches
from bit_keras.detection.data.loading import open_dataset

pytestmark = pytest.mark.any_backend

ROOT = Path(__file__).parents[3]
ARGUMENTS = {"batch_size": 4, "size": 32, "seed": 3, "max_boxes": 3}


@pytest.fixture
def source(write_coco, scenes):
    """The scenes, with one crowd; all of them are for training and for testing."""
    content = scenes.coco_content()
    content["annotations"][0]["iscrowd"] = 1  # the cat of a.png
    return open_dataset(f"coco:{write_coco(content)}", divide=False)


def _batches(source, count, **changes):
    return list(itertools.islice(batches.train_batches(source, **{**ARGUMENTS, **changes}), count))


def _names(source, step) -> list[str]:
    names = batches.train_names(source, batch_size=4, seed=3, step=step)
    assert all(os.path.isfile(name) for name in names)
    return [Path(name).stem for name in names]


def _flat(batch) -> list[np.ndarray]:
    images, targets = batch
    return [images, targets["boxes"], targets["labels"]]


def _same(first, second) -> bool:
    return all(
        a.dtype == b.dtype and (a == b).all()
        for pair in zip(first, second, strict=True)
        for a, b in zip(*map(_flat, pair))
    )


def test_shapes_and_padding(source):
    for images, targets in _batches(source, 5):
        assert (images.shape, images.dtype) == ((4, 32, 32, 3), np.float32)
        assert (targets["boxes"].shape, targets["boxes"].dtype) == ((4, 3, 4), np.float32)
        assert (targets["labels"].shape, targets["labels"].dtype) == ((4, 3), np.int32)
        is_padding = targets["labels"] == -1
        assert not targets["boxes"][is_padding].any()
        assert (np.diff(is_padding.astype(int), axis=1) >= 0).all(), "boxes come first"
        assert (targets["boxes"][~is_padding][:, 2:] > targets["boxes"][~is_padding][:, :2]).all()


def test_every_pass_has_every_image_once(source):
    passes = np.reshape([name for step in range(10) for name in _names(source, step)], (8, 5))
    assert all(sorted(one_pass) == list("abcde") for one_pass in passes.tolist())
    assert len({tuple(one_pass) for one_pass in passes.tolist()}) > 4
    for step, (_, targets) in enumerate(_batches(source, 10, scales=(1, 1), flip=False)):
        counts = (targets["labels"] >= 0).sum(axis=1)
        expected = {"a": 1, "b": 1, "c": 0, "d": 1, "e": 2}  # without the crowd
        assert counts.tolist() == [expected[name] for name in _names(source, step)]


def test_a_batch_is_a_pure_function_of_seed_and_step(source):
    whole = _batches(source, 9)
    keras.utils.set_random_seed(99)
    for start_step in (1, 4, 8):
        assert _same(_batches(source, 9 - start_step, start_step=start_step), whole[start_step:])
    assert not _same(_batches(source, 9, seed=4), whole)
    by_number = batches.train_batches(source, **ARGUMENTS)
    for number in (3, 4, 0, 8):
        assert _same([by_number[number]], [whole[number]])
    assert _same(_batches(source, 1, start_step=10**9), _batches(source, 1, start_step=10**9))


def test_shards_are_the_batch(source):
    whole = _batches(source, 4, start_step=2)
    for index in range(2):
        shard = _batches(source, 4, start_step=2, shard=(index, 2))
        expected = [
            (images[index::2], {name: column[index::2] for name, column in targets.items()})
            for images, targets in whole
        ]
        assert _same(shard, expected)


def test_boxes_are_on_their_rectangles(source, scenes):
    """The middle of each box has the colour of its class, and many images are mirrored, cropped and padded."""
    found = 0
    for images, targets in _batches(source, 20, size=96, scales=(0.7, 1.6)):
        for image, corners, labels in zip(images, targets["boxes"], targets["labels"], strict=True):
            for (top, left, bottom, right), label in zip(corners[labels >= 0], labels[labels >= 0], strict=True):
                if min(bottom - top, right - left) < 6:
                    continue
                value = (scenes.COLOURS[source.class_names[label]] - 127.5) / 127.5
                inside = image[int(top) + 2 : int(bottom) - 1, int(left) + 2 : int(right) - 1]
                np.testing.assert_allclose(inside, value, atol=1e-5)
                found += 1
    assert found > 50


def test_flip_and_scales_can_be_switched_off(source):
    plain = _batches(source, 5, scales=(1, 1), flip=False)
    ids = [_names(source, step) for step in range(5)]
    tested = {name: image for image, name in _test_images(source)}
    for (images, _), names in zip(plain, ids, strict=True):
        for image, name in zip(images, names, strict=True):
            np.testing.assert_array_equal(image, tested[name])
    plain, flipped = _batches(source, 20, scales=(1, 1), flip=False), _batches(source, 20, scales=(1, 1))
    changed = [(a != b).any() for (x, _), (y, _) in zip(plain, flipped, strict=True) for a, b in zip(x, y, strict=True)]
    assert 12 <= sum(changed) <= 36, "half of the 48 that are not symmetric"


def _test_images(source):
    for images, places in batches.test_batches(source, batch_size=2, size=32):
        yield from zip(images, (Path(source.test.names[index]).stem for index in places["index"]), strict=True)


def test_test_batches_have_each_image_once_with_its_place(source, scenes):
    found = batches.test_batches(source, batch_size=2, size=80)
    assert len(found) == 3
    seen = []
    for images, places in found:
        assert places["scale"].dtype == np.float32
        for row, index in enumerate(places["index"].tolist()):
            name = list(scenes.SCENES)[index]
            height, width, _ = scenes.SCENES[name]
            longer = max(height, width)
            assert places["size"][row].tolist() == [height, width]
            assert places["content"][row].tolist() == [round(height * 80 / longer), round(width * 80 / longer)]
            np.testing.assert_allclose(places["scale"][row], places["content"][row] / [height, width], rtol=1e-6)
            rows, columns = places["content"][row]
            assert not images[row, rows:].any()
            assert not images[row, :, columns:].any()
            boxes = source.test.boxes[index].corners
            there = boxes * np.tile(places["scale"][row], 2)
            one = {name: column[row : row + 1] for name, column in places.items()}
            np.testing.assert_allclose(batches.to_original(one, there[None])[0], boxes, atol=1e-4)
            beyond = np.array([[[-5, -5, 300, 300]]])
            assert batches.to_original(one, beyond).tolist() == [[[0, 0, height, width]]]
            seen.append(index)
    assert seen == [0, 1, 2, 3, 4]


def test_too_many_boxes_are_named(source):
    with pytest.raises(
        DataError, match=r"(?s)at most max_boxes=1 boxes.*max_boxes=2 takes all.*1 of 5 images:\n  /.*/e\.png: 2$"
    ):
        batches.train_batches(source, **{**ARGUMENTS, "max_boxes": 1})


def test_arguments_are_checked(source):
    faults = {
        "batch_size must be 1 or more": {"batch_size": 0},
        "size must be 2 or more": {"size": 1},
        "seed must be 0 or more": {"seed": -1},
        "start_step must be 0 or more": {"start_step": -1},
        "max_boxes must be 1 or more": {"max_boxes": 0},
        r"scales of training images must be more than 0 and at most 10, the least first; got 1\.2 and 0\.8": {
            "scales": (1.2, 0.8)
        },
        r"scales of training images must be .* got 0\.0 and 1\.0": {"scales": (0, 1)},
        "must be a finite number, got nan": {"scales": (float("nan"), 1)},
        r"shard must be \(index, count\)": {"shard": (0, 3)},
    }
    for message, change in faults.items():
        with pytest.raises(ValueError, match=message):
            batches.train_batches(source, **{**ARGUMENTS, **change})
    with pytest.raises(DataError, match="must not be used for training"):
        batches.train_batches(source.__class__(**{**vars(source), "evaluation_only": "it is a test"}), **ARGUMENTS)


def test_an_image_that_cannot_be_read_any_more_is_named(source, tmp_path):
    (tmp_path / "d.png").write_text("no image")
    message = r"d\.png: .*It could be read when the data were opened"
    with pytest.raises(DataError, match=f"(?s){message}") as error, unreadable.named(source):
        list(batches.test_batches(source, batch_size=2, size=8))
    assert error.value.files == (str(tmp_path / "d.png"),)


def test_keras_fits_on_them(source):
    """Two losses on the dictionary of targets, in one compiled program."""
    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    outputs = {
        "boxes": keras.layers.Reshape((3, 4))(keras.layers.Dense(12)(pooled)),
        "labels": keras.layers.Dense(3)(pooled),
    }
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"boxes": "mse", "labels": "mse"})
    log = model.fit(batches.train_batches(source, **ARGUMENTS), steps_per_epoch=3, epochs=2, shuffle=False, verbose=0)
    assert np.isfinite(log.history["loss"]).all()
    assert model.predict(batches.test_batches(source, batch_size=2, size=32), verbose=0)["boxes"].shape == (5, 3, 4)


def test_grain_is_asked_for_when_there_are_batches_to_make_and_not_before(write_coco, monkeypatch):
    source = open_dataset(f"coco:{write_coco()}")
    code = "import sys, bit_keras.detection.programs.train as train; sys.exit('grain' in sys.modules)"
    path = os.pathsep.join([str(ROOT), *sys.path])
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[grain\]'"):
        batches.test_batches(source, batch_size=2, size=32)
