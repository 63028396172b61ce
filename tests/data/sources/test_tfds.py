import errno
import json
import os

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from bit_keras import data
from bit_keras.data.loaders import streams
from bit_keras.data.sources import tfds_stream

# Published numbers of training examples, test examples and classes, and the image size if it is fixed.
MOCKED = {
    "cifar10": ({"train": 50_000, "test": 10_000}, 10, (32, 32)),
    "cifar100": ({"train": 50_000, "test": 10_000}, 100, (32, 32)),
    "oxford_iiit_pet": ({"train": 3_680, "test": 3_669}, 37, None),
    "oxford_flowers102": ({"train": 1_020, "validation": 1_020, "test": 6_149}, 102, None),
    "imagenet2012": ({"train": 1_281_167, "validation": 50_000}, 1_000, None),
}


@pytest.fixture
def mocked(mock_tfds):
    """Returns a function from a name in MOCKED and a number of examples per split to the context of its mock."""
    return lambda name, num_examples: mock_tfds(name, MOCKED[name][0], num_examples)


@pytest.mark.parametrize("name", MOCKED)
def test_public_datasets(name, mocked):
    splits, num_classes, image_size = MOCKED[name]
    with mocked(name, num_examples=13):
        source = data.load(name)
        assert (source.name, source.num_classes, source.num_train) == (name, num_classes, splits["train"])
        assert source.num_test == splits["validation" if name == "imagenet2012" else "test"]
        assert source.image_size == image_size or image_size is None
        assert all(5 <= side < 50 for side in source.image_size)  # the range of the mock
        assert source.describe()["fingerprint"].startswith(name)

        train = data.train_batches(source, batch_size=4, resize=24, crop=16, seed=0)
        for images, labels in train.take(2):
            assert images.shape == (4, 16, 16, 3)
            assert labels.shape == (4, num_classes)
            assert -1 <= images.numpy().min() < images.numpy().max() <= 1
        again = data.train_batches(source, batch_size=4, resize=24, crop=16, seed=0, start_step=1)
        np.testing.assert_array_equal(next(iter(again))[0], images)

        sizes = [len(labels) for _, labels in data.test_batches(source, batch_size=5, crop=16)]
        assert sizes == [5, 5, 3]


@pytest.mark.parametrize(("name", "num_examples"), [("cifar10", 80), ("oxford_iiit_pet", 400)])
def test_few_shot_of_public_datasets(name, num_examples, mocked):
    with mocked(name, num_examples):
        few = data.load(name).few_shot(1, seed=0)
        assert few.num_train == few.num_classes
        labels = [label for _, label in streams.shuffled(few.train, seed=0).take(few.num_train).as_numpy_iterator()]
        assert sorted(labels) == list(range(few.num_classes))


@pytest.mark.parametrize("name", ["numbered/fixed", "numbered/fixed:1.2.3", "numbered:1.2.3"])
def test_real_dataset_by_name(name, tfds_dir):
    source = data.load(name, data_dir=str(tfds_dir))
    assert (source.name, source.class_names, source.image_size) == (name, ("a", "b", "c"), (6, 9))
    assert (source.num_train, source.num_test) == (40, 11)
    assert source.describe()["fingerprint"] == "numbered/fixed/1.2.3"
    assert json.loads(json.dumps(source.describe())) == source.describe()
    assert streams.shuffled(source.train, 0).element_spec == (tf.TensorSpec((), tf.string), tf.TensorSpec((), tf.int64))


def test_dataset_is_prepared_when_it_is_not_yet(tmp_path):
    assert data.load("numbered/fixed", data_dir=str(tmp_path)).num_train == 40
    assert len(list(tmp_path.glob("numbered/fixed/1.2.3/*train*tfrecord*"))) == 1


def test_image_size_is_the_median_where_images_differ(tfds_dir):
    source = data.load("numbered/varied", data_dir=str(tfds_dir))
    assert source.image_size == (7, round(8.5))  # heights 6, 7, 8 and widths 8, 9 in turn


def test_training_reads_several_files_in_shuffled_order(tfds_dir, numbers_of, monkeypatch):
    assert len(list(tfds_dir.glob("numbered/fixed/1.2.3/*train*tfrecord*"))) == 4
    source = data.load("numbered/fixed", data_dir=str(tfds_dir))
    monkeypatch.setattr(tfds_stream, "_SHUFFLE_BYTES", 1)  # a buffer of one example: only files are shuffled
    passes = np.reshape(numbers_of(streams.shuffled(source.train, seed=0).take(200)), (5, 40))
    assert all(sorted(one_pass) == list(range(40)) for one_pass in passes)
    assert len({one_pass[0] for one_pass in passes}) > 1


