"""A small ObjectNet of the true form: an encrypted archive, red borders, and mappings with two numberings."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bit_keras import data
from bit_keras.data.sources.objectnet import decode
from tests.data.sources.zip_crypto import write_zip

PASSWORD = "objectnetisatestset"
# {folder: (label, lemmas)}; the last one is in ObjectNet alone.
CLASSES = {
    "alarm_clock": ("Alarm clock", "analog clock; digital clock"),
    "chair": ("Chair", "barber chair; folding chair; rocking chair, rocker"),
    "full_sized_towel": ("Bath towel", "bath towel"),
    "air_freshener": ("Air freshener", None),
}
# {lemmas: class of ILSVRC-2012}
NUMBERS = {
    **{"analog clock": 409, "digital clock": 530, "barber chair": 423, "folding chair": 559},
    **{"rocking chair, rocker": 765, "bath towel": 434},
}
SETS = {"alarm_clock": [409, 530], "chair": [423, 559, 765], "full_sized_towel": [434]}


def image(color: int, border: int = 2, size: tuple[int, int] = (12, 9)) -> bytes:
    """Returns a PNG file with transparency, of one colour in a red border."""
    pixels = np.full((*size, 4), (255, 0, 0, 255), np.uint8)
    pixels[border : size[0] - border, border : size[1] - border] = (color, color, color, 255)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return file.getvalue()


def mappings() -> dict[str, bytes]:
    """The files of the folder "mappings": line k of the list of lemmas is class 999 - k."""
    lemmas = {number: lemma for lemma, number in NUMBERS.items()}
    lines = [lemmas.get(number, f"lemma {number}") for number in range(999, -1, -1)]
    files = {
        "folder_to_objectnet_label.json": {folder: label for folder, (label, _) in CLASSES.items()},
        "objectnet_to_imagenet_1k.json": {label: lemmas for label, lemmas in CLASSES.values() if lemmas},
        "pytorch_to_imagenet_2012_id.json": {str(number): 999 - number for number in range(1_000)},
    }
    written = {name: json.dumps(content).encode() for name, content in files.items()}
    return {**written, "imagenet_to_label_2012_v2": "".join(f"{line}\n" for line in lines).encode()}


def objectnet_files() -> dict[str, bytes]:
    """{name: content} of an archive with two images of each class, whose colour is their number."""
    files = {"objectnet-1.0/README": b"", **{f"objectnet-1.0/mappings/{k}": v for k, v in mappings().items()}}
    names = [f"{folder}/{k}a0f.png" for folder in CLASSES for k in range(2)]
    return {**files, **{f"objectnet-1.0/images/{name}": image(10 * k) for k, name in enumerate(names)}}


def unpack(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


@pytest.fixture
def archive(tmp_path) -> Path:
    write_zip(tmp_path / "objectnet-1.0.zip", objectnet_files(), PASSWORD)
    return tmp_path / "objectnet-1.0.zip"


def check(source: data.Source) -> None:
    """Compares a source with the files."""
    expected = [(folder, 10 * (2 * k + each)) for k, folder in enumerate(CLASSES) for each in range(2)]
    expected = [(folder, color) for folder, color in sorted(expected) if folder in SETS]
    assert source.num_test == len(expected) == 6
    assert source.test.labels.tolist() == [(SETS[folder] + [-1, -1])[:3] for folder, _ in expected]
    for index, (_, color) in enumerate(expected):
        pixels, _ = source.test.read(index)
        np.testing.assert_array_equal(pixels, np.full((8, 5, 3), color))  # without the border
    assert source.competing == (409, 423, 434, 530, 559, 765)
    assert source.class_names[409] == "analog clock"
    assert source.class_names[0] == "lemma 0"
    assert (source.num_classes, source.multi_label, source.num_train) == (1_000, True, 0)


@pytest.mark.parametrize("unzip", [None, shutil.which("unzip")])
def test_the_encrypted_archive(archive, monkeypatch, unzip, caplog):
    monkeypatch.setattr(shutil, "which", lambda name: unzip)
    source = data.load(f"objectnet:{archive}")
    check(source)
    assert ("install unzip" in caplog.text) == (unzip is None)


@pytest.mark.any_backend
def test_the_unpacked_folder_and_what_is_around_it(tmp_path):
    root = unpack(tmp_path, objectnet_files())
    (root / "objectnet-1.0" / "images" / "chair" / "._0a0f.png").write_bytes(b"of macOS")
    source = data.load(f"objectnet:{root}")
    check(source)
    assert data.load(f"objectnet:{root / 'objectnet-1.0'}").identity == source.identity
    for loader in data.LOADERS:
        (batch,) = data.test_batches(source, batch_size=8, crop=4, loader=loader)
        images, targets = map(np.asarray, batch)
        assert images.shape == (6, 4, 4, 3)
        for target, labels in zip(targets, source.test.labels, strict=True):
            assert set(np.flatnonzero(target)) == set(labels[labels >= 0])
        np.testing.assert_allclose(images[:, 0, 0, 0], [k / 127.5 - 1 for k in (0, 10, 20, 30, 40, 50)], atol=1e-5)
    assert [Path(name).name for name in data.test_names(source)] == ["0a0f.png", "1a0f.png"] * 3


def _program(folder: Path, text: str) -> str:
    path = folder / "unzip"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_that_decrypts(archive, monkeypatch, tmp_path):
    """Only the images are read by it, as it is called for each."""
    calls = tmp_path / "calls"
    unzip = _program(tmp_path, f"echo $@ >> {calls}; echo '   skipping: incorrect password' >&2; exit 82")
    monkeypatch.setattr(shutil, "which", lambda name: unzip)
    with pytest.raises(data.DataError, match=r"has another password.*\(skipping: incorrect password\)"):
        data.load(f"objectnet:{archive}")
    assert calls.read_text().splitlines()[0].split()[:4] == ["-p", "-P", PASSWORD, str(archive)]


def test_a_file_that_is_longer_than_the_archive_states(archive, monkeypatch, tmp_path):
    unzip = _program(tmp_path, "exec yes")
    monkeypatch.setattr(shutil, "which", lambda name: unzip)
    with pytest.raises(data.DataError, match=r"the archive is damaged: the file has more than the \d+ bytes it states"):
        data.load(f"objectnet:{archive}")


@pytest.mark.parametrize("unzip", [None, shutil.which("unzip")])
def test_a_wrong_password_and_one_of_the_users(tmp_path, monkeypatch, unzip):
    monkeypatch.setattr(shutil, "which", lambda name: unzip)
    write_zip(tmp_path / "other.zip", objectnet_files(), "sesame")
    with pytest.raises(data.DataError, match=r"password, which BIT_KERAS_OBJECTNET_PASSWORD may give"):
        data.load(f"objectnet:{tmp_path / 'other.zip'}")
    monkeypatch.setenv("BIT_KERAS_OBJECTNET_PASSWORD", "sesame")
    check(data.load(f"objectnet:{tmp_path / 'other.zip'}"))


def test_a_file_of_the_archive_that_is_too_large(archive, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_MAX_BYTES", "5000")
    with pytest.raises(data.DataError, match=r"imagenet_2012_id.json cannot be read: has [\d,]+ bytes; at most 5,000"):
        data.load(f"objectnet:{archive}")


def test_other_files_than_the_archive(archive, tmp_path):
    (tmp_path / "cut.zip").write_bytes(archive.read_bytes()[:-100])
    write_zip(tmp_path / "aes.zip", objectnet_files(), PASSWORD, method=99)
    write_zip(tmp_path / "photos.zip", {"photos/1.png": image(1)}, PASSWORD)
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("missing.zip", "no such file or folder"),
        ("cut.zip", "cannot be opened .*download objectnet-1.0.zip completely"),
        ("aes.zip", "unpack the archive by another program"),
        ("photos.zip", "must be objectnet-1.0.zip"),
        ("empty", "must be the unpacked objectnet-1.0.zip"),
    ):
        with pytest.raises(data.DataError, match=message):
            data.load(f"objectnet:{tmp_path / name}")
    with pytest.raises(data.DataError, match=r"objectnet:PATH, to objectnet-1.0.zip.*https://objectnet.dev"):
        data.load("objectnet")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (image(7, border=1), "red border of 2 pixels"),
        (image(7, border=0), "red border of 2 pixels"),
        (image(7, size=(4, 9)), "red border of 2 pixels"),
        (b"\x89PNG\r\n\x1a\nbroken", "cannot be decoded"),
    ],
)
def test_an_image_without_its_border_is_named(tmp_path, content, reason):
    root = unpack(tmp_path, objectnet_files())
    (root / "objectnet-1.0/images/chair/1a0f.png").write_bytes(content)
    with pytest.raises(data.DataError, match=rf"1 of 6 images cannot be used:\n  images/chair/1a0f.png: .*{reason}"):
        data.load(f"objectnet:{root}")
    assert data.load(f"objectnet:{root}", skip_unreadable=True).num_test == 5


def test_the_border_is_exactly_two_pixels():
    assert decode(image(0)).shape == (8, 5, 3)
    assert not decode(image(0)).any()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("folder_to_objectnet_label.json", {"chair": None}, "does not know 'Chair'"),
        ("folder_to_objectnet_label.json", {"air_freshener": None}, r"every class of images; .*'air_freshener'"),
        ("objectnet_to_imagenet_1k.json", {"Chair": "barber chair; throne"}, r"imagenet_to_label_2012_v2 .*'throne'"),
        ("pytorch_to_imagenet_2012_id.json", {"17": None}, "for each class 0 to 999: '17'"),
        ("pytorch_to_imagenet_2012_id.json", {"17": 1_000}, "which has 1,000, for each class"),
    ],
)
def test_classes_that_a_mapping_does_not_know(tmp_path, name, change, message):
    path = unpack(tmp_path, objectnet_files()) / "objectnet-1.0" / "mappings" / name
    content = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(data.DataError, match=message):
        data.load(f"objectnet:{tmp_path}")
    path.write_text("[]")
    with pytest.raises(data.DataError, match=rf"mappings/{name} must be a JSON object, got list"):
        data.load(f"objectnet:{tmp_path}")
    path.write_text("{")
    with pytest.raises(data.DataError, match=rf"mappings/{name} must be JSON"):
        data.load(f"objectnet:{tmp_path}")


def test_a_missing_mapping_is_named(tmp_path):
    unpack(tmp_path, {name: each for name, each in objectnet_files().items() if "label_2012" not in name})
    with pytest.raises(data.DataError, match=r"mappings/imagenet_to_label_2012_v2 cannot be read: the file is missing"):
        data.load(f"objectnet:{tmp_path}")


def test_no_image_that_can_be_used(tmp_path):
    files = {name: each if "mappings" in name else image(1, border=0) for name, each in objectnet_files().items()}
    unpack(tmp_path, files)
    with pytest.raises(data.DataError, match="must hold images that can be used, got none"):
        data.load(f"objectnet:{tmp_path}", skip_unreadable=True)


def test_never_for_training(tmp_path):
    source = data.load(f"objectnet:{unpack(tmp_path, objectnet_files())}")
    for folder in (tmp_path / "objectnet-1.0", tmp_path / "objectnet-1.0" / "images"):
        with pytest.raises(data.DataError, match="is ObjectNet, whose licence forbids to train on it"):
            data.load(folder)
    with pytest.raises(data.DataError, match=r"objectnet must not be used for training: its licence forbids"):
        source.check_trainable()
