"""Variables are compared with TensorFlow's own reader; damage has right checksums, so that parsing has to notice it."""

import random
import struct

import numpy as np
import pytest
import tensorflow as tf

from bit_keras.checkpoints.readers.tensor_bundle import masked_crc32c, read_floats, read_index, read_text

DATA = "variables.data-00000-of-00001"
ARRAYS = {
    "a/kernel": np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32"),
    "a/kernel_2": np.arange(6, dtype="float64").reshape(2, 3),
    "b": np.array(1.5, "float16"),
    "empty": np.zeros((0, 7), "float32"),
    "steps": np.array([1, 2], "int64"),
    "text": np.array(b"some text"),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The files of `ARRAYS` and of a partitioned variable."""
    folder = tmp_path_factory.mktemp("bundle")
    names = [*ARRAYS, "parts", "parts"]
    tensors = [*map(tf.constant, ARRAYS.values()), tf.zeros([2, 3]), tf.ones([1, 3])]
    slices = [""] * len(ARRAYS) + ["3 3 0,2:-", "3 3 2,1:-"]
    tf.raw_ops.SaveV2(prefix=str(folder / "variables"), tensor_names=names, shape_and_slices=slices, tensors=tensors)
    return folder


@pytest.fixture
def prefix(written, tmp_path):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / "variables"


def _blocks(index: bytes) -> list[tuple[int, int]]:
    """Returns offset and length of the blocks of an index with one block of entries: they follow each other."""
    first = index[-48:]
    numbers, at = [], 0
    for _ in range(4):
        value = shift = 0
        while True:
            value |= (first[at] & 127) << shift
            shift += 7
            at += 1
            if first[at - 1] < 128:
                break
        numbers.append(value)
    meta, meta_length, top, top_length = numbers
    return [(0, meta - 5), (meta, meta_length), (top, top_length)]


def _sealed(index: bytearray) -> bytes:
    for offset, length in _blocks(bytes(index)):
        end = offset + length + 1
        struct.pack_into("<I", index, end, masked_crc32c(bytes(index[offset:end])))
    return bytes(index)


def test_variables_are_those_that_tensorflow_reads(prefix):
    entries = read_index(prefix)
    reader = tf.train.load_checkpoint(str(prefix))
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    assert shapes.keys() == {name for name in entries if "\\x" not in name and "\x00" not in name} == {*ARRAYS, "parts"}
    for name, shape in shapes.items():
        assert (list(entries[name].shape), entries[name].dtype) == (shape, dtypes[name].name)
        if entries[name].dtype.startswith("float") and not entries[name].is_sliced:
            found = read_floats(name, entries[name])
            assert found.dtype == ARRAYS[name].dtype
            np.testing.assert_array_equal(found, reader.get_tensor(name))
    assert read_text("text", entries["text"]) == b"some text"
    assert [name for name, entry in entries.items() if entry.is_sliced] == ["parts"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("steps", "steps must hold floats, got int64"), ("parts", "parts must hold floats, got float32 in slices")],
)
def test_what_is_no_array_of_floats(prefix, name, message):
    with pytest.raises(ValueError, match=message):
        read_floats(name, read_index(prefix)[name])


def test_changed_data_are_noticed(prefix):
    entries = read_index(prefix)
    path = prefix.with_name(DATA)
    content = path.read_bytes()
    for name in ("a/kernel", "b", "text"):
        for at in (entries[name].offset, entries[name].offset + entries[name].size - 1):
            data = bytearray(content)
            data[at] ^= 1
            path.write_bytes(data)
            with pytest.raises(ValueError, match=r"differ from their checksum|the length of text is damaged"):
                (read_text if name == "text" else read_floats)(name, entries[name])


def test_changed_slices_are_noticed_at_once(prefix):
    path = prefix.with_name(DATA)
    content = bytearray(path.read_bytes())
    content[content.index(np.ones(3, "float32").tobytes())] ^= 1  # after which TensorFlow would abort
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"the data of .*parts.* differ from their checksum"):
        read_index(prefix)


def _edit_entry(prefix, name: bytes, old: bytes, new: bytes) -> None:
    path = prefix.with_name("variables.index")
    index = bytearray(path.read_bytes())
    at = index.index(old, index.index(name))
    index[at : at + len(old)] = new
    path.write_bytes(_sealed(index))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"\x08\x09", b"\x08\x63", "its type is unknown"),  # int64
        (b"\x08\x09", b"\x08\x03", r"it has 16 bytes, which is not the size of int32 \(2,\)"),
        (b"\x12\x04\x12\x02\x08\x02", b"\x12\x04\x12\x04\x08\x02", "a message is truncated"),
        (b"\x12\x02\x08\x02", b"\x18\x01\x08\x02", "its shape is"),  # an unknown rank
        (b"\x28\x10", b"\x28\x7f", r"its bytes \d+ to \d+ must be within the data, of \d+ bytes"),
        (b"\x28\x10", b"\x18\x10", "it is in data file 16 of 1"),
    ],
    ids=["type", "size", "truncated", "rank", "outside", "file"],
)
def test_what_tensorflow_would_abort_on(prefix, old, new, message):
    _edit_entry(prefix, b"steps", old, new)
    with pytest.raises(ValueError, match=rf"its entry 'steps' is damaged: {message}"):
        read_index(prefix)


@pytest.mark.parametrize("seed", range(4))
def test_damage_with_right_checksums(prefix, seed):
    path = prefix.with_name("variables.index")
    content, source = path.read_bytes(), random.Random(seed)
    expected = read_index(prefix)
    refused = 0
    for _ in range(100):
        index = bytearray(content)
        offset, length = source.choice(_blocks(content)[::2])
        for _ in range(source.choice((1, 2, 4))):
            at = offset + source.randrange(length)
            index[at] = source.choice((0, 127, 128, 255, index[at] ^ 1 << source.randrange(8)))
        path.write_bytes(_sealed(index))
        try:
            found = read_index(prefix)
            for name, entry in found.items():
                if entry.dtype in ("float16", "float32", "float64") and not entry.is_sliced:
                    read_floats(name, entry)
                    # Names are not checked by a checksum of the data.
                    assert not entry.size or entry.checksum in {each.checksum for each in expected.values()}
        except ValueError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda index: index[:40], "does not end as an index must"),
        (lambda index: index[:-1] + b"\0", "does not end as an index must"),
        (lambda index: b"\1" + index[1:], "differs from its checksum"),
        (lambda index: index[100:], "truncated|checksum|damaged|longer"),
        (lambda index: _sealed(bytearray(index.replace(b"steps", b"zteps"))), "sorted and different"),
        (lambda index: index + bytes(1 << 24), "must have at most 16,777,216 bytes"),
    ],
    ids=["short", "end", "checksum", "beginning", "order", "size"],
)
def test_a_damaged_index(prefix, damage, message):
    path = prefix.with_name("variables.index")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=message):
        read_index(prefix)


def test_missing_files(prefix):
    prefix.with_name(DATA).unlink()
    with pytest.raises(FileNotFoundError):
        read_index(prefix)
    prefix.with_name("variables.index").unlink()
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_index(prefix)