def test_small_shuffle_buffer_still_shuffles_whole_passes(tfds_dir, numbers_of, monkeypatch):
    source = data.load("numbered/fixed", data_dir=str(tfds_dir))
    monkeypatch.setattr(tfds_stream, "_SHUFFLE_BYTES", 2_000)  # a buffer of some of the 40 images
    stream = numbers_of(streams.shuffled(source.train, seed=0).take(120))
    assert all(sorted(stream[i : i + 40]) == list(range(40)) for i in (0, 40, 80))
    assert numbers_of(streams.shuffled(source.train, 0, start=57).take(63)) == stream[57:]
    assert stream != numbers_of(streams.shuffled(source.train, seed=1).take(120))


def test_labels_stand_in_the_order_of_the_examples(tfds_dir, numbers_of):
    source = data.load("numbered/fixed", data_dir=str(tfds_dir))
    numbers = numbers_of(streams.in_order(source.train))
    assert sorted(numbers) == list(range(40))
    assert source.train.labels.tolist() == [number % 3 for number in numbers]
    assert numbers_of(streams.in_order(source.train.take(np.array([3, 17])))) == [numbers[3], numbers[17]]


def test_unlabelled_test_split_gives_way_to_validation(tfds_dir, numbers_of):
    source = data.load("numbered/unlabelled_test", data_dir=str(tfds_dir))
    assert sorted(numbers_of(streams.in_order(source.test))) == list(range(50, 61))
    assert source.validation is None
    assert source.describe_splits() == "40 training and 11 test examples (the validation split)"
    assert source.tested_on("validation") is source


def test_validation_beside_test_is_the_validation_split(tfds_dir, numbers_of):
    source = data.load("numbered/validated", data_dir=str(tfds_dir))
    assert (source.num_train, source.num_validation, source.num_test, source.test_split) == (40, 11, 11, "test")
    assert sorted(numbers_of(streams.in_order(source.validation))) == list(range(50, 61))
    assert sorted(numbers_of(streams.in_order(source.test))) == list(range(100, 111))
    assert source.describe()["num_validation"] == 11
    before = {"name": source.name, "num_train": 40, "num_test": 11, "num_classes": 3, "kind": "tfds"}
    before["fingerprint"] = "numbered/validated/1.2.3"
    assert source.without_validation().describe() == before, "runs of earlier versions must resume"


def test_a_held_out_share_stays_in_its_files(tfds_dir, numbers_of):
    whole = data.load("numbered/fixed", data_dir=str(tfds_dir))
    source = whole.hold_out(0.2)
    train, validation = (numbers_of(streams.in_order(split)) for split in (source.train, source.validation))
    assert not isinstance(source.train, data.examples.Examples)
    assert sorted([*train, *validation]) == list(range(40))
    assert (source.num_train, source.num_validation) == (len(train), len(validation)) == (31, 9)
    assert np.bincount([number % 3 for number in validation]).tolist() == [3, 3, 3]
    expected = np.random.RandomState(0).permutation(14)[:3]  # of the 14 images of class 0, in the order of the stream
    of_class_0 = [number for number in numbers_of(streams.in_order(whole.train)) if number % 3 == 0]
    assert {number for number in validation if number % 3 == 0} == {of_class_0[k] for k in expected}

    passes = np.reshape(numbers_of(streams.shuffled(source.train, seed=1).take(93)), (3, 31))
    assert all(sorted(one_pass) == sorted(train) for one_pass in passes)
    assert numbers_of(streams.shuffled(source.train, 1, start=40).take(20)) == passes.reshape(-1)[40:60].tolist()
    few = numbers_of(streams.in_order(source.few_shot(2, seed=0).train))
    assert len(few) == 6
    assert set(few) <= set(train)


def test_share_and_validation_of_public_datasets(mocked):
    with mocked("cifar10", 50):
        source = data.load("cifar10").hold_out(0.1)
        labels = [label for _, label in streams.in_order(data.load("cifar10").train).as_numpy_iterator()]
        assert source.num_validation == sum(max(1, round(0.1 * count)) for count in np.bincount(labels))
        assert source.num_train + source.num_validation == 50
    with mocked("oxford_flowers102", 20):
        source = data.load("oxford_flowers102")
        assert (source.num_train, source.num_validation, source.num_test) == (1_020, 1_020, 6_149)
        with pytest.raises(data.DataError, match=r"flowers102 has a validation split of 1,020 .* got validation=0\.1"):
            source.hold_out(0.1)


def test_stray_label_stops_training_and_few_shot(tfds_dir):
    source = data.load("numbered/stray_label", data_dir=str(tfds_dir))
    batches = data.train_batches(source, batch_size=40, resize=8, crop=8, seed=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"stray_label: labels must lie in \[0, 3\), got\] \[-1\]"):
        next(iter(batches))
    with pytest.raises(data.DataError, match=r"training labels must lie in \[0, 3\), got -1"):
        source.few_shot(1, seed=0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("numbered/no_label", "no_label must have .*it has FeaturesDict.*number"),
        ("numbered/fixed[80]", r"fixed\[80\]: a slice must be like \[:80%\], \[10%:\] or \[100:200\], got \[80\]"),
        ("numbered/fixed[:1%]", r"the slice \[:1%\] of 40 training images is empty"),
        ("numbred", "no such data: 'numbred'; .* come close: numbered"),
    ],
)
def test_unfit_datasets(name, message, tfds_dir):
    with pytest.raises(data.DataError, match=f"(?s){message}"):
        data.load(name, data_dir=str(tfds_dir))


