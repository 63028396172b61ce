"""TFRecord files: records in any order, and files that are rejected."""

import gzip
import struct

import numpy as np
import pytest
import tensorflow as tf

from bit_keras import data
from bit_keras.data.loaders import streams
from tests.data.conftest import numbered_image

NUM_TRAIN, NUM_TEST = 23, 5


def _feature(values):
    if isinstance(values, bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[values]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def _record(number, labels, key="image/class/label", image=True):
    features = {"number": _feature([number]), key: _feature(labels)}
    if image:
        features["image/encoded"] = _feature(tf.io.encode_png(numbered_image(number)).numpy())
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _unreadable_image():
    features = {"image/encoded": _feature(b"no image"), "image/class/label": _feature([0])}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _write(path, records):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)


def _labels(number, several):
    return [number % 3, 3] if several and number % 2 else [number % 3]


def _folder(root, several=True, key="image/class/label", test="validation-00000-of-00001"):
    root.mkdir()
    records = [_record(number, _labels(number, several), key) for number in range(NUM_TRAIN)]
    _write(root / "train-00000-of-00003", records[:10])
    _write(root / "train-00001-of-00003", [])
    _write(root / "train-00002-of-00003", records[10:])
    _write(root / test, [_record(100 + n, _labels(n, several), key) for n in range(NUM_TEST)])
    (root / "class_names.txt").write_text("a\nb\nc\nd\n")
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("records") / "several")


@pytest.fixture(scope="module")
def source(folder):
    return data.load(folder)


def _numbers(examples, count):
    return [int(tf.io.decode_png(image)[0, 0, 0]) for image, _ in examples.take(count)]


def test_every_record_once_as_tensorflow_reads_it(folder, source):
    files = [str(path) for path in sorted(folder.glob("train-*"))]
    records = [tf.train.Example.FromString(r) for r in tf.data.TFRecordDataset(files).as_numpy_iterator()]
    found = list(streams.in_order(source.train).as_numpy_iterator())
    assert len(found) == source.num_train == NUM_TRAIN
    for (image, labels), record in zip(found, records, strict=True):
        feature = record.features.feature
        assert image == feature["image/encoded"].bytes_list.value[0]
        assert [n for n in labels if n >= 0] == list(feature["image/class/label"].int64_list.value)
    assert (source.class_names, source.image_size, source.num_test) == (("a", "b", "c", "d"), (6, 9), NUM_TEST)
    assert source.multi_label


def test_batches_are_multi_hot_and_equal_a_read_by_hand(source):
    (images, labels), *rest = data.test_batches(source, batch_size=8, crop=4, loader="tf.data")
    assert not rest
    expected = [[float(k in _labels(n, True)) for k in range(4)] for n in range(NUM_TEST)]
    np.testing.assert_array_equal(labels, expected)
    by_hand = np.stack([numbered_image(100 + n) for n in range(NUM_TEST)])
    arrays = data.from_arrays(by_hand, np.array(expected, int), by_hand, np.array(expected, bool))
    for loader in ("tf.data", "grain"):
        wanted = next(iter(data.test_batches(arrays, batch_size=8, crop=4, loader=loader)))
        np.testing.assert_array_equal(wanted[1], labels)
        np.testing.assert_allclose(wanted[0], images, atol=1e-5)


def test_the_stream_goes_on_where_it_was_and_is_divided(source):
    whole = _numbers(streams.shuffled(source.train, 7), 2 * NUM_TRAIN)
    assert sorted(whole[:NUM_TRAIN]) == sorted(whole[NUM_TRAIN:]) == list(range(NUM_TRAIN))
    assert whole[:NUM_TRAIN] != whole[NUM_TRAIN:]
    assert _numbers(streams.shuffled(source.train, 7, start=30), 10) == whole[30:40]
    assert _numbers(streams.shuffled(source.train, 7, start=20, shard=(1, 2)), 5) == whole[21:31:2]


def test_one_label(tmp_path):
    one = data.load(_folder(tmp_path / "one", several=False, key="label", test="test.tfrecord"))
    assert not one.multi_label
    np.testing.assert_array_equal(one.train.labels, np.arange(NUM_TRAIN) % 3)
    _, labels = next(iter(data.test_batches(one, batch_size=5, crop=4, loader="tf.data")))
    np.testing.assert_array_equal(labels, np.eye(4)[np.arange(5) % 3])
    few = data.load(_with_three_names(tmp_path / "one")).few_shot(2, seed=0)
    assert sorted(n % 3 for n in _numbers(streams.in_order(few.train), 10)) == [0, 0, 1, 1, 2, 2]
    assert few.identity["fingerprint"] != one.identity["fingerprint"]


