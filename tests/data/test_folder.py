import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from bit_keras import data


def _write(path, image, encode=tf.io.encode_png):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image).numpy())


@pytest.fixture
def single_tree(tmp_path):
    """Classes of 2, 5 and 20 images without splits; an image's first pixel is its number."""
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


def test_test_split_comes_before_validation(image_folder):
    for name in ("a", "b", "c"):
        _write(image_folder / "validation" / name / "1.png", np.zeros((6, 9, 3), np.uint8))
    assert data.load(image_folder).num_test == 11


def test_hidden_and_loose_files_are_ignored(image_folder):
    expected = data.load(image_folder).describe()
    (image_folder / ".git").mkdir()
    (image_folder / "LICENSE").write_text("CC0")
    (image_folder / "train" / ".ipynb_checkpoints").mkdir()
    (image_folder / "train" / "a" / ".DS_Store").write_bytes(b"x")
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


def test_images_carry_their_own_label(single_tree):
    for image, label in data.load(single_tree).train_examples(seed=0).take(21).as_numpy_iterator():
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
    _write(folder / "grey.png", np.zeros((4, 4, 1), np.uint8))
    _write(folder / "alpha.png", np.zeros((4, 4, 4), np.uint8))
    _write(image_folder / "test" / "b" / "grey.jpg", np.zeros((4, 4, 1), np.uint8), tf.io.encode_jpeg)
    frames = [Image.fromarray(np.full((4, 4, 3), value, np.uint8)) for value in (0, 255)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    palette = frames[0].convert("P")
    palette.save(folder / "palette.png", transparency=0)
    with pytest.raises(data.DataError) as error:
        data.load(image_folder)
    message = str(error.value)
    assert message.startswith("8 of 59 images cannot be used:")
    for name in ("cut.jpg", "text.jpg", "empty.png"):
        assert f"{folder / name}: cannot be decoded" in message
    assert f"{folder / 'grey.png'}: must have 3 channels, got 1" in message
    assert f"{image_folder / 'test' / 'b' / 'grey.jpg'}: must have 3 channels, got 1" in message
    for name in ("alpha.png", "palette.png"):
        assert f"{folder / name}: must have 3 channels, got 4" in message
    assert f"{folder / 'moving.gif'}: must be a single image, got an animation of 2 frames" in message


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