def test_train_alone_is_divided(tfds_dir, numbers_of):
    source = data.load("numbered/train_only", data_dir=str(tfds_dir))
    numbers = [numbers_of(streams.in_order(split)) for split in (source.train, source.test)]
    assert sorted(numbers[0] + numbers[1]) == list(range(40))
    assert np.bincount([n % 3 for n in numbers[1]]).tolist() == [3, 3, 3]
    other = data.load("numbered/train_only", data_dir=str(tfds_dir), seed=1)
    assert sorted(numbers_of(streams.in_order(other.test))) != sorted(numbers[1])
    assert other.describe() != source.describe()
    whole = data.load("numbered/train_only", data_dir=str(tfds_dir), divide=False)
    assert (whole.num_test, whole.test_split) == (40, "all")


def test_slices(tfds_dir, numbers_of):
    whole = numbers_of(streams.in_order(data.load("numbered/fixed", data_dir=str(tfds_dir)).train))
    source = data.load("numbered/fixed[:80%]", data_dir=str(tfds_dir))
    assert numbers_of(streams.in_order(source.train)) == whole[:32]
    assert (source.num_test, source.test_split) == (11, "test")
    assert numbers_of(streams.shuffled(source.train, seed=0).take(64)) != [*whole[:32], *whole[:32]]
    rest = data.load("numbered/train_only[10:20]", data_dir=str(tfds_dir))
    of_train_only = numbers_of(streams.in_order(data.load("numbered/train_only[:100%]", data_dir=str(tfds_dir)).train))
    assert len(of_train_only) == 31, "nothing is left for testing, so that a share is held out"
    assert (rest.num_train, rest.num_test, rest.test_split) == (10, 30, "rest of train")
    assert rest.describe()["slice"] == "10:20"


def test_grey_images_and_the_names_of_features(tfds_dir):
    source = data.load("numbered/grey", data_dir=str(tfds_dir))
    images, _ = next(iter(data.test_batches(source, batch_size=2, crop=4)))
    assert images.shape == (2, 4, 4, 3)
    np.testing.assert_array_equal(images[..., 0], images[..., 2])
    with pytest.raises(
        data.DataError, match=r'features "photo", an Image .* and "label", a ClassLabel; --image_column'
    ):
        data.load("numbered/fixed", data_dir=str(tfds_dir), image_column="photo")


def test_the_cache_counts_every_image(tfds_dir):
    for name in ("fixed", "varied"):
        split = data.load(f"numbered/{name}", data_dir=str(tfds_dir)).train
        decoded = sum(tf.io.decode_png(image).shape.num_elements() for image, _ in streams.in_order(split))
        needed = decoded + split.builder.info.splits["train"].num_bytes
        assert (split.fits_in(needed), split.fits_in(needed - 1)) == (True, False)


class Byhand(tfds.core.GeneratorBasedBuilder):
    """Images of an archive that only a user can download."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    Sign the licence and put archive.npz here.
    """

    def _info(self):
        features = {"image": tfds.features.Image(shape=(6, 9, 3)), "label": tfds.features.ClassLabel(names=["a", "b"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        path = dl_manager.manual_dir / "archive.npz"
        return {"train": self._generate_examples(path), "test": self._generate_examples(path)}

    def _generate_examples(self, path):
        with np.load(path) as archive:
            for number, image in enumerate(archive["images"]):
                yield number, {"image": image, "label": number % 2}


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO])
def test_errors_of_the_system_do_not_ask_for_archives(code, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    (tmp_path / "manual").mkdir()
    (tmp_path / "manual" / "readme").touch()
    monkeypatch.setattr(Byhand, "_generate_examples", fail)
    with pytest.raises(data.DataError, match=f"cannot be prepared by .*{os.strerror(code)}") as caught:
        data.load("byhand", data_dir=str(tmp_path / "prepared"), manual_dir=str(tmp_path / "manual"))
    assert "by hand" not in str(caught.value)


def test_archives_that_only_a_user_can_download(tmp_path):
    prepared, manual = tmp_path / "prepared", tmp_path / "manual"
    with pytest.raises(data.DataError, match=rf"(?s)by hand, to the folder {manual}.*empty.*\nSign the licence"):
        data.load("byhand", data_dir=str(prepared), manual_dir=str(manual))
    manual.mkdir()
    (manual / "readme").touch()
    with pytest.raises(data.DataError, match=r"(?s)by hand, to the folder .*archive.npz.*\nSign the licence"):
        data.load("byhand", data_dir=str(prepared), manual_dir=str(manual))
    np.savez(manual / "archive.npz", images=np.zeros((4, 6, 9, 3), np.uint8))
    assert data.load("byhand", data_dir=str(prepared), manual_dir=str(manual)).num_train == 4
    assert data.load("byhand", data_dir=str(prepared)).num_train == 4  # no longer needed, once prepared