def test_validation_beside_test_and_a_held_out_share(tmp_path, source):
    root = _folder(tmp_path / "three", test="test.tfrecord")
    before = data.load(root)
    _write(root / "valid-00000-of-00001", [_record(200 + n, _labels(n, True)) for n in range(3)])
    three = data.load(root)
    assert three.without_validation().describe() == before.describe(), "runs of earlier versions must resume"
    assert three.describe()["num_validation"] == 3
    assert _numbers(streams.in_order(three.validation), 9) == [200, 201, 202]
    assert _numbers(streams.in_order(three.test), 9) == [100, 101, 102, 103, 104]
    (root / "valid-00000-of-00001").rename(root / "validation-00000-of-00001")
    assert data.load(root).describe()["validation"] != three.describe()["validation"]
    _write(root / "val-00000-of-00001", [_record(200, [0])])
    with pytest.raises(data.DataError, match="must have one validation split, got both val and validation"):
        data.load(root)

    held_out = source.hold_out(0.2)  # several labels: a share of all examples
    train, validation = (_numbers(streams.in_order(split), 99) for split in (held_out.train, held_out.validation))
    assert validation == sorted(np.random.RandomState(0).permutation(NUM_TRAIN)[:5])
    assert sorted([*train, *validation]) == list(range(NUM_TRAIN))


def _with_three_names(root):
    (root / "class_names.txt").write_text("a\nb\nc\n")
    return root


def test_what_takes_one_label_refuses(source):
    for use in (lambda: source.few_shot(1, 0), source.describe_balance):
        with pytest.raises(data.DataError, match=r"takes one label per image; dataset several has several"):
            use()


def test_both_loaders_read_the_records(source):
    batches = [next(iter(data.test_batches(source, batch_size=5, crop=4, loader=name))) for name in data.LOADERS]
    for of_tf, of_grain in zip(*batches, strict=True):
        np.testing.assert_allclose(of_tf, of_grain, atol=1e-5)
    images, _ = next(iter(data.train_batches(source, batch_size=4, resize=6, crop=4, seed=0, loader="grain")))
    assert images.shape == (4, 4, 4, 3)


@pytest.mark.parametrize("loader", data.LOADERS)
def test_one_damaged_image_is_named_and_left_out(tmp_path, loader):
    """The order without it is that of data that never had it, also from a later step on."""
    good, bad = (_folder(tmp_path / name, several=False) for name in ("good", "bad"))
    records = [_record(number, [number % 3]) for number in range(10)]
    damaged = tf.train.Example.FromString(records[7])
    image = damaged.features.feature["image/encoded"].bytes_list
    image.value[0] = image.value[0][:60]
    _write(bad / "train-00000-of-00003", [*records[:7], damaged.SerializeToString(), *records[8:]])
    _write(good / "train-00000-of-00003", [*records[:7], *records[8:]])
    with pytest.raises(data.DataError, match=r"1 of 28 images cannot be used:\n.*00000-of-00003, record 7: ") as error:
        data.load(bad)
    assert error.value.files == (f"{bad / 'train-00000-of-00003'}, record 7",)
    found, expected = data.load(bad, skip_unreadable=True), data.load(good)
    assert found.num_train == NUM_TRAIN - 1
    assert found.train.name(7).endswith("00000-of-00003, record 8")
    assert found.describe() == {**expected.describe(), "name": "bad"}

    def batches(source, start, count):
        options = {"batch_size": 6, "resize": 9, "crop": 6, "seed": 3, "loader": loader, "start_step": start}
        return [next(each)[0] for each in [iter(data.train_batches(source, **options))] for _ in range(count)]

    whole = batches(found, 0, 5)
    np.testing.assert_array_equal(whole, batches(expected, 0, 5))
    np.testing.assert_array_equal(whole[3:], batches(found, 3, 2))


