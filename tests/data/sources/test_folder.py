import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data.loaders import streams
from tests.data.conftest import numbered_image


def _write(path, image, encode=tf.io.encode_png):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image).numpy())


@pytest.fixture
def single_tree(tmp_path):
    """Classes of 2, 5 and 20 images without splits; the first pixel of an image is its number."""
    for name, count in {"two": 2, "five": 5, "twenty": 20}.items():
        for number in range(count):
            _write(tmp_path / "tree" / name / f"{number:02}.png", np.full((5, 6, 3), number, np.uint8))
    return tmp_path / "tree"


def test_attributes(image_folder):
    source = data.load(image_folder)
    assert (source.name, source.class_names, source.image_size) == ("numbered", ("a", "b", "c"), (6, 9))
    assert (source.num_train, source.num_test) == (40, 11)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val", "VALID"])
def test_without_test_the_validation_split_is_tested_on(image_folder, name):
    expected = data.load(image_folder)
    (image_folder / "test").rename(image_folder / name)
    source = data.load(image_folder)
    assert (source.num_test, source.validation, source.test_split) == (expected.num_test, None, name)
    assert source.describe_splits() == f"40 training and 11 test examples (the {name} split)"


@pytest.mark.parametrize("name", ["validation", "valid", "val", "Val"])
def test_validation_beside_test(image_folder, numbers_of, name):
    expected = data.load(image_folder)
    for number in range(200, 206):
        _write(image_folder / name / "abc"[number % 3] / f"{number}.png", numbered_image(number))
    source = data.load(image_folder)
    assert sorted(numbers_of(streams.in_order(source.validation))) == list(range(200, 206))
    assert sorted(numbers_of(streams.in_order(source.test))) == list(range(100, 111))
    assert source.describe_splits() == "40 training, 6 validation and 11 test examples"
    assert source.without_validation().describe() == expected.describe(), "runs of earlier versions must resume"
    _write(image_folder / name / "a" / "206.png", numbered_image(204))
    assert data.load(image_folder).describe()["validation"] != source.describe()["validation"]


def test_splits_in_any_case_and_beside_other_files(image_folder):
    for name in ("train", "test"):
        (image_folder / name).rename(image_folder / name.upper())
    (image_folder / "val").write_text("notes")  # no folder
    (image_folder / "Valid Images").mkdir()  # not a split
    source = data.load(image_folder)
    assert (source.num_train, source.num_validation, source.num_test) == (40, 0, 11)


def test_two_validation_splits(image_folder):
    shutil.copytree(image_folder / "test", image_folder / "valid")
    shutil.copytree(image_folder / "test", image_folder / "Val")
    with pytest.raises(data.DataError, match=r"numbered must have one validation split, got both Val and valid"):
        data.load(image_folder)


def test_faults_of_the_validation_split(image_folder):
    shutil.copytree(image_folder / "test", image_folder / "val")
    for path in (image_folder / "val" / "b").iterdir():
        path.write_text("no image")
    with pytest.raises(data.DataError, match=r"images cannot be used"):
        data.load(image_folder)
    with pytest.raises(data.DataError, match=r"images that can be used; none in validation: \['b'\]"):
        data.load(image_folder, skip_unreadable=True)
    shutil.move(image_folder / "val" / "c", image_folder / "val" / "d")
    with pytest.raises(data.DataError, match=r"only in train: \['c'\], only in validation: \['d'\]"):
        data.load(image_folder)


def test_a_held_out_share_of_a_single_tree(single_tree):
    with pytest.raises(data.DataError, match="class 'two' must have 2 images or more, to train and to validate, got 1"):
        data.load(single_tree).hold_out(0.25)
    shutil.rmtree(single_tree / "two")
    whole = data.load(single_tree)
    source = whole.hold_out(0.25)
    assert [np.bincount(split.labels).tolist() for split in (source.train, source.validation)] == [[3, 12], [1, 4]]
    twenty = [path for path in whole.train.images if "twenty" in path]
    expected = {twenty[k] for k in np.random.RandomState(0).permutation(16)[:4]}
    assert {path for path in source.validation.images if "twenty" in path} == expected
    assert sorted([*source.train.images, *source.validation.images]) == sorted(whole.train.images)
    assert source.test is whole.test
    descriptions = [whole.hold_out(share, seed).describe() for share, seed in ((0.25, 0), (0.25, 1), (0.3, 0), (0, 0))]
    assert descriptions[0] == source.describe()
    assert descriptions[3] == whole.describe()
    assert len({json.dumps(description) for description in descriptions}) == 4


def test_hidden_and_loose_files_are_ignored(image_folder):
    expected = data.load(image_folder).describe()
    (image_folder / ".git").mkdir()
    (image_folder / "LICENSE").write_text("CC0")
    (image_folder / "train" / ".ipynb_checkpoints").mkdir()
    for name in (".DS_Store", "Thumbs.db", "DESKTOP.INI"):
        (image_folder / "train" / "a" / name).write_bytes(b"x")
        (image_folder / "train" / name).write_bytes(b"x")
    for folder in ("train", "train/a"):
        for name in ("__MACOSX", "@eaDir"):
            (image_folder / folder / name).mkdir()
            (image_folder / folder / name / "1.png").write_bytes(b"x")
    assert data.load(image_folder).describe() == expected


