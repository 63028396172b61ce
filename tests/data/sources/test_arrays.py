import json
import zipfile

import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.loaders import streams

IMAGES = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
LABELS = np.array([0, 2, 1])


def _arguments(**changes):
    return {
        "train_images": IMAGES,
        "train_labels": LABELS,
        "test_images": IMAGES[:2],
        "test_labels": LABELS[:2],
        **changes,
    }


def test_attributes():
    source = data.from_arrays(**_arguments())
    assert (source.name, source.class_names, source.image_size) == ("arrays", ("0", "1", "2"), (4, 5))
    assert (source.num_train, source.num_test, source.num_classes) == (3, 2, 3)
    named = data.from_arrays(**_arguments(class_names=["a", "b", "c", "d"], name="mine"))
    assert (named.name, named.class_names, named.num_classes) == ("mine", ("a", "b", "c", "d"), 4)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_any_integer_label(dtype):
    source = data.from_arrays(**_arguments(train_labels=LABELS.astype(dtype)))
    labels = [label for _, label in streams.in_order(source.train).as_numpy_iterator()]
    assert [(label, label.dtype) for label in labels] == [(0, np.int64), (2, np.int64), (1, np.int64)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": IMAGES.astype(np.float32)}, r"train_images must be uint8 in \[0, 255\], got float32"),
        ({"test_images": IMAGES[..., :2]}, r"test_images must have the shape \[N, H, W, 3\], got \[3, 4, 5, 2\]"),
        ({"train_images": IMAGES[0]}, r"train_images must have the shape \[N, H, W, 3\], got \[4, 5, 3\]"),
        ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, "test_images must not be empty"),
        ({"train_labels": LABELS[:2]}, r"train_labels must have the shape \[3\], as the images, got \[2\]"),
        ({"train_labels": LABELS[:2, None]}, r"train_labels must have the shape \[3\], as the images, got \[2\]"),
        ({"train_labels": LABELS.astype(float)}, "train_labels must be integers, got float64"),
        ({"train_labels": np.array([0, -1, 1])}, r"train_labels must lie in \[0, 2\), got -1"),
        ({"train_labels": LABELS, "class_names": ["a", "b"]}, r"train_labels must lie in \[0, 2\), got 2"),
        ({"test_labels": np.array([0, 3])}, r"test_labels must lie in \[0, 3\), got 3"),
    ],
)
def test_bad_arrays(changes, message):
    with pytest.raises(data.DataError, match=message):
        data.from_arrays(**_arguments(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"train_images": IMAGES ^ 1},
        {"train_images": IMAGES.reshape(3, 5, 4, 3)},
        {"test_images": IMAGES[1:]},
        {"train_labels": LABELS[::-1]},
        {"test_labels": LABELS[1:]},
        {"class_names": ["a", "b", "c"]},
    ],
)
def test_fingerprint_changes_with_the_data(changes):
    before = data.from_arrays(**_arguments()).describe()
    assert before == data.from_arrays(**_arguments()).describe()
    assert json.loads(json.dumps(before)) == before
    assert data.from_arrays(**_arguments(**changes)).describe()["fingerprint"] != before["fingerprint"]


def test_validation_arrays(tmp_path):
    validation = {"validation_images": IMAGES[1:], "validation_labels": LABELS[1:]}
    source = data.from_arrays(**_arguments(**validation))
    np.testing.assert_array_equal(source.validation.images, IMAGES[1:])
    np.testing.assert_array_equal(source.validation.labels, LABELS[1:])
    assert source.without_validation().describe() == data.from_arrays(**_arguments()).describe()
    other = data.from_arrays(**_arguments(**validation | {"validation_labels": LABELS[:2]}))
    assert other.describe()["validation"] != source.describe()["validation"]
    np.savez(tmp_path / "three.npz", **_arguments(**validation))
    assert data.load(tmp_path / "three.npz").describe() == {**source.describe(), "name": "three"}
    with pytest.raises(data.DataError, match="validation_images and validation_labels must be given together"):
        data.from_arrays(**_arguments(validation_images=IMAGES))
    with pytest.raises(data.DataError, match=r"validation_labels must lie in \[0, 3\), got 3"):
        data.from_arrays(**_arguments(**validation | {"validation_labels": np.array([0, 3])}))


