"""Which images a caller names."""

import io
import os

import keras
import numpy as np
import pytest
from PIL import Image

from bit_keras.inference.inputs import find


def names(inputs):
    return [each.name for each in find(inputs)]


def reason(name):
    (each,) = find(name)
    with pytest.raises((OSError, ValueError)) as error:
        each.read()
    return str(error.value)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        *("b.jpg", "a.PNG", "notes.txt", "Thumbs.db", "desktop.ini", ".DS_Store", "._b.jpg", "sub/c.webp"),
        *("sub/deep/d.jpeg", ".hidden/e.jpg", "__MACOSX/f.jpg", "photo[1].jpg"),
    ):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (tmp_path / "empty").mkdir()
    return tmp_path / "photos"


def test_folders_are_searched_for_images_in_sorted_order(photos):
    found = ["photos/a.PNG", "photos/b.jpg", "photos/photo[1].jpg", "photos/sub/c.webp", "photos/sub/deep/d.jpeg"]
    assert names("photos") == names(["photos/"]) == found
    assert names(photos) == [str(photos / each.removeprefix("photos/")) for each in found]
    assert [each.read() for each in find("photos")][3] == b"sub/c.webp"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("photos/*.jpg", ["photos/b.jpg", "photos/photo[1].jpg"]),
        ("photos/?.*", ["photos/a.PNG", "photos/b.jpg"]),
        ("photos/s*", ["photos/sub/c.webp", "photos/sub/deep/d.jpeg"]),
        ("photos/[tT]*", ["photos/[tT]*"]),  # only junk
        ("photos/**/*.jpeg", ["photos/sub/deep/d.jpeg"]),
        ("photos/sub/**", ["photos/sub/c.webp", "photos/sub/deep/d.jpeg"]),
        ("photos/photo[1].jpg", ["photos/photo[1].jpg"]),  # it exists
    ],
)
def test_patterns(photos, pattern, found):
    assert names(pattern) == found


def test_files_are_taken_as_they_are_named_in_the_order_given(photos):
    given = ["photos/notes.txt", "photos/b.jpg", "photos/.DS_Store", "photos/b.jpg", "https://x.org/a.jpg?b=*"]
    assert names(given) == given
    assert names(iter(given)) == given


def test_reasons(photos):
    assert reason("no.jpg") == "no such file"
    assert reason("no*.jpg") == "no file matches this pattern"
    assert reason("").startswith("the path is empty")
    assert reason("empty").startswith("no image files in this folder; their endings are .jpg .jpeg")
    os.symlink("nowhere", "link.jpg")
    assert reason("link.jpg") == "a link to a file that does not exist"
    os.mkfifo("pipe.jpg")
    assert reason("pipe.jpg") == "not a file"


def test_the_home_folder(photos, monkeypatch):
    monkeypatch.setenv("HOME", str(photos.parent))
    assert names("~/photos/b.jpg") == [str(photos / "b.jpg")]


def test_arrays():
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
    assert names(images) == ["image 0, 0", "image 0, 1", "image 0, 2"]
    assert names([images[0], images[1]]) == ["image 0", "image 1"]
    for number, each in enumerate(find(images)):
        np.testing.assert_array_equal(each.read(), images[number])
    for low, high in ((0, 1), (0, 255), (-1, 1)):
        floats = images / 255 * (high - low) + low
        (each,) = find(floats[1], (low, high))
        np.testing.assert_allclose(each.read(), images[1], atol=1e-4)


@pytest.mark.any_backend
def test_tensors():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    (each,) = find(keras.ops.convert_to_tensor(image))
    np.testing.assert_array_equal(each.read(), image)


@pytest.mark.parametrize(
    ("inputs", "value_range", "error", "message"),
    [
        (np.zeros((4, 4, 3)), None, ValueError, r"need their range of values, one of value_range=\(0, 1\), .* float64"),
        (np.full((4, 4, 3), 2.0), (0, 1), ValueError, "must be in value_range 0 to 1, got 2 to 2"),
        (np.full((4, 4, 3), np.nan), (0, 1), ValueError, "got nan to nan"),
        (np.zeros((4, 4, 3), "int64"), None, ValueError, "must be uint8 or of floats, got int64"),
        (np.zeros((4, 4), "uint8"), None, ValueError, r"must be \[H, W, 3\] or \[N, H, W, 3\], got shape \[4, 4\]"),
        (np.zeros((0, 4, 3), "uint8"), None, ValueError, "got shape"),
        (np.zeros((3, 4, 4), "uint8"), None, ValueError, "got shape"),
        ("a.jpg", (0, 256), ValueError, r"value_range must be one of \(0, 1\), \(0, 255\), \(-1, 1\); got"),
        (7, None, TypeError, "images must be paths of files or folders, .* got a value of type int"),
        ([None], None, TypeError, "got a value of type NoneType"),
    ],
)
def test_refusals(inputs, value_range, error, message):
    with pytest.raises(error, match=message):
        list(find(inputs, value_range))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"])
def test_pil_images_are_files_in_memory(mode, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    image = (
        Image.fromarray(pixels[..., 0].astype("uint16")) if mode == "I;16" else Image.fromarray(pixels).convert(mode)
    )
    (each,) = find(image)
    assert each.name == "image 0"
    with Image.open(io.BytesIO(each.read())) as decoded:
        np.testing.assert_array_equal(np.asarray(decoded.convert("RGB")), np.asarray(image.convert("RGB")))


def test_pil_images_are_turned_upright_once(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        (each,) = find([image])
        assert each.name == str(tmp_path / "a.png")
        with Image.open(io.BytesIO(each.read())) as decoded:
            np.testing.assert_array_equal(np.asarray(decoded), np.rot90(pixels, -1))
            assert decoded.getexif().get(0x0112, 1) == 1


def test_a_damaged_pil_image_cannot_be_read(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 70, 3), np.uint8)).save(buffer, "PNG")
    (each,) = find(Image.open(io.BytesIO(buffer.getvalue()[:2000])))
    with pytest.raises((OSError, ValueError)):
        each.read()
