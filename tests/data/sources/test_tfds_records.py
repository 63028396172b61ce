"""Data sets of TensorFlow Datasets in ArrayRecord files, compared with the same in TFRecord files on tf.data."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import data
from bit_keras.data.loaders import streams
from bit_keras.data.prepare import prepare
from bit_keras.data.sources.tfds_records import BLOCK, CYCLE, Records, interleaved

NUM_TRAIN, NUM_TEST = 120, 57


class Several(tfds.core.GeneratorBasedBuilder):
    """Images in three files of each split, which have more than one block of records; the label is number % 3."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            "other": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(0, NUM_TRAIN), "test": self._generate_examples(200, NUM_TEST)}

    def _generate_examples(self, first, count):
        for number in range(first, first + count):
            random = np.random.default_rng(number)
            image = random.integers(0, 256, (6 + number % 3, 9, 3), np.uint8)
            yield number, {"image": image, "label": number % 3, "other": "x"}


def _prepared(folder: Path, file_format: str) -> str:
    builder = Several(data_dir=folder, file_format=file_format)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=3))
    return str(folder)


@pytest.fixture(scope="module")
def of_tfrecord(tmp_path_factory) -> str:
    return _prepared(tmp_path_factory.mktemp("tfrecord"), "tfrecord")


@pytest.fixture(scope="module")
def of_array_record(tmp_path_factory) -> str:
    return _prepared(tmp_path_factory.mktemp("array_record"), "array_record")


@pytest.fixture(scope="module")
def of_both(of_tfrecord, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("both") / "data"
    shutil.copytree(of_tfrecord, folder)
    prepare("several", folder)
    return str(folder)


def _all(batches) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate([np.asarray(part) for part in parts]) for parts in zip(*batches, strict=True))


@pytest.mark.parametrize("seed", range(6))
def test_the_order_is_that_of_tf_data(seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 70, random.integers(1, 3 * CYCLE))
    lengths[random.random(len(lengths)) < 0.4] = BLOCK * random.integers(0, 4)
    ends = np.cumsum(lengths)
    expected = tf.data.Dataset.from_tensor_slices((ends - lengths, ends)).interleave(
        tf.data.Dataset.range, cycle_length=CYCLE, block_length=BLOCK, num_parallel_calls=tf.data.AUTOTUNE
    )
    assert interleaved(lengths).tolist() == list(expected.as_numpy_iterator())


@pytest.mark.parametrize("name", ["several", "several[:70%]", "several[10:50]"])
def test_examples_draws_and_shares_are_those_of_tf_data(name, of_tfrecord, of_array_record):
    expected, source = (data.load(name, data_dir=place) for place in (of_tfrecord, of_array_record))
    assert isinstance(source.train, Records)
    assert (source.class_names, source.image_size) == (expected.class_names, expected.image_size)
    assert (source.num_train, source.num_test) == (expected.num_train, expected.num_test)
    before = expected.describe()
    assert source.describe() == {**before, "files": "array_record"}
    held_out, drawn = (
        [change(each) for each in (expected, source)]
        for change in (lambda each: each.hold_out(0.2), lambda each: each.few_shot(2, seed=1))
    )
    pairs = [
        (expected.train, source.train),
        (expected.test, source.test),
        *((getattr(held_out[0], split), getattr(held_out[1], split)) for split in ("train", "validation")),
        (drawn[0].train, drawn[1].train),
    ]
    for theirs, ours in pairs:
        images, labels = zip(*streams.in_order(theirs).as_numpy_iterator(), strict=True)
        np.testing.assert_array_equal(ours.labels, labels)
        assert [bytes(image) for image, _ in streams.in_order(ours).as_numpy_iterator()] == list(images)
    assert source.train.labels.tolist() != sorted(source.train.labels)