def test_single_tree_is_split_80_to_20_in_every_class(single_tree):
    source = data.load(single_tree)
    assert source.class_names == ("five", "twenty", "two")
    assert np.bincount(source.train.labels).tolist() == [4, 16, 1]
    assert np.bincount(source.test.labels).tolist() == [1, 4, 1]
    files = [*source.train.images, *source.test.images]
    assert sorted(files) == sorted(str(path) for path in single_tree.glob("*/*.png"))
    again = data.load(single_tree)
    assert again.test.images.tolist() == source.test.images.tolist()
    names = [path.rsplit("/")[-1] for path in source.test.images if "twenty" in path]
    assert names not in (["00.png", "01.png", "02.png", "03.png"], ["16.png", "17.png", "18.png", "19.png"])


def test_seed_draws_the_split_of_a_single_tree(single_tree, image_folder):
    sources = [data.load(single_tree, seed=seed) for seed in (0, 1, 2, 1)]
    tests = [source.test.images.tolist() for source in sources]
    assert tests[1] == tests[3]
    assert len({tuple(test) for test in tests}) == 3
    for source in sources:
        assert np.bincount(source.test.labels).tolist() == [1, 4, 1]
        assert set(source.train.images).isdisjoint(source.test.images)
    descriptions = [source.describe() for source in sources]
    assert descriptions[1] == descriptions[3]
    assert descriptions[0] != descriptions[1] != descriptions[2]
    assert descriptions[0] == data.load(single_tree).describe()
    assert data.load(image_folder, seed=1).describe() == data.load(image_folder).describe()


def test_split_is_fixed_for_ever(single_tree):
    """The fingerprint is the same in all releases, so that a run can be resumed with the next one."""
    names = [path.rsplit("tree/")[-1] for path in data.load(single_tree).test.images]
    twenty = [f"twenty/{number}.png" for number in ("01", "08", "18", "19")]
    assert names == ["five/02.png", *twenty, "two/01.png"]


def test_images_carry_their_own_label(single_tree):
    for image, label in streams.shuffled(data.load(single_tree).train, seed=0).take(21).as_numpy_iterator():
        number = tf.io.decode_image(image)[0, 0, 0]
        assert number < [5, 20, 2][label]


def test_image_size_is_the_median_of_the_training_images(image_folder):
    for i in range(45):
        _write(image_folder / "train" / "a" / f"large{i}.jpg", np.zeros((70, 50, 3), np.uint8), tf.io.encode_jpeg)
    for i in range(200):
        _write(image_folder / "test" / "a" / f"small{i}.png", np.zeros((2, 2, 3), np.uint8))
    assert data.load(image_folder).image_size == (70, 50)


def test_all_bad_images_are_named_in_one_error(image_folder):
    folder = image_folder / "train" / "a"
    jpeg = tf.io.encode_jpeg(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).numpy()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (folder / "text.jpg").write_text("no image")
    (folder / "empty.png").write_bytes(b"")
    (image_folder / "test" / "b" / "text.png").write_text("no image")
    with pytest.raises(data.DataError) as error:
        data.load(image_folder)
    message = str(error.value)
    assert message.startswith("4 of 55 images cannot be used:")
    names = ("cut.jpg", "empty.png", "text.jpg")
    faulty = [*(folder / name for name in names), image_folder / "test" / "b" / "text.png"]
    for path in faulty:
        assert f"{path}: cannot be decoded" in message
    assert sorted(error.value.files) == sorted(str(path) for path in faulty)


def test_bad_images_are_skipped_as_if_they_were_not_there(image_folder, single_tree):
    for folder, bad in ((image_folder, ["train/a/x.png", "test/c/y.png"]), (single_tree, ["five/x.png", "two/y.png"])):
        expected = data.load(folder)
        for path in bad:
            (folder / path).write_text("no image")
        with pytest.raises(data.DataError, match=r"2 of .* images cannot be used"):
            data.load(folder)
        source = data.load(folder, skip_unreadable=True)
        assert source.describe() == expected.describe()
        for split, other in ((source.train, expected.train), (source.test, expected.test)):
            assert split.images.tolist() == other.images.tolist()
            assert split.labels.tolist() == other.labels.tolist()


def test_skipped_images_are_counted_in_the_log(image_folder, caplog):
    (image_folder / "train" / "a" / "x.png").write_text("no image")
    with caplog.at_level("WARNING", logger="bit_keras"):
        data.load(image_folder, skip_unreadable=True)
    assert "1 of 52 images cannot be used" in caplog.text
    assert "x.png: cannot be decoded" in caplog.text


