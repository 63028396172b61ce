"""What earlier starts found out: nothing is read twice, and nothing that has changed is believed."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data import remembered
from bit_keras.data.content import with_content
from bit_keras.data.sources import scan
from tests.data.conftest import NUM_TEST, NUM_TRAIN, numbered_image, write_records

NUM_IMAGES = NUM_TRAIN + NUM_TEST


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, which remembers also what is new and quickly found out."""
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_WORTHWHILE", -1)
    monkeypatch.setattr(remembered, "_RECENT", -1)
    monkeypatch.setattr(remembered, "_used_paths", set())
    return tmp_path / "cache" / "data"


@pytest.fixture
def decoded(monkeypatch) -> list:
    """The images that were decoded."""
    items, look = [], scan._look

    def look_and_count(item, **options):
        items.append(item)
        return look(item, **options)

    monkeypatch.setattr(scan, "_look", look_and_count)
    return items


@pytest.mark.parametrize("kind", ["image_folder", "record_folder"])
def test_a_second_start_decodes_what_has_changed(kind, request, decoded):
    root = request.getfixturevalue(kind)
    first = with_content(data.load(root))
    assert len(decoded) == NUM_IMAGES
    decoded.clear()
    second = with_content(data.load(root))
    assert decoded == []
    assert second.describe() == first.describe()
    assert second.image_size == first.image_size
    for split in ("train", "test"):
        one, two = getattr(first, split), getattr(second, split)
        np.testing.assert_array_equal(one.labels, two.labels)
        for index in (0, 3, len(one) - 1):
            np.testing.assert_array_equal(one.read(index)[0], two.read(index)[0])
        total = sum(one.read(index)[0].size for index in range(len(one)))
        # fits_in adds up the decoded images and their files
        bytes_of_files = one.length.sum() if kind == "record_folder" else sum(map(os.path.getsize, one.images))
        assert two.fits_in(total + bytes_of_files)
        assert not two.fits_in(total + bytes_of_files - 1)

    if kind == "image_folder":
        changed = root / "test" / "a" / "102.png"
        number = 105  # another one of the same class
        size = changed.stat().st_size
        changed.write_bytes(tf.io.encode_png(numbered_image(number)).numpy())
        assert changed.stat().st_size == size
    else:
        changed = root / "test-00000-of-00001"
        write_records(changed, range(103, 103 + NUM_TEST))
    third = with_content(data.load(root))
    assert len(decoded) == (1 if kind == "image_folder" else NUM_TEST)
    assert third.describe()["content"] != first.describe()["content"]
    if kind == "record_folder":
        assert third.test.read(0)[0][0, 0, 0] == 103


def test_a_file_with_the_times_and_the_size_of_another_one_is_another_one(image_folder, decoded):
    data.load(image_folder)
    decoded.clear()
    old, new = image_folder / "train" / "a" / "000.png", image_folder / "new.png"
    shutil.copy2(old, new)  # with its time of modification
    os.replace(new, old)
    data.load(image_folder)
    assert decoded == [old]


def test_faults_are_found_again_and_the_rest_is_remembered(image_folder, decoded):
    (image_folder / "train" / "b" / "001.png").write_text("no image")
    for expected in (NUM_IMAGES, 1):
        decoded.clear()
        with pytest.raises(data.DataError, match=f"1 of {NUM_IMAGES} images cannot be used:\n  .*001.png"):
            data.load(image_folder)
        assert len(decoded) == expected
    assert data.load(image_folder, skip_unreadable=True).num_train == NUM_TRAIN - 1


def test_an_interrupted_check_is_continued(image_folder, monkeypatch, decoded):
    look = scan._look

    def interrupted(item, **options):
        if len(decoded) == 30:
            raise KeyboardInterrupt
        return look(item, **options)

    with monkeypatch.context() as patch:
        patch.setattr(scan, "_CHUNK", 10)
        patch.setattr(scan, "_look", interrupted)
        with pytest.raises(KeyboardInterrupt):
            data.load(image_folder)
    decoded.clear()
    assert data.load(image_folder).num_train == NUM_TRAIN
    assert 0 < len(decoded) <= NUM_IMAGES - 20


def test_lower_limits_apply_to_what_is_remembered(image_folder, monkeypatch):
    data.load(image_folder)
    monkeypatch.setenv("BIT_KERAS_MAX_PIXELS", "50")
    with pytest.raises(data.DataError, match="has 54 pixels; at most 50 are decoded"):
        data.load(image_folder)


def test_a_damaged_table_is_ignored(cache, image_folder, decoded):
    expected = with_content(data.load(image_folder)).describe()
    (path,) = cache.iterdir()
    whole, random = path.read_bytes(), np.random.default_rng(0)
    for mutation in range(60):
        content = bytearray(whole)
        if mutation % 3 == 2:
            content = content[: random.integers(len(content))]
        else:
            for at in random.integers(len(content), size=1 + mutation % 4):
                content[at] = random.integers(256)
        path.write_bytes(content)
        rows = remembered._read(path)
        assert not rows or all(len(row) == 41 for row in rows.values())
    decoded.clear()
    path.write_bytes(whole[:-100])
    assert with_content(data.load(image_folder)).describe() == expected
    assert len(decoded) == NUM_IMAGES
    decoded.clear()
    data.load(image_folder)  # written anew
    assert decoded == []


def test_a_cache_that_cannot_be_written(tmp_path, image_folder, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "file" / "cache"))
    with caplog.at_level("INFO", logger="bit_keras"):
        assert data.load(image_folder, verbose=False).num_train == NUM_TRAIN
    assert "cannot be remembered" in caplog.text


def test_the_tables_that_were_not_used_for_longest_are_deleted(cache, monkeypatch):
    monkeypatch.setattr(remembered, "_MAX_BYTES", 10_000)
    for number, name in enumerate("abc"):
        with remembered.remembered(name) as table:
            table.put(bytes(16), bytes(4_000))
        for path in cache.glob("*.npz"):
            os.utime(path, (number, number))
        with remembered.remembered("a") as table:  # touches it
            assert table.get(bytes(16)) == bytes(4_000)
    assert sum(path.stat().st_size for path in cache.iterdir()) <= 10_000
    with remembered.remembered("b") as table:
        assert table.get(bytes(16)) is None
    with remembered.remembered("c") as table:
        assert table.get(bytes(16)) == bytes(4_000)
        table.put(bytes(15) + b"\1", bytes(6_000))  # more than half of the bound: not written
    assert len(list(cache.iterdir())) == 2


def test_new_and_missing_files_have_no_stamp(tmp_path, monkeypatch):
    monkeypatch.undo()
    path = tmp_path / "new"
    path.touch()
    assert remembered.stamp(path) is None
    assert remembered.stamp(tmp_path / "missing") is None
    assert remembered.stamp("\0") is None
    monkeypatch.setattr(remembered.time, "time", lambda: path.stat().st_ctime + 3)
    assert len(remembered.stamp(path)) == 16


def test_forgotten_tables_are_gone(cache, image_folder, decoded):
    data.load(image_folder)
    remembered.forget()
    assert list(cache.iterdir()) == []
    remembered.forget()