def test_a_file_of_arrays(tmp_path):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (4, 5, 6), np.uint8), np.array([0, 1, 2, 0])
    arrays = {"train_images": images, "train_labels": labels, "test_images": images[:2], "test_labels": labels[:2]}
    np.savez(tmp_path / "grey.npz", **arrays, class_names=np.array(["a", "é", "c"]))
    source = data.load(str(tmp_path / "grey.npz"))
    assert (source.name, source.class_names, source.image_size) == ("grey", ("a", "é", "c"), (5, 6))
    np.testing.assert_array_equal(source.train.images, np.repeat(images[..., None], 3, axis=-1))
    np.testing.assert_array_equal(source.test.labels, labels[:2])
    colour = {**arrays, "train_images": np.stack([images] * 3, axis=-1)}
    np.savez(tmp_path / "colour.npz", **colour)
    assert data.load(tmp_path / "colour.npz").class_names == ("0", "1", "2")


@pytest.mark.parametrize("names", [("train_images", "train_labels", "test", "val"), ("x_train", "y_train", "x", "y")])
def test_files_of_other_programs(tmp_path, names):
    """MedMNIST has labels [N, 1] and grey images [N, 28, 28], Keras x_train and y_train."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (6, 28, 28), np.uint8), np.array([0, 1, 2, 0, 1, 2], np.uint8)
    expected = data.from_arrays(
        *(np.repeat(images[..., None], 3, axis=-1), labels, np.stack([images[:2]] * 3, axis=-1), labels[:2])
    )
    if names[0] == "x_train":
        arrays = {"x_train": images, "y_train": labels, "x_test": images[:2], "y_test": labels[:2]}
    else:
        arrays = {"train_images": images, "train_labels": labels[:, None], "test_images": images[:2]}
        arrays |= {"test_labels": labels[:2, None], "val_images": images[2:4], "val_labels": labels[2:4, None]}
    np.savez(tmp_path / "other.npz", **arrays)
    source = data.load(tmp_path / "other.npz")
    assert source.without_validation().describe() == {**expected.describe(), "name": "other"}
    np.testing.assert_array_equal(source.train.labels, labels)
    if source.validation is not None:
        np.testing.assert_array_equal(source.validation.images[..., 1], images[2:4])
        assert source.num_validation == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as an npz file of arrays"),
        ({"train_images": np.zeros(1)}, r"must hold test_images, test_labels, train_images, train_labels and may hold"),
        ({"x": np.array([object()])}, "cannot be read as an npz file of arrays"),
    ],
)
def test_refuses_other_files(tmp_path, content, message):
    path = tmp_path / "x.npz"
    path.write_bytes(b"no archive") if content is None else np.savez(path, **content)
    with pytest.raises(data.DataError, match=message):
        data.load(path)


def _npz(path, member: bytes, method: int = zipfile.ZIP_STORED, damage: int | None = None) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("train_images.npy", member)
    if damage is not None:
        content = bytearray(path.read_bytes())
        content[damage] ^= 0xFF
        path.write_bytes(content)


def _npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


@pytest.mark.parametrize(
    ("member", "method", "damage"),
    [
        (_npy("-" * 9000 + "1"), zipfile.ZIP_STORED, None),
        (_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1, 2"), zipfile.ZIP_STORED, None),
        (_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (4096, 2**60)}"), zipfile.ZIP_STORED, None),
        (_npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**15},)}}"), zipfile.ZIP_STORED, None),
        (_npy("{'descr': '|u1', 'fortran_order': False, 'shape': (9,)}", b"12"), zipfile.ZIP_STORED, None),
        (b"no array", zipfile.ZIP_STORED, None),
        (bytes(5000), zipfile.ZIP_BZIP2, None),
        (bytes(5000), zipfile.ZIP_LZMA, None),
        (bytes(range(256)) * 20, zipfile.ZIP_DEFLATED, 60),
    ],
)
def test_damaged_files_of_arrays(tmp_path, member, method, damage):
    _npz(tmp_path / "x.npz", member, method, damage)
    with pytest.raises(data.DataError, match=r"x\.npz (cannot be read as an npz file of arrays: |must hold arrays)"):
        data.load(tmp_path / "x.npz")