def test_class_without_an_image_that_can_be_used(image_folder, single_tree):
    for path in (image_folder / "test" / "b").iterdir():
        path.write_text("no image")
    with pytest.raises(data.DataError, match=r"images that can be used; none in test: \['b'\]"):
        data.load(image_folder, skip_unreadable=True)
    (single_tree / "two" / "00.png").write_text("no image")
    with pytest.raises(data.DataError, match="class 'two' must have 2 images or more"):
        data.load(single_tree, skip_unreadable=True)


def test_long_list_of_bad_images_is_cut(image_folder):
    for i in range(30):
        (image_folder / "train" / "a" / f"bad{i:02}.png").write_text("no image")
    with pytest.raises(data.DataError) as error:
        data.load(image_folder)
    message = str(error.value)
    assert "30 of 81 images" in message
    assert "bad19.png" in message
    assert "bad20.png" not in message
    assert message.endswith("and 10 more")
    assert len(error.value.files) == 30


def test_empty_class(image_folder):
    (image_folder / "test" / "d").mkdir()
    with pytest.raises(data.DataError, match=r"a class folder must hold images, got none in .*test/d"):
        data.load(image_folder)


def test_class_in_one_split_only(image_folder):
    shutil.move(image_folder / "test" / "c", image_folder / "test" / "d")
    with pytest.raises(data.DataError, match=r"only in train: \['c'\], only in test: \['d'\]"):
        data.load(image_folder)


def test_class_of_one_image(single_tree):
    (single_tree / "two" / "01.png").unlink()
    with pytest.raises(data.DataError, match="class 'two' must have 2 images or more, to train and to test, got 1"):
        data.load(single_tree)


def test_no_classes(tmp_path):
    _write(tmp_path / "loose.png", np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(data.DataError, match="must hold one folder for each class, got none"):
        data.load(tmp_path)


def test_train_without_test_is_divided(image_folder):
    shutil.rmtree(image_folder / "test")
    source = data.load(image_folder)
    assert (source.class_names, source.num_train, source.num_test) == (("a", "b", "c"), 31, 9)
    assert np.bincount(source.test.labels).tolist() == [3, 3, 3]
    (image_folder / "train").rename(image_folder / "other")
    with pytest.raises(data.DataError, match=r"got folders only in .*numbered; a root with splits needs train"):
        data.load(image_folder)


@pytest.mark.parametrize("folder", [".", "unknown"])
def test_a_test_split_without_labels(image_folder, folder, caplog):
    expected = data.load(image_folder)
    (image_folder / "test").rename(image_folder / "val")
    (image_folder / "test" / folder).mkdir(parents=True)
    for number in range(3):
        _write(image_folder / "test" / folder / f"{number}.png", numbered_image(number))
    source = data.load(image_folder)
    assert (source.num_test, source.test_split) == (expected.num_test, "val")
    assert "the split test has no labels; tested on val instead" in caplog.text
    shutil.rmtree(image_folder / "val")
    source = data.load(image_folder)
    assert (source.num_train, source.num_test, source.test_split) == (31, 9, "test")
    assert "the split test has no labels; tested on a share of train instead" in caplog.text


def test_folders_pipes_and_loops_in_a_class_are_rows_of_the_list(image_folder):
    expected = data.load(image_folder)
    folder = image_folder / "train" / "a"
    os.mkfifo(folder / "pipe.png")
    (folder / "loop").symlink_to("..")
    (folder / "link.png").symlink_to("link.png")
    (folder / "more").mkdir()
    with pytest.raises(data.DataError) as error:
        data.load(image_folder)
    assert {Path(name).name for name in error.value.files} == {"pipe.png", "loop", "link.png", "more"}
    assert data.load(image_folder, skip_unreadable=True).describe() == expected.describe()


def test_the_cache_counts_every_image(image_folder, monkeypatch):
    """Not the median: a few huge images among many small ones."""
    for number in range(3):
        _write(image_folder / "train" / "a" / f"huge{number}.png", np.zeros((300, 400, 3), np.uint8))
    split = data.load(image_folder).train
    files = sum(path.stat().st_size for path in image_folder.glob("train/*/*.png"))
    needed = files + 3 * (40 * 6 * 9 + 3 * 300 * 400)
    assert split.fits_in(needed)
    assert not split.fits_in(needed - 1)
    small = split.take(np.array([index for index, name in enumerate(split.images) if "huge" not in name]))
    assert small.fits_in(needed - 3 * 3 * 300 * 400)


def test_fingerprint_changes_with_the_files(image_folder, tmp_path):
    before = data.load(image_folder).describe()
    assert json.loads(json.dumps(before)) == before
    moved = tmp_path / "elsewhere" / "numbered"
    shutil.copytree(image_folder, moved)
    assert data.load(moved).describe() == before
    path = moved / "train" / "a" / "000.png"
    path.rename(path.with_name("renamed.png"))
    assert data.load(moved).describe()["fingerprint"] != before["fingerprint"]
    path.with_name("renamed.png").rename(path)
    _write(path, np.zeros((7, 9, 3), np.uint8))
    assert data.load(moved).describe()["fingerprint"] != before["fingerprint"]
