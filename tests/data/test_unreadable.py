"""Images that become unreadable after the data were opened are named, by every loader."""

import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data import remembered, unreadable


@pytest.mark.parametrize("loader", data.LOADERS)
@pytest.mark.parametrize("kind", ["image_folder", "record_folder"])
def test_the_image_is_named(kind, loader, request, tmp_path, monkeypatch):
    root = request.getfixturevalue(kind)
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "_WORTHWHILE", -1)
    monkeypatch.setattr(remembered, "_RECENT", -1)
    source = data.load(root)
    assert len(list((tmp_path / "cache" / "data").iterdir())) == 1
    if kind == "image_folder":
        name = str(root / "test" / "b" / "100.png")
        with open(name, "r+b") as file:
            file.truncate(60)
    else:
        name = f"{root / 'test-00000-of-00001'}, record 4"
        with open(root / "test-00000-of-00001", "r+b") as file:
            file.seek(int(source.test.offset[4]) + 80)
            file.write(bytes(60))
    message = "It could be read when the data were opened"
    with pytest.raises(data.DataError, match=message) as error, unreadable.named(source):
        list(data.test_batches(source, batch_size=4, crop=4, loader=loader))
    assert error.value.files == (name,)
    assert name in str(error.value)
    assert list((tmp_path / "cache" / "data").iterdir()) == []  # the next start checks everything


def test_other_errors_are_not_changed(array_source, image_folder):
    source = data.load(image_folder)
    for error in (
        ValueError("a fault of the program"),
        data.DataError("no files"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ"),
        tf.errors.InvalidArgumentError(None, None, "shapes differ [Op:IteratorGetNext]"),
    ):
        for each in (source, array_source):
            with pytest.raises(type(error)) as raised, unreadable.named(each):
                raise error
            assert raised.value is error
