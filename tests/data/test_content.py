"""Data whose content has changed under the same names, sizes and times are other data."""

import os
from pathlib import Path

import keras
import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.content import with_content


def _describe(path: Path) -> dict:
    return with_content(data.load(path, verbose=False)).describe()


def _replace(path: Path, content: bytes) -> None:
    """Changes the content of a file, and neither its size nor its times."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _bitmaps(folder: Path) -> list[Path]:
    """Writes images of the same size in bytes."""
    random = np.random.default_rng(0)
    paths = [folder / name / f"{k}.bmp" for name in ("crow", "owl") for k in range(3)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(path, random.integers(0, 256, (8, 8, 3)))
    return paths


@pytest.fixture(params=["folder", "csv"])
def images(request, tmp_path) -> tuple[Path, list[Path]]:
    """The name of a data set of image files, and the files."""
    paths = _bitmaps(tmp_path / "birds")
    if request.param == "folder":
        return tmp_path / "birds", paths
    table = tmp_path / "birds.csv"
    rows = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in paths]
    table.write_text("\n".join(["path,label", *rows]) + "\n")
    return table, paths


def test_image_files(images):
    name, paths = images
    before = _describe(name)
    assert before == _describe(name)
    one, other = (path.read_bytes() for path in paths[:2])
    _replace(paths[0], other)
    _replace(paths[1], one)
    after = _describe(name)
    assert after != before
    assert {**after, "content": before["content"]} == before, "what earlier versions recorded is the same"


def test_arrays(tmp_path):
    path, random = tmp_path / "arrays.npz", np.random.default_rng(0)
    described = []
    for _ in range(2):
        arrays = {f"{split}_images": random.integers(0, 256, (4, 8, 8, 3), np.uint8) for split in ("train", "test")}
        np.savez(path, **arrays, train_labels=[0, 1, 0, 1], test_labels=[0, 1, 0, 1])
        described.append(_describe(path))
    assert described[0]["fingerprint"] != described[1]["fingerprint"]
    assert "content" not in described[0]


def test_a_draw_keeps_the_content_of_all_its_data(tmp_path):
    _bitmaps(tmp_path)
    source = with_content(data.load(tmp_path))
    few = source.few_shot(1, seed=0)
    assert with_content(few) is few
    assert few.identity["content"] == source.identity["content"]


def _examples(labels: list[int], seed: int) -> list[bytes]:
    import tensorflow as tf

    random = np.random.default_rng(seed)
    examples = []
    for label in labels:
        image = tf.io.encode_png(random.integers(0, 256, (8, 8, 3), np.uint8)).numpy().ljust(300, b"\0")
        features = {
            "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
            "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        }
        examples.append(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return examples


def test_tfrecord_files(tmp_path):
    import tensorflow as tf

    def write(seed: int) -> dict:
        for split in ("train", "test"):
            with tf.io.TFRecordWriter(str(tmp_path / f"{split}-00000-of-00001")) as writer:
                for example in _examples([0, 1, 0, 1], seed):
                    writer.write(example)
        return _describe(tmp_path)

    (tmp_path / "labels.txt").write_text("crow\nowl\n")
    first, other, again = map(write, (0, 1, 0))
    assert first == again
    assert first["fingerprint"] == other["fingerprint"]
    assert first["content"] != other["content"]


def test_tensorflow_datasets(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    class Birds(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        seed = 0

        def _info(self):
            features = {"image": tfds.features.Image(shape=(8, 8, 3)), "label": tfds.features.ClassLabel(num_classes=2)}
            return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

        def _split_generators(self, dl_manager):
            return {split: self._generate_examples() for split in ("train", "test")}

        def _generate_examples(self):
            random = np.random.default_rng(self.seed)
            for k in range(4):
                yield k, {"image": random.integers(0, 256, (8, 8, 3), np.uint8), "label": k % 2}

    described = []
    for seed, folder in ((0, "a"), (1, "b"), (0, "c")):
        Birds.seed = seed
        monkeypatch.setattr(tfds, "builder", lambda name, data_dir, **_: Birds(data_dir=data_dir))
        described.append(with_content(data.load("birds", data_dir=tmp_path / folder)).describe())
    assert described[0] == described[2]
    assert {**described[1], "content": None} == {**described[0], "content": None}
    assert described[1]["content"] != described[0]["content"]
