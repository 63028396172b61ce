"""Sources whose images contain their own number, so that a test can identify each example."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import data

NUM_TRAIN, NUM_TEST, NUM_CLASSES = 40, 11, 3


def numbered_image(number: int, height: int = 6, width: int = 9) -> np.ndarray:
    """Returns an image of noise with `number` in the first pixel."""
    image = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    image[0, 0] = number
    return image


class Numbered(tfds.core.GeneratorBasedBuilder):
    """Images that contain their number, from 0 in train, 50 in validation and 100 in test; the label is number % 3."""

    VERSION = tfds.core.Version("1.2.3")
    BUILDER_CONFIGS = [  # noqa: RUF012, as TFDS requires
        tfds.core.BuilderConfig(name=name)
        for name in ("fixed", "varied", "validated", "unlabelled_test", "grey", "stray_label", "no_label", "train_only")
    ]

    def _info(self):
        shape = {"fixed": (6, 9, 3), "grey": (6, 9, 1)}.get(self.builder_config.name, (None, None, 3))
        features = {
            "image": tfds.features.Image(shape=shape),
            "number": tfds.features.Scalar(np.int64),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
        if self.builder_config.name == "no_label":
            del features["label"]
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        splits = {
            "train": self._generate_examples(range(NUM_TRAIN)),
            "test": self._generate_examples(range(100, 100 + NUM_TEST)),
        }
        if self.builder_config.name in ("validated", "unlabelled_test"):
            splits = {**splits, "validation": self._generate_examples(range(50, 50 + NUM_TEST))}
        if self.builder_config.name == "train_only":
            del splits["test"]
        return splits

    def _generate_examples(self, numbers):
        for number in numbers:
            size = (6 + number % 3, 9 - number % 2) if self.info.features["image"].shape[0] is None else (6, 9)
            example = {"image": numbered_image(number, *size), "number": number, "label": number % 3}
            if self.builder_config.name == "grey":
                example["image"] = example["image"][..., :1]
            if self.builder_config.name == "unlabelled_test" and number >= 100:
                example["label"] = -1
            if self.builder_config.name == "stray_label" and number == 7:
                example["label"] = -1
            if self.builder_config.name == "no_label":
                del example["label"]
            yield number, example


@pytest.fixture(scope="session")
def tfds_dir(tmp_path_factory) -> Path:
    """Folder with all configurations of "numbered" prepared; the training split has several files."""
    directory = tmp_path_factory.mktemp("tfds")
    for config in Numbered.BUILDER_CONFIGS:
        builder = Numbered(config=config.name, data_dir=directory)
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=4))
    return directory


@pytest.fixture
def array_source() -> data.Source:
    def split(numbers):
        return np.stack([numbered_image(number) for number in numbers]), np.array([n % 3 for n in numbers])

    return data.from_arrays(*split(range(NUM_TRAIN)), *split(range(100, 100 + NUM_TEST)))


@pytest.fixture
def image_folder(tmp_path) -> Path:
    """Folder "numbered" with the splits train and test of PNG files; the class is number % 3."""
    root = tmp_path / "numbered"
    for split, numbers in {"train": range(NUM_TRAIN), "test": range(100, 100 + NUM_TEST)}.items():
        for number in numbers:
            path = root / split / "abc"[number % 3] / f"{number:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tf.io.encode_png(numbered_image(number)).numpy())
    return root


def write_records(path, numbers):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in numbers:
            example = tf.train.Example()
            example.features.feature["image"].bytes_list.value.append(
                tf.io.encode_png(numbered_image(number, 6 + number % 2)).numpy()
            )
            example.features.feature["label"].int64_list.value.append(number % 3)
            writer.write(example.SerializeToString())


@pytest.fixture
def record_folder(tmp_path):
    """The images of `image_folder` in TFRecord files of 20, 20 and 11."""
    root = tmp_path / "records"
    root.mkdir()
    for name, numbers in (
        ("train-00000-of-00002", range(20)),
        ("train-00001-of-00002", range(20, NUM_TRAIN)),
        ("test-00000-of-00001", range(100, 100 + NUM_TEST)),
    ):
        write_records(root / name, numbers)
    (root / "class_names.txt").write_text("a\nb\nc\n")
    return root


@pytest.fixture(params=["arrays", "folder", "tfds", "few_shot"])
def any_source(request) -> data.Source:
    """The same examples from each kind of source in turn; few_shot has 9 of the 40."""
    if request.param == "folder":
        return data.load(request.getfixturevalue("image_folder"))
    source = request.getfixturevalue("array_source")
    if request.param == "tfds":
        return data.load("numbered/fixed", data_dir=str(request.getfixturevalue("tfds_dir")))
    return source.few_shot(3, seed=0) if request.param == "few_shot" else source


@pytest.fixture
def numbers_of():
    """Returns a function that reads the numbers in a dataset's images, and checks images and labels."""

    def numbers(examples: tf.data.Dataset) -> list[int]:
        found = []
        for image, label in examples.as_numpy_iterator():
            image = tf.io.decode_png(image).numpy() if isinstance(image, bytes) else image
            number = int(image[0, 0, 0])
            np.testing.assert_array_equal(image, numbered_image(number, *image.shape[:2]))
            assert label == number % 3
            assert label.dtype == np.int64
            found.append(number)
        return found

    return numbers
