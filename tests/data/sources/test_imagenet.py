"""The evaluation sets of ILSVRC-2012 from small folders of their true form."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras import data
from bit_keras.zoo.label_lists import list_of


def write_image(path: Path, color: int = 0) -> None:
    """Writes an image of one colour, which tells it from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (6, 4), (color, color, color)).save(path)


def colors(source: data.Source) -> list[int]:
    return [int(source.test.read(k)[0][0, 0, 0]) for k in range(source.num_test)]


@pytest.fixture
def v2(tmp_path) -> Path:
    """Class folders of ImageNet-V2, whose images have the number of the class, modulo 250, as their colour."""
    root = tmp_path / "imagenetv2-matched-frequency-format-val"
    for number in (0, 2, 10, 100, 999):
        for k in range(2):
            write_image(root / str(number) / f"{k}ab.jpeg", number % 250)
    return root


def test_a_folder_of_imagenet_v2_is_the_class_of_its_number(v2, caplog):
    source = data.load(f"imagenet_v2:{v2}")
    assert source.name == "imagenet_v2/matched-frequency"
    assert source.num_classes == 1_000
    assert source.test.labels.tolist() == [0, 0, 2, 2, 10, 10, 100, 100, 999, 999]  # not "10" and "100" before "2"
    np.testing.assert_allclose(colors(source), source.test.labels % 250, atol=2)
    assert (source.num_train, source.labels) == (0, "ilsvrc2012")
    assert "10 images instead of 10,000" in caplog.text
    assert data.load(f"imagenet_v2/topimages:{v2}").name == "imagenet_v2/topimages"


def test_other_folders_are_not_imagenet_v2(v2):
    (v2 / "010").mkdir()
    (v2 / "tabby").mkdir()
    with pytest.raises(data.DataError, match=r"class folders named 0 to 999, got 010, tabby$"):
        data.load(f"imagenet_v2:{v2}")
    with pytest.raises(data.DataError, match=r"imagenet_v2/matched-frequency: the path must lead to its folder"):
        data.load(f"imagenet_v2:{v2}/missing")


def test_a_set_without_usable_images_is_refused(v2):
    for path in v2.rglob("*.jpeg"):
        path.write_bytes(b"no image")
    with pytest.raises(data.DataError, match=r"an evaluation set must have images that can be used; got none of 10$"):
        data.load(f"imagenet_v2:{v2}", skip_unreadable=True)


@pytest.fixture
def validation(tmp_path) -> Path:
    """Five validation images in folders, of which the third one has no label in ReaL, and the fourth has three."""
    root = tmp_path / "val"
    for number in (1, 2, 3, 4, 6):
        write_image(root / f"n0000000{number % 2}" / f"ILSVRC2012_val_{number:08}.JPEG", 10 * number)
    (tmp_path / "real.json").write_text(json.dumps([[7], [0, 5], [], [3, 1, 2], [9], [999]]))
    return root


def test_real_labels_by_the_number_of_the_image(validation):
    source = data.load(f"imagenet2012_real:{validation}")
    found = dict(zip(colors(source), source.test.labels.tolist(), strict=True))
    assert len(found) == source.num_test == 4  # none of the image without a label
    for color, expected in ((10, [7, -1, -1]), (20, [0, 5, -1]), (40, [3, 1, 2]), (60, [999, -1, -1])):
        (near,) = (key for key in found if abs(key - color) < 4)
        assert found[near] == expected
    assert source.multi_label
    before = source.identity
    (validation / "real.json").write_text(json.dumps([[7], [0, 6], [], [3, 1, 2], [9], [999]]))
    assert data.load(f"imagenet2012_real:{validation}").identity != before


def test_the_label_of_another_number_is_refused(validation):
    write_image(validation / "ILSVRC2012_val_00000007.JPEG")
    with pytest.raises(data.DataError, match=r"real.json has 6 images, and not ILSVRC2012_val_00000007.JPEG"):
        data.load(f"imagenet2012_real:{validation}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "real.json must be in .* or beside it; it is in the repository google-research/reassessed-imagenet"),
        ("[[1], 2]", "a list with a list of class numbers"),
        ("[[1000]]", "a list with a list of class numbers"),
        ("[[true]]", "a list with a list of class numbers"),
        ("{", "must be JSON"),
    ],
)
def test_other_labels_than_those_of_real(validation, content, message):
    (validation.parent / "real.json").unlink()
    if content:
        (validation / "real.json").write_text(content)
    with pytest.raises(data.DataError, match=message):
        data.load(f"imagenet2012_real:{validation}")


def test_validation_images_in_folders_of_wordnet_ids(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    names = Path(tfds.__file__).parent.joinpath("datasets", "imagenet2012", "labels.txt").read_text().split()
    assert list_of(names) == "ilsvrc2012"
    assert list_of(names[::-1]) is None
    for name in names:
        (tmp_path / name).mkdir()
    for number in (3, 850):
        write_image(tmp_path / names[number] / "ILSVRC2012_val_00000001.JPEG", number % 250)
    source = data.load(f"imagenet2012:{tmp_path}")
    assert source.class_names == tuple(names)
    assert source.test.labels.tolist() == [3, 850]
    (tmp_path / names[5]).rename(tmp_path / "mine")
    with pytest.raises(data.DataError, match=r"the 1,000 class folders of ILSVRC-2012, .* got 1,000, such as mine"):
        data.load(f"imagenet2012:{tmp_path}")


def test_evaluation_sets_are_not_for_training(v2):
    source = data.load(f"imagenet_v2:{v2}")
    for use in (
        lambda: data.train_batches(source, batch_size=2, resize=8, crop=8, seed=0),
        source.check_trainable,
    ):
        with pytest.raises(data.DataError, match=r"matched-frequency must not be used for training: it is for testing"):
            use()
    with pytest.raises(data.DataError, match=r"has no train split, only 10 test examples"):
        source.tested_on("train")