@pytest.mark.parametrize(
    ("train", "other", "split"),
    [
        ("flowers_train_00000-of-00001.tfrecord", "flowers_validation_00000-of-00001.tfrecord", "validation"),
        ("flowers-train.tfrecord-00000-of-00001", "flowers-test.tfrecord-00000-of-00001", "test"),
        ("coco_train.record-00000-of-00001", "coco_val.record-00000-of-00001", "val"),
        ("pets_train.record", "pets_test.record", "test"),
        ("train/00-192x192-6.tfrec", "val/00-192x192-6.tfrec", "val"),
        ("train_tfrecords/ld_train00-1338.tfrec", "test_tfrecords/ld_test00-1.tfrec", "test"),
        ("train.tfrecord", "test.tfrecords", "test"),
    ],
)
def test_names_of_other_programs(tmp_path, train, other, split):
    for name, numbers in ((train, range(4)), (other, range(100, 102))):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _write(tmp_path / name, [_record(number, [number % 2]) for number in numbers])
    (tmp_path / "labels.txt").write_text("0:daisy\n1:rose\n")
    source = data.load(tmp_path)
    assert _numbers(streams.in_order(source.train), 9) == [0, 1, 2, 3]
    assert _numbers(streams.in_order(source.test), 9) == [100, 101]
    assert (source.class_names, source.test_split) == (("daisy", "rose"), split)


def _kaggle(number, **features):
    image = tf.io.encode_png(numbered_image(number)).numpy()
    features = {"image": _feature(image), "id": _feature(b"a1"), **{k: _feature(v) for k, v in features.items()}}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.mark.parametrize("label", ["class", "target", "label", "kind"])
def test_features_of_other_programs_and_a_test_split_without_labels(tmp_path, label, caplog):
    _write(tmp_path / "train00-5.tfrec", [_kaggle(number, **{label: [number % 2]}) for number in range(10)])
    _write(tmp_path / "test00-5.tfrec", [_kaggle(number) for number in range(5)])
    (tmp_path / "class_names.txt").write_text("a\nb\n")
    columns = {"label_column": "kind"} if label == "kind" else {}
    source = data.load(tmp_path, **columns)
    assert (source.num_train, source.num_test) == (8, 2)
    assert "the split test has no labels; tested on a share of train instead" in caplog.text
    numbers = [_numbers(streams.in_order(split), 10) for split in (source.train, source.test)]
    assert sorted(numbers[0] + numbers[1]) == list(range(10))
    assert [n % 2 for n in numbers[1]] == source.test.labels.tolist()
    whole = data.load(tmp_path, divide=False, **columns)
    assert (whole.num_test, whole.test_split) == (10, "all")
    if columns:
        with pytest.raises(
            data.DataError, match=r"have one of .*label.*--label_column name it; got id \(bytes_list\),"
        ):
            data.load(tmp_path)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def _flip_length(path):
    content = path.read_bytes()
    path.write_bytes(struct.pack("<Q", 3) + content[8:])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_cut, r"train-00002-of-00003 cannot be read as a TFRecord file, it is corrupted or truncated"),
        (_flip, r"train-00002-of-00003 cannot be read as a TFRecord file"),
        (_flip_length, r"train-00002-of-00003 cannot be read as a TFRecord file"),
        (lambda p: p.write_bytes(gzip.compress(p.read_bytes())), r"train-00002-of-00003 must not be compressed"),
        (lambda p: _write(p, [_record(0, [4])]), r"train-00002-of-00003: labels must lie in \[0, 4\), got 4"),
        (lambda p: _write(p, [_record(0, [-1])]), r"labels must lie in \[0, 4\), got -1"),
        (lambda p: _write(p, [_record(0, [])]), r"train-00002-of-00003: every example must have label; record 0"),
        (lambda p: _write(p, [_record(0, [1], image=False)]), r"every example must have image/encoded; record 0"),
        (lambda p: _write(p, [_record(0, b"a")]), r"train-00002-of-00003: an example does not fit"),
        (lambda p: _write(p, [b"\xff"]), r"train-00002-of-00003: an example does not fit"),
        (lambda p: _write(p.with_name("train-00000-of-00003"), [_record(0, [1], "x")]), r"an example must have one of"),
        (lambda p: _write(p.with_name("train-00000-of-00003"), [b"\xff"]), r"00000-of-00003: records must be examples"),
        (
            lambda p: _write(p.with_name("train-00000-of-00003"), [_unreadable_image()]),
            r"1 of 19 images cannot be used:\n.*train-00000-of-00003, record 0: cannot be decoded",
        ),
        (lambda p: p.with_name("class_names.txt").unlink(), r"must hold the names of the classes"),
    ],
)
def test_faulty_files_are_refused(tmp_path, spoil, message):
    root = _folder(tmp_path / "faulty")
    spoil(root / "train-00002-of-00003")
    with pytest.raises(data.DataError, match=message):
        data.load(root)
