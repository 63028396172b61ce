"""Image files of cameras and programs, compared with Pillow."""

import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from bit_keras import data
from bit_keras.data.loaders import exif, exif_tf, preprocessing, preprocessing_numpy
from bit_keras.data.sources import scan

_RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(np.kron(_RNG.integers(0, 256, (3, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8)))
ALPHA = PHOTO.copy()
ALPHA.putalpha(Image.fromarray(_RNG.integers(0, 256, (48, 64), np.uint8)))


def _encode(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _with_orientation(value, kind, image=PHOTO):
    tags = Image.Exif()
    tags[0x0112] = value
    options = {"WEBP": {"lossless": True}, "AVIF": _EXACT, "JPEG": {"quality": 95}}
    return _encode(image, kind, exif=tags, **options.get(kind, {}))


_EXACT = {"quality": 100, "subsampling": "4:4:4"}  # of AVIF, whose values still differ by two units
TURNED = PHOTO.rotate(180)
GREY_16 = np.kron(_RNG.integers(0, 65_536, (3, 4), np.uint16), np.ones((16, 16), np.uint16))
FILES = {
    "rgb.jpg": _encode(PHOTO, "JPEG", quality=95),
    "grey.jpg": _encode(PHOTO.convert("L"), "JPEG"),
    "cmyk.jpg": _encode(PHOTO.convert("CMYK"), "JPEG", quality=95),
    "grey.png": _encode(PHOTO.convert("L"), "PNG"),
    "bits.png": _encode(PHOTO.convert("1"), "PNG"),
    "palette.png": _encode(PHOTO.convert("P"), "PNG"),
    "transparent_palette.png": _encode(PHOTO.convert("P"), "PNG", transparency=3),
    "rgba.png": _encode(ALPHA, "PNG"),
    "la.png": _encode(ALPHA.convert("LA"), "PNG"),
    "grey.bmp": _encode(PHOTO.convert("L"), "BMP"),
    "rgb.bmp": _encode(PHOTO, "BMP"),
    "rgba.bmp": _encode(ALPHA, "BMP"),
    "palette.gif": _encode(PHOTO.convert("P"), "GIF"),
    "palette.bmp": _encode(PHOTO.convert("P"), "BMP"),
    "bits.bmp": _encode(PHOTO.convert("1"), "BMP"),
    "moving.gif": _encode(PHOTO.convert("P"), "GIF", save_all=True, append_images=[TURNED.convert("P")]),
    "moving.png": _encode(PHOTO, "PNG", save_all=True, append_images=[TURNED]),
    "rgb.webp": _encode(PHOTO, "WEBP", lossless=True),
    "alpha.webp": _encode(ALPHA, "WEBP", lossless=True, exact=True),
    "moving.webp": _encode(PHOTO, "WEBP", lossless=True, save_all=True, append_images=[TURNED]),
    "RGB.TIF": _encode(PHOTO, "TIFF"),
    "rgba.tiff": _encode(ALPHA, "TIFF", compression="tiff_lzw"),
    "cmyk.tiff": _encode(PHOTO.convert("CMYK"), "TIFF"),
    "pages.tiff": _encode(PHOTO, "TIFF", save_all=True, append_images=[TURNED]),
    "rgb.avif": _encode(PHOTO, "AVIF", **_EXACT),
    "two pictures.jpg": _encode(PHOTO, "MPO", quality=95, save_all=True, append_images=[TURNED]),
}
LOSSLESS = [name for name in FILES if not name.endswith("jpg")]


@pytest.fixture
def write_classes(tmp_path):
    """Returns a function that writes {file name: bytes} to both classes of a folder and returns the folder."""

    def write(files):
        for folder in ("train/a", "train/b", "test/a", "test/b"):
            (tmp_path / "mine" / folder).mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (tmp_path / "mine" / folder / name).write_bytes(content)
        return tmp_path / "mine"

    return write


@pytest.fixture(scope="module")
def decode():
    """`preprocessing.decode` in a graph, as tf.data runs it."""
    return tf.function(preprocessing.decode, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_the_rgb_image_of_pillow(name, decode):
    """Alpha is dropped, as Pillow's conversion from RGBA to RGB drops it, and the first frame or page is taken."""
    expected = np.asarray(Image.open(io.BytesIO(FILES[name])).convert("RGBA").convert("RGB"), int)
    ours, theirs = preprocessing_numpy.decode(FILES[name]), decode(FILES[name]).numpy()
    assert ours.dtype == theirs.dtype == np.uint8
    assert preprocessing_numpy.measure(FILES[name]) == preprocessing.measure(FILES[name]) == (48, 64)
    np.testing.assert_array_equal(ours, expected)
    # Two JPEG libraries may round differently.
    np.testing.assert_allclose(theirs.astype(int), expected, atol=0 if name in LOSSLESS else 2)


def test_the_first_of_several_images_is_taken():
    for name in FILES:
        if name.partition(".")[0] in ("moving", "pages"):
            expected = PHOTO.convert("P").convert("RGB") if name.endswith("gif") else PHOTO
            np.testing.assert_array_equal(preprocessing_numpy.decode(FILES[name]), expected)


@pytest.mark.parametrize("quality", [75, 95])
def test_a_jpeg_of_a_smooth_image_differs_by_few_grey_values(quality):
    image = Image.fromarray(_RNG.integers(0, 256, (12, 17, 3), np.uint8)).resize((250, 171), Image.Resampling.BICUBIC)
    encoded = _encode(image, "JPEG", quality=quality)
    difference = preprocessing_numpy.decode(encoded).astype(int) - preprocessing.decode(tf.constant(encoded)).numpy()
    assert np.abs(difference).max() <= 10
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize(
    ("encoded", "reason"),
    [
        *(
            (encoded, "must be JPEG, PNG, WebP")
            for encoded in (b"", b"no image", b"\0\0\0\x18ftypisom\0\0\0\0avc1mp41")
        ),
        *(
            (encoded[: len(encoded) // 3], "cannot be decoded")
            for name, encoded in FILES.items()
            if name != "rgba.tiff"
        ),
        (_encode(PHOTO.convert("F"), "TIFF"), "32 bits per channel; 8 or 16 are supported"),
    ],
)
def test_what_cannot_be_decoded_is_refused_by_both(encoded, reason):
    for module in (preprocessing, preprocessing_numpy):
        with pytest.raises(ValueError, match=reason):
            module.measure(encoded)


def test_heic_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for module in (preprocessing, preprocessing_numpy):
        with pytest.raises(ValueError, match=r"HEIC needs the package pillow-heif: pip install 'bit-keras\[heif\]'"):
            module.measure(b"\0\0\0\x18ftypmif1\0\0\0\0heicmif1")


@pytest.mark.parametrize("value", [None, 1, 6, 8])
def test_heic_is_turned_by_its_package(value, decode):
    pillow_heif = pytest.importorskip("pillow_heif")  # the extra heif
    tags, file = Image.Exif(), io.BytesIO()
    if value:
        tags[0x0112] = value
    pillow_heif.from_pillow(PHOTO).save(file, quality=-1, chroma=444, exif=tags.tobytes() if value else None)
    expected = np.asarray(PHOTO.rotate({6: -90, 8: 90}.get(value, 0), expand=True), int)
    assert preprocessing.measure(file.getvalue()) == expected.shape[:2]
    np.testing.assert_allclose(preprocessing_numpy.decode(file.getvalue()).astype(int), expected, atol=2)
    np.testing.assert_array_equal(decode(file.getvalue()), preprocessing_numpy.decode(file.getvalue()))


def _sized(kind, width, height):
    """Returns a small file with another size in its header."""
    if kind == "PNG":
        header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
        return (
            b"\x89PNG\r\n\x1a\n"
            + b"\0\0\0\x0d"
            + header
            + struct.pack(">I", zlib.crc32(header))
            + FILES["bits.png"][33:]
        )
    data = bytearray(FILES["palette.gif"])
    data[6:10] = struct.pack("<HH", width, height)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_one_limit_of_pixels(kind):
    """Not Pillow's, which warns of half of them and is a global variable."""
    before = Image.MAX_IMAGE_PIXELS
    for module in (preprocessing, preprocessing_numpy):
        with pytest.raises(ValueError, match=r"^has 268,451,840 pixels; at most 268,435,456 are decoded, unless"):
            module.measure(_sized(kind, 2**14, 2**14 + 1))
    assert preprocessing_numpy.header_size(_sized("PNG", 2**14, 2**14)) == (2**14, 2**14)
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_of_pillow_is_neither_obeyed_nor_changed(monkeypatch, decode):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1_000)
    for name in FILES:
        np.testing.assert_array_equal(preprocessing_numpy.decode(FILES[name]).shape, (48, 64, 3))
        assert decode(FILES[name]).shape == (48, 64, 3)
    assert Image.MAX_IMAGE_PIXELS == 1_000


def test_pillow_decodes_what_is_too_large_for_tensorflow(monkeypatch):
    monkeypatch.setattr(preprocessing, "_MAX_JPEG_PIXELS", 48 * 64 - 1)
    monkeypatch.setattr(preprocessing, "_MIN_BYTES", 0)
    monkeypatch.setattr(preprocessing, "_decode_other", tf.function(preprocessing._decode_other.python_function))
    monkeypatch.setattr(preprocessing, "_decode_stored", lambda encoded: tf.zeros((1, 1, 3), tf.uint8))
    expected = preprocessing_numpy.decode(FILES["rgb.jpg"])
    np.testing.assert_array_equal(preprocessing.decode(tf.constant(FILES["rgb.jpg"])), expected)
    assert preprocessing.measure(FILES["rgb.jpg"]) == (48, 64)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_upper_eight_of_sixteen_bits_are_kept(channels):
    deep = _RNG.integers(0, 65_536, (8, 9, channels)).astype(np.uint16)
    expected = (deep if channels >= 3 else deep[..., [0, 0, 0]])[..., :3] >> 8
    encoded = tf.io.encode_png(deep)
    np.testing.assert_array_equal(preprocessing.decode(encoded), expected)
    np.testing.assert_array_equal(preprocessing_numpy.decode(encoded.numpy()), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled(kind, decode):
    encoded = _encode(Image.fromarray(GREY_16), kind)
    np.testing.assert_array_equal(preprocessing_numpy.decode(encoded)[..., 0], GREY_16 >> 8)
    np.testing.assert_array_equal(decode(encoded), preprocessing_numpy.decode(encoded))


@pytest.mark.usefixtures("each_decoder")
@pytest.mark.parametrize("loader", data.LOADERS)
def test_every_format_passes_through_a_folder(loader, write_classes):
    source = data.load(write_classes(FILES))
    assert (source.num_train, source.image_size) == (2 * len(FILES), (48, 64))
    images, _ = next(iter(data.train_batches(source, batch_size=30, resize=64, crop=48, seed=0, loader=loader)))
    assert images.shape == (30, 48, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_applied_as_pillow_applies_it(kind, value, decode):
    encoded = _with_orientation(value, kind)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"), int)
    assert preprocessing.measure(encoded) == preprocessing_numpy.measure(encoded) == expected.shape[:2]
    np.testing.assert_allclose(decode(encoded).numpy().astype(int), expected, atol=2)
    np.testing.assert_allclose(preprocessing_numpy.decode(encoded).astype(int), expected, atol=2)


def test_the_size_of_a_source_is_that_of_upright_images(write_classes):
    source = data.load(write_classes({"photo": _with_orientation(6, "JPEG"), "upright": FILES["rgb.bmp"]}))
    assert source.image_size == (56, 56)  # medians of two
    assert [source.train.read(index)[0].shape for index in (0, 1)] == [(64, 48, 3), (48, 64, 3)]


def test_batches_of_turned_images_have_their_shape_and_order(write_classes):
    source = data.load(write_classes({f"{v}.jpg": _with_orientation(v, "JPEG") for v in range(1, 9)}))
    arguments = {"batch_size": 4, "resize": 24, "crop": 16, "seed": 0}
    batches = [images.numpy() for images, _ in data.train_batches(source, **arguments).take(3)]
    assert batches[0].shape == (4, 16, 16, 3)
    later, _ = next(iter(data.train_batches(source, **arguments, start_step=2)))
    np.testing.assert_array_equal(later, batches[2])


def _tiff(byteorder, value, offset=8):
    def number(n, size):
        return n.to_bytes(size, byteorder)

    mark = {"little": b"II", "big": b"MM"}[byteorder]
    entries = [(0x010F, 7), (0x0112, value)]
    body = b"".join(number(tag, 2) + number(3, 2) + number(1, 4) + number(v, 2) + bytes(2) for tag, v in entries)
    return mark + number(42, 2) + number(offset, 4) + bytes(offset - 8) + number(len(entries), 2) + body + bytes(4)


def _jpeg(tiff, before=b""):
    body = b"Exif\0\0" + tiff
    return b"\xff\xd8" + before + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + FILES["rgb.jpg"][2:]


@pytest.mark.parametrize("byteorder", ["little", "big"])
@pytest.mark.parametrize("offset", [8, 30])
@pytest.mark.parametrize("before", [b"", b"\xff\xe0\x00\x04ab", b"\xff\xe1\x00\x06http", b"\xff\xff"])
def test_orientation_of_a_tiff_header(byteorder, offset, before):
    encoded = _jpeg(_tiff(byteorder, 6, offset), before)
    image = Image.open(io.BytesIO(encoded))
    assert image.getexif()[0x0112] == 6
    assert exif.orientation(image.info["exif"]) == exif_tf.orientation(tf.constant(encoded)) == 6


@pytest.mark.parametrize("tiff", [b"", b"II*\0", _tiff("big", 0), _tiff("little", 9), _tiff("big", 6)[:20]])
def test_no_valid_orientation_is_upright(tiff):
    assert exif.orientation(b"Exif\0\0" + tiff) == exif_tf.orientation(tf.constant(_jpeg(tiff))) == 1


@pytest.mark.parametrize(
    "encoded", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"\xff" * 99, FILES["rgb.bmp"]]
)
def test_what_is_not_an_image_is_upright(encoded):
    assert exif_tf.orientation(tf.constant(encoded)) == 1


@pytest.mark.filterwarnings("ignore")  # of Pillow, which reads more tags
def test_damaged_headers_have_the_same_orientation_in_tensorflow():
    """Of JPEG: Pillow refuses a PNG whose checksums are wrong."""
    orientation = tf.function(exif_tf.orientation, input_signature=[tf.TensorSpec((), tf.string)])
    random, found = np.random.default_rng(0), []
    for value in range(1, 9):
        for _ in range(40):
            encoded = bytearray(_with_orientation(value, "JPEG"))
            for place in random.integers(8, 90, size=2):
                encoded[place] = random.integers(256)
            result = int(orientation(bytes(encoded)))
            try:
                info = Image.open(io.BytesIO(encoded)).info
            except (OSError, SyntaxError, ValueError):
                continue
            assert result == exif.orientation(info.get("exif", b""))
            found.append(result == value)
    assert 20 < sum(found) < len(found)


@pytest.fixture(params=["tensorflow", "pillow"])
def each_decoder(request, monkeypatch):
    """Checks images with TensorFlow, and as if it was not installed."""
    monkeypatch.setattr(scan, "is_installed", lambda name: request.param == name)


@pytest.mark.usefixtures("each_decoder")
def test_the_reason_is_given(write_classes):
    folder = write_classes({"good.png": FILES["rgba.png"], "bad.tiff": FILES["RGB.TIF"][:300], "video.jpg": b"ftyp"})
    with pytest.raises(data.DataError, match="8 of 12 images cannot be used:") as error:
        data.load(folder)
    assert "bad.tiff: cannot be decoded: image file is truncated" in str(error.value)
    assert "video.jpg: cannot be decoded: it must be JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC" in str(error.value)
