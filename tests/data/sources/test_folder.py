import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data.loaders import streams


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


@pytest.mark.parametrize("name", ["validation", "val"])
def test_other_names_of_the_test_split(image_folder, name):
    expected = data.load(image_folder)
    (image_folder / "test").rename(image_folder / name)
    assert data.load(image_folder).num_test == expected.num_test


def test_validation_beside_test_is_not_looked_at(image_folder, caplog):
    expected = data.load(image_folder).describe()
    (image_folder / "val" / "another class").mkdir(parents=True)
    (image_folder / "val" / "another class" / "1.png").write_text("no image")
    with caplog.at_level("INFO", logger="bit_keras"):
        assert data.load(image_folder).describe() == expected
    assert "tested on test; val is not used" in caplog.text


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


def test_train_without_test(image_folder):
    shutil.rmtree(image_folder / "test")
    with pytest.raises(data.DataError, match="needs train and one of test, validation, val"):
        data.load(image_folder)


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