def test_batches_of_grain_are_those_of_tf_data(of_tfrecord, of_array_record, of_both):
    settings = {"batch_size": 10, "crop": 16}
    images, labels = _all(data.test_batches(data.load("several", data_dir=of_tfrecord), **settings))
    for place in (of_array_record, of_both):
        source = data.load("several", data_dir=place)
        batches = data.test_batches(source, **settings, loader="grain")
        assert len(batches) == 6
        ours = _all(batches)
        np.testing.assert_array_equal(ours[1], labels)
        np.testing.assert_allclose(ours[0], images, atol=1e-5)
        again = _all(data.test_batches(source, **settings, loader="tf.data"))
        np.testing.assert_array_equal(again[0], images)


@pytest.mark.parametrize("loader", ["grain", "tf.data"])
def test_training_resumes_at_any_step(loader, of_array_record):
    source = data.load("several", data_dir=of_array_record)
    settings = {"batch_size": 12, "resize": 20, "crop": 16, "seed": 3, "loader": loader}
    whole = list(itertools.islice(data.train_batches(source, **settings), 22))  # two passes and a part
    for start in (5, 17):
        resumed = itertools.islice(data.train_batches(source, **settings, start_step=start), 3)
        for there, here in zip(whole[start:], resumed, strict=False):
            np.testing.assert_array_equal(there[0], here[0])
            np.testing.assert_array_equal(there[1], here[1])
    for one_pass in (whole[:10], whole[10:20]):
        assert _all(one_pass)[1].sum(axis=0).tolist() == [40, 40, 40]
    assert not np.array_equal(whole[0][0], whole[10][0])


def test_a_stray_label_names_its_data(of_array_record):
    source = data.load("several", data_dir=of_array_record)
    source.train.builder.info.features["label"]._num_classes = 2
    with pytest.raises(data.DataError, match=r"several/1.0.0, train: labels must lie in \[0, 2\), got 2"):
        [source.train.read(index) for index in range(20)]


def test_the_cache_counts_every_image(of_array_record):
    split = data.load("several", data_dir=of_array_record).train
    needed = (
        sum(split.read(index)[0].size for index in range(len(split))) + split.builder.info.splits["train"].num_bytes
    )
    assert (split.fits_in(needed), split.fits_in(needed - 1)) == (True, False)


def test_data_in_both_forms_are_read_as_before(of_both, of_tfrecord):
    """So that runs on them resume."""
    expected, source = (data.load("several", data_dir=place) for place in (of_tfrecord, of_both))
    assert source.describe() == expected.describe()
    settings = {"batch_size": 12, "resize": 20, "crop": 16, "seed": 3}
    batches = [next(iter(data.train_batches(each, **settings))) for each in (expected, source)]
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    np.testing.assert_array_equal(source.train.indexed.labels, source.train.labels)
    part = source.hold_out(0.2).train
    np.testing.assert_array_equal(part.indexed.labels, part.labels)


def test_grain_names_the_way_to_files_with_random_access(of_tfrecord):
    source = data.load("several", data_dir=of_tfrecord)
    with pytest.raises(data.DataError, match=r"random access .* bit_keras\.data prepare"):
        data.test_batches(source, batch_size=10, crop=16, loader="grain")


def test_a_conversion_that_was_interrupted_resumes(of_tfrecord, tmp_path, monkeypatch):
    from tensorflow_datasets.core.file_adapters import ArrayRecordFileAdapter

    shutil.copytree(of_tfrecord, tmp_path / "data")
    written, write = [], ArrayRecordFileAdapter.write_examples

    def fail_at_third(path, iterator):
        written.append(Path(path).name)
        if len(written) == 3:
            raise KeyboardInterrupt
        return write(path, iterator)

    monkeypatch.setattr(ArrayRecordFileAdapter, "write_examples", fail_at_third)
    with pytest.raises(KeyboardInterrupt):
        prepare("several", tmp_path / "data")
    source = data.load("several", data_dir=tmp_path / "data")
    assert source.train.indexed is None
    folder = prepare("several", tmp_path / "data")
    assert len(written) == 7, "six files, of which one was begun twice"
    assert len(list(folder.glob("*array_record*"))) == len(list(folder.glob("*tfrecord*"))) == 6
    assert not list(folder.glob(".*"))
    assert prepare("several", tmp_path / "data") == folder
    assert len(written) == 7


