"""Image files of cameras and programs, compared with Pillow."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from bit_keras import data
from bit_keras.data.loaders import preprocessing, preprocessing_numpy, streams
from bit_keras.data.sources import exif, scan

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
    return _encode(image, kind, exif=tags, **{"lossless": True} if kind == "WEBP" else {"quality": 95})


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
    "rgb.webp": _encode(PHOTO, "WEBP", lossless=True),
}


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


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_the_rgb_image_of_pillow(name):
    """Alpha is dropped, as Pillow's conversion from RGBA to RGB drops it."""
    expected = Image.open(io.BytesIO(FILES[name])).convert("RGBA").convert("RGB")
    decoded = tf.function(preprocessing.decode)(tf.constant(FILES[name]))
    assert decoded.dtype == tf.uint8
    assert decoded.shape == (48, 64, 3)
    # Two JPEG libraries may round differently.
    np.testing.assert_allclose(decoded.numpy().astype(int), np.asarray(expected, int), atol=2)


@pytest.mark.parametrize("name", FILES)
def test_pillow_decodes_every_format_as_tensorflow(name):
    ours, theirs = preprocessing_numpy.decode(FILES[name]), preprocessing.decode(tf.constant(FILES[name])).numpy()
    assert ours.dtype == np.uint8
    assert preprocessing_numpy.measure(FILES[name]) == preprocessing.measure(FILES[name]) == (1, 48, 64)
    np.testing.assert_allclose(ours.astype(int), theirs.astype(int), atol=2 if name.endswith("jpg") else 0)


@pytest.mark.parametrize("quality", [75, 95])
def test_a_jpeg_of_a_smooth_image_differs_by_few_grey_values(quality):
    image = Image.fromarray(_RNG.integers(0, 256, (12, 17, 3), np.uint8)).resize((250, 171), Image.Resampling.BICUBIC)
    encoded = _encode(image, "JPEG", quality=quality)
    difference = preprocessing_numpy.decode(encoded).astype(int) - preprocessing.decode(tf.constant(encoded)).numpy()
    assert np.abs(difference).max() <= 10
    assert np.abs(difference).mean() < 1.5


@pytest.mark.parametrize(
    "encoded",
    [
        *(b"", b"no image", FILES["rgb.jpg"][:400], FILES["rgba.png"][:200], FILES["rgb.bmp"][:100]),
        *(_encode(ALPHA, "WEBP"), _encode(PHOTO, "WEBP", save_all=True, append_images=[PHOTO.rotate(180)])),
        *(_encode(PHOTO, "TIFF"), _encode(PHOTO.convert("1"), "BMP")),
    ],
)
def test_what_tensorflow_does_not_decode_is_refused_by_pillow(encoded):
    for module in (preprocessing, preprocessing_numpy):
        with pytest.raises(ValueError, match=r"decoded|must"):
            module.measure(encoded)


def test_frames_of_a_gif_are_counted():
    encoded = _encode(PHOTO, "GIF", save_all=True, append_images=[PHOTO.rotate(180)])
    assert preprocessing_numpy.measure(encoded) == preprocessing.measure(encoded) == (2, 48, 64)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_upper_eight_of_sixteen_bits_are_kept(channels):
    deep = _RNG.integers(0, 65_536, (8, 9, channels)).astype(np.uint16)
    expected = (deep if channels >= 3 else deep[..., [0, 0, 0]])[..., :3] >> 8
    encoded = tf.io.encode_png(deep)
    np.testing.assert_array_equal(preprocessing.decode(encoded), expected)
    np.testing.assert_array_equal(preprocessing_numpy.decode(encoded.numpy()), expected)


@pytest.mark.usefixtures("each_decoder")
@pytest.mark.parametrize("loader", data.LOADERS)
def test_every_format_passes_through_a_folder(loader, write_classes):
    source = data.load(write_classes(FILES))
    assert (source.num_train, source.image_size) == (2 * len(FILES), (48, 64))
    images, _ = next(iter(data.train_batches(source, batch_size=30, resize=64, crop=48, seed=0, loader=loader)))
    assert images.shape == (30, 48, 48, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation_is_applied_as_pillow_applies_it(kind, value, write_classes):
    encoded = _with_orientation(value, kind)
    assert exif.orientation(encoded) == value
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB"), int)
    source = data.load(write_classes({"photo": encoded, "upright": FILES["rgb.bmp"]}))
    assert source.image_size == ((48, 64) if value < 5 else (56, 56))  # medians of two
    photo, upright = (image for image, _ in streams.in_order(source.train.take(np.array([0, 1]))))
    if value == 1:
        photo, upright = preprocessing.decode(photo), preprocessing.decode(upright)
    np.testing.assert_allclose(photo.numpy().astype(int), expected, atol=2)
    np.testing.assert_array_equal(upright, PHOTO)
    np.testing.assert_allclose(source.train.read(0)[0].astype(int), expected, atol=2)


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
    assert exif.orientation(encoded) == 6
    assert Image.open(io.BytesIO(encoded)).getexif()[0x0112] == 6


def test_odd_chunks_of_webp_are_padded():
    tiff = _tiff("little", 6)
    chunks = b"ODD " + (3).to_bytes(4, "little") + b"abc\0" + b"EXIF" + len(tiff).to_bytes(4, "little") + tiff
    assert exif.orientation(b"RIFF" + (4 + len(chunks)).to_bytes(4, "little") + b"WEBP" + chunks) == 6


@pytest.mark.parametrize(
    "encoded",
    [
        *(b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", FILES["rgb.jpg"]),
        *(FILES["rgb.bmp"], _jpeg(b""), _jpeg(b"II*\0"), _jpeg(_tiff("big", 0)), _jpeg(_tiff("little", 9))),
        _jpeg(_tiff("big", 6)[:20]),
    ],
)
def test_no_valid_orientation_is_upright(encoded):
    assert exif.orientation(encoded) == 1


@pytest.fixture(params=["tensorflow", "pillow"])
def each_decoder(request, monkeypatch):
    """Checks images with TensorFlow, and as if it was not installed."""
    monkeypatch.setattr(scan, "is_installed", lambda name: request.param == name)


@pytest.mark.usefixtures("each_decoder")
@pytest.mark.parametrize("options", [{}, {"save_all": True, "append_images": [PHOTO.convert("RGBA").rotate(180)]}])
def test_webp_with_alpha_or_moving_is_refused(options, write_classes):
    for image in (ALPHA, PHOTO) if options else (ALPHA,):
        folder = write_classes({"good.png": FILES["rgba.png"], "bad.webp": _encode(image, "WEBP", **options)})
        with pytest.raises(data.DataError, match=r"bad\.webp: cannot be decoded; a WebP file must be .* without alpha"):
            data.load(folder)


@pytest.mark.usefixtures("each_decoder")
def test_palette_bmp_is_refused(write_classes):
    """TensorFlow would use the palette indices as grey values."""
    folder = write_classes({"grey.bmp": FILES["grey.bmp"], "palette.bmp": _encode(PHOTO.convert("P"), "BMP")})
    with pytest.raises(data.DataError, match="4 of 8 images cannot be used:") as error:
        data.load(folder)
    assert "palette.bmp: must not be a BMP with a palette of colours" in str(error.value)