def test_data_are_prepared_when_they_are_not_yet(tmp_path, run_program):
    folder = prepare("several", tmp_path)
    assert folder == tmp_path / "several" / "1.0.0"
    assert sorted(path.name.split(".")[0] for path in folder.glob("*record*")) == ["several-test", "several-train"]
    assert isinstance(data.load("several", data_dir=tmp_path).train, Records)
    done = run_program("bit_keras.data", "prepare", "several", f"--data_dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"prepared in {folder}; ")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "unknown subcommand|usage"),
        (["prepare"], 2, "one NAME must be given, got nothing"),
        (["prepare", "several", "other"], 2, "one NAME must be given, got several other"),
        (["prepare", "mnist[:80%]"], 1, r"NAME must be that of a data set, without a slice, got 'mnist\[:80%\]'"),
        (["prepare", "mnits"], 1, "no such data: 'mnits'.* come close: .*mnist"),
        (["prepare", "mnist", "--data-dir=x"], 2, "unknown flag --data-dir"),
    ],
)
def test_the_program_says_what_is_wrong(arguments, status, message, run_program):
    done = run_program("bit_keras.data", *arguments)
    assert done.returncode == status
    assert re.search(message, done.stdout + done.stderr)
    assert "Traceback" not in done.stderr


_WITHOUT_TENSORFLOW = """
import sys


class Finder:  # does not find TensorFlow
    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, *arguments):
        return None if name == "tensorflow" else self._finder.find_spec(name, *arguments)


sys.meta_path = list(map(Finder, sys.meta_path))
import json
import numpy as np
import tiny  # adds the variant
import bit_keras
from bit_keras import data

array_record, tfrecord, workdir = sys.argv[1:]
source = data.load("several[:90%]", data_dir=array_record)
images, labels = zip(*((np.asarray(x), np.asarray(y)) for x, y in data.test_batches(source, batch_size=10, crop=16)))
few = source.few_shot(2, seed=1)
answer = {"labels": np.concatenate(labels).argmax(axis=1).tolist(), "few": few.train.labels.tolist()}
answer["pixels"] = float(np.concatenate(images).astype(float).sum())
for name, place in (("several", tfrecord), ("several", workdir), ("mnist", workdir), ("vtab/dtd", workdir)):
    try:
        data.load(name, data_dir=place)
    except (data.DataError, ImportError) as error:
        answer.setdefault("errors", []).append(str(error))
settings = {"dataset": "several", "data_dir": array_record, "steps": 5, "batch_size": 8, "resolution": 16}
result = bit_keras.finetune("tiny", workdir=workdir + "/run", eval_every=5, **settings, verbose=False)
answer["accuracy"] = result.test_accuracy
print(json.dumps(answer))
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_without_tensorflow(backend, of_array_record, of_tfrecord, tmp_path):
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(root), str(root / "tests" / "consumers"), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TENSORFLOW, of_array_record, of_tfrecord, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": backend, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5_000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    expected = data.load("several[:90%]", data_dir=of_tfrecord)
    images, labels = _all(data.test_batches(expected, batch_size=10, crop=16))
    assert answer["labels"] == labels.argmax(axis=1).tolist()
    assert answer["pixels"] == pytest.approx(images.astype(float).sum(), abs=1e-5 * images.size)
    assert answer["few"] == expected.few_shot(2, seed=1).train.labels.tolist()
    assert 0 <= answer["accuracy"] <= 1
    in_tfrecord, unknown, missing, task = answer["errors"]
    assert "is not in ArrayRecord files, and only TensorFlow, which is not installed, reads others" in in_tfrecord
    assert f"python -m bit_keras.data prepare several/1.0.0 --data_dir={of_tfrecord}" in in_tfrecord
    assert unknown.startswith("no such data: 'several'")
    assert f"mnist is not prepared in {tmp_path}, and TensorFlow is not installed" in missing
    assert "'vtab/dtd' of TensorFlow Datasets needs the package tensorflow, which is not installed" in task
