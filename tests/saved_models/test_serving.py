"""SavedModels for TF Serving: the outputs of their signatures, and batches with invalid image files."""

import base64
import dataclasses
import functools
import io
import os
import resource
import struct
import time
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

import bit_keras
from bit_keras.checkpoints.formats import read_card
from bit_keras.data.loaders import preprocessing_numpy
from bit_keras.saved_models import writer
from bit_keras.saved_models.check import relative_difference
from bit_keras.saved_models.export import export_saved_model
from tests.signatures import load

CLASS_NAMES = [f"Klasse {k} ä" for k in range(10)]
RESOLUTION, TOP = 48, 3
DAMAGED = "the image is damaged"
NO_IMAGE = "the image is not JPEG, PNG, GIF or BMP"
UNKNOWN_BMP = "a BMP must be uncompressed, with 24 or 32 bits per pixel, or 8 of grey"
SMALL_FRAME = "the first frame of a GIF must fill it"
BASE64 = 'the image is text in base64: in JSON it must be sent as {"b64": "..."}, without "data:"'
TOO_LARGE = f"the image has more than {2**26} pixels"


@pytest.fixture(scope="module")
def model(golden_npz) -> bit_keras.BiT:
    return bit_keras.BiT.from_preset(golden_npz)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "serving"
    return export_saved_model(model, path, "serving", CLASS_NAMES, resolution=RESOLUTION, top=TOP)


@pytest.fixture(scope="module")
def signatures(exported) -> dict:
    return load(exported)


def write(model, path: Path, class_names=None, **options) -> dict:
    """Writes without the check in a fresh process, and returns the signatures."""
    from bit_keras.saved_models import serving

    serving.write(model, path, serving.ServingOptions(model.num_classes, **options), class_names)
    return load(path)


@functools.cache
def _decoder(resolution: int, options: tuple):
    import tensorflow as tf

    from bit_keras.saved_models.decoding import decode_rows

    spec = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda files: decode_rows(files, resolution, **dict(options)), input_signature=spec)


def decode_rows(files: list[bytes], resolution: int, **options) -> list[np.ndarray]:
    """Calls the function of this name as a graph, which is traced only once."""
    return [tensor.numpy() for tensor in _decoder(resolution, tuple(options.items()))(files)]


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=(*shape, 3)).astype(np.float32)


def logits_of(model, images: np.ndarray) -> np.ndarray:
    """Returns the expected outputs for images in [-1, 1]."""
    return keras.ops.convert_to_numpy(model(images))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_reference(model, signatures):
    import tensorflow as tf

    from bit_keras.saved_models.serving import reference

    images = random_images(1, 224, 224)  # a size at which eager mode rounds differently
    name = "arithmetic_optimization"
    before = tf.config.optimizer.get_experimental_options().get(name, True)
    expected = reference(model)(2 * images - 1)
    assert tf.config.optimizer.get_experimental_options()[name] == before
    assert relative_difference(expected, signatures["serving_default"](images)["logits"]) <= 1e-7


@pytest.mark.parametrize("size", [(1, 32, 32), (3, 57, 90), (2, 128, 65)])
def test_float_images(model, signatures, size):
    images = random_images(*size)
    expected = logits_of(model, 2 * images - 1)

    found = signatures["serving_default"](images)

    assert set(found) == {"scores", "classes", "logits"}
    assert relative_difference(expected, found["logits"]) < 1e-5
    order = np.argsort(-expected, axis=1)[:, :TOP]
    np.testing.assert_allclose(found["scores"], np.take_along_axis(softmax(expected), order, axis=1), rtol=1e-5)
    assert [[name.decode() for name in row] for row in found["classes"]] == [
        [CLASS_NAMES[k] for k in row] for row in order
    ]
    features = signatures["features"](images)
    assert set(features) == {"features"}
    assert relative_difference(logits_of(model.backbone, 2 * images - 1), features["features"]) < 1e-5


def test_bfloat16_with_sigmoid_and_without_names(model, exported, tmp_path):
    images = random_images(2, 64, 64)
    options = {"precision": "bfloat16", "activation": "sigmoid"}
    found = write(model, tmp_path / "serving", **options)["serving_default"](images)
    logits = found["logits"]
    assert {logits.dtype, found["scores"].dtype} == {np.dtype("float32")}
    # Random weights amplify rounding; bfloat16 has eight significant bits.
    assert 1e-5 < relative_difference(logits_of(model, 2 * images - 1), logits) < 0.1
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    np.testing.assert_allclose(found["scores"], 1 / (1 + np.exp(-np.take_along_axis(logits, order, 1))), rtol=1e-5)
    assert found["classes"].astype("int64").tolist() == order.tolist()

    def stored(path: Path) -> int:
        return sum(file.stat().st_size for file in (path / "variables").iterdir())

    parameters = model.count_params()
    assert 1.0 <= stored(exported) / (4 * parameters) <= 1.05  # once
    assert 1.0 <= stored(tmp_path / "serving") / (2 * parameters) <= 1.05


def test_graph(exported):
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    (graph,) = SavedModel.FromString((exported / "saved_model.pb").read_bytes()).meta_graphs
    functions = graph.graph_def.library.function
    assert not any(f.attr["_XlaMustCompile"].b for f in functions if "_XlaMustCompile" in f.attr)
    operations = [{node.op for node in function.node_def} for function in functions]
    decoders = [ops for ops in operations if "DecodeImage" in ops]
    assert decoders
    assert not any("Conv2D" in ops for ops in decoders)
    # The functions of a dataset run on the device of the dataset.
    datasets = [node for function in functions for node in function.node_def if "Dataset" in node.op]
    assert {"IgnoreErrorsDataset", "DatasetToSingleElement"} <= {node.op for node in datasets}
    assert {node.device for node in datasets} == {"/device:CPU:0"}
    convolutions = [node for function in functions for node in function.node_def if node.op == "Conv2D"]
    assert len(convolutions) == 3 * 20
    assert {node.device for node in convolutions} == {""}


def photo(height: int = 60, width: int = 80) -> np.ndarray:
    """A smooth image with three different corners, uint8."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 128 * (1 - x * y)], axis=-1).astype(np.uint8)


def encode(image: np.ndarray | Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A 16-bit PNG file, written by hand because Pillow cannot write 16-bit colours."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_of_16_bits(image: np.ndarray) -> bytes:
    height, width, _ = image.shape
    rows = (image.astype(">u2") * 257).astype(">u2")
    return png(width, height, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


def jpeg_with_header_size(height: int, width: int) -> bytes:
    """A small JPEG with another size in its header."""
    data = bytearray(encode(photo(), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


PHOTO = photo()
JPEG = encode(PHOTO, "JPEG", quality=90)
PNG = encode(PHOTO, "PNG")
GREY = PHOTO[..., 0]
ALPHA = np.full_like(GREY, 30)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # to be rotated by 90 degrees for display
# The second frame alone would take more memory than a test allows if it was read.
MOVING = encode(GREY, "GIF", save_all=True, append_images=[Image.new("L", (80, 60), 7)])
MOVING = MOVING[:-1] + b"\x2c\0\0\0\0" + struct.pack("<HH", 30_000, 30_000) + b"\0\x08\0;"


def bmp_from_the_top(image: np.ndarray, *size: int) -> bytes:
    """A BMP file whose rows are in order, which a negative height states."""
    height, width = size or image.shape[:2]
    header = struct.pack("<2sIIIIiiHHIIIIII", b"BM", 0, 0, 54, 40, width, -height, 1, 24, *[0] * 6)
    return header + image[..., ::-1].tobytes()


# Valid files and their expected pixels; None for those that Pillow decodes, with different rounding.
GOOD = {
    "JPEG": (JPEG, None),
    "progressive JPEG": (encode(PHOTO, "JPEG", progressive=True), None),
    "grey JPEG": (encode(GREY, "JPEG"), None),
    "CMYK JPEG": (encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG"), None),
    "turned JPEG": (encode(PHOTO, "JPEG", quality=90, exif=EXIF), None),
    "turned PNG": (encode(PHOTO, "PNG", exif=EXIF), np.rot90(PHOTO, -1)),
    "PNG": (PNG, PHOTO),
    "palette PNG": (encode(Image.fromarray(PHOTO).quantize(16), "PNG"), None),
    "grey PNG": (encode(GREY, "PNG"), np.stack([GREY] * 3, axis=-1)),
    "grey and alpha": (encode(np.stack([GREY, ALPHA], axis=-1), "PNG"), np.stack([GREY] * 3, axis=-1)),
    "RGBA": (encode(np.dstack([PHOTO, ALPHA]), "PNG"), PHOTO),
    "16-bit PNG": (png_of_16_bits(PHOTO), PHOTO),
    "GIF": (encode(GREY, "GIF"), np.stack([GREY] * 3, axis=-1)),
    "moving GIF": (MOVING, np.stack([GREY] * 3, axis=-1)),
    "BMP": (encode(PHOTO, "BMP"), PHOTO),
    "BMP and alpha": (encode(np.dstack([PHOTO, ALPHA]), "BMP"), PHOTO),
    "grey BMP": (encode(GREY, "BMP"), np.stack([GREY] * 3, axis=-1)),
    "BMP from the top": (bmp_from_the_top(PHOTO), PHOTO),
    "one pixel": (encode(PHOTO[:1, :1], "PNG"), PHOTO[:1, :1]),
    "20,000 pixels wide": (encode(np.full((3, 20_000), 77, np.uint8), "PNG"), np.full((3, 20_000, 3), 77, np.uint8)),
}

# Invalid files and the reason.
BAD = {
    "empty": (b"", "the image is empty"),
    "one byte": (b"\xff", NO_IMAGE),
    "text": ("Größe".encode(), NO_IMAGE),
    "TIFF": (encode(PHOTO, "TIFF"), NO_IMAGE),
    "palette BMP": (encode(Image.fromarray(PHOTO).quantize(16), "BMP"), UNKNOWN_BMP),
    "BMP of bits": (encode(Image.fromarray(PHOTO).convert("1"), "BMP"), UNKNOWN_BMP),
    "half a GIF": (MOVING[:1200], DAMAGED),
    "start of a GIF": (MOVING[:6], SMALL_FRAME),
    "half a BMP": (encode(PHOTO, "BMP")[:9000], DAMAGED),
    "frame in a corner of a GIF": (MOVING[:6] + struct.pack("<HH", 81, 60) + MOVING[10:], SMALL_FRAME),
    "GIF of 400 megapixels": (MOVING[:6] + struct.pack("<HH", 20_000, 20_000) + MOVING[10:], TOO_LARGE),
    "BMP of 400 megapixels": (bmp_from_the_top(PHOTO, 20_000, 20_000), TOO_LARGE),
    "WebP": (encode(PHOTO, "WebP"), NO_IMAGE),
    "start of a JPEG": (JPEG[:3], DAMAGED),
    "start of a PNG": (PNG[:8], DAMAGED),
    "header of a PNG": (PNG[:33], DAMAGED),
    "truncated JPEG": (JPEG[: len(JPEG) // 2], DAMAGED),
    "truncated PNG": (PNG[: len(PNG) // 2], DAMAGED),
    "wrong checksum": (PNG.replace(b"IDAT", b"IDAT\x01", 1), DAMAGED),
    "JPEG without rows": (jpeg_with_header_size(0, 80), DAMAGED),
    "PNG of a size without sign": (png(2**32 - 1, 5, 8, 0, b""), TOO_LARGE),
    "PNG of two sizes without sign": (png(2**32 - 2**14, 2**32 - 2**14, 8, 0, b""), TOO_LARGE),
    "PNG of 400 megapixels": (png(20_000, 20_000, 1, 0, bytes(20_000 * 2501)), TOO_LARGE),
    "JPEG of 400 megapixels": (jpeg_with_header_size(20_000, 20_000), TOO_LARGE),
}


def test_one_batch_of_good_and_bad_files(model, signatures):
    files = {**GOOD, **BAD}
    mixed = [files[name] for name in np.random.default_rng(0).permutation(list(files))]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    found = signatures["serve_bytes"]([data for data, _ in mixed])

    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    assert grown < 500_000, "kilobytes; the large images would take more than a gigabyte each"
    assert set(found) == {"scores", "classes", "logits", "valid", "error"}
    reasons = [reason if isinstance(reason, str) else "" for _, reason in mixed]
    assert [error.decode() for error in found["error"]] == reasons
    valid = np.array([not reason for reason in reasons])
    assert found["valid"].tolist() == valid.tolist()
    assert not found["logits"][~valid].any()
    assert not found["scores"][~valid].any()
    assert set(found["classes"][~valid].flat) == {b""}
    for k in np.flatnonzero(valid):
        expected = logits_of(model, evaluation_image(mixed[k][0])[np.newaxis])
        assert relative_difference(expected, found["logits"][k : k + 1]) < 1e-5
        alone = signatures["serve_bytes"]([mixed[k][0]])
        assert relative_difference(alone["logits"], found["logits"][k : k + 1]) < 1e-5
        assert found["classes"][k].tolist() == alone["classes"][0].tolist()


def evaluation_image(data: bytes | np.ndarray) -> np.ndarray:
    """Returns [RESOLUTION, RESOLUTION, 3] in [-1, 1]."""
    import tensorflow as tf

    from bit_keras.data.loaders import preprocessing

    return preprocessing.test_image(tf.constant(data), crop=RESOLUTION).numpy()


@pytest.mark.parametrize("name", GOOD)
def test_pixels_of_good_files(name):
    data, pixels = GOOD[name]
    _, images, errors = decode_rows([data], RESOLUTION)
    assert errors.tolist() == [b""]
    if pixels is None:
        pixels = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
        difference = np.abs(images[0] - evaluation_image(pixels)) * 127.5
        assert difference.mean() < 2, name
    else:
        np.testing.assert_allclose(images[0], evaluation_image(pixels), atol=1e-6)


def test_exif_turns(model, signatures):
    """As Pillow turns it, whose rounding of JPEG differs a little; PNG is exact."""
    files = [encode(PHOTO, "PNG", exif=EXIF), encode(np.rot90(PHOTO, -1), "PNG"), PNG]
    turned, upright, other = signatures["serve_bytes"](files)["logits"]
    # Not exact: threads share a batch, and may add up the values of their rows in a different order.
    np.testing.assert_allclose(turned, upright, rtol=1e-6)
    assert relative_difference(other, turned) > 1e-3


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("fit", ["pad", "crop"])
def test_the_fit_of_the_card_is_served(tiny_npz, check_here, tmp_path, fit):
    model = bit_keras.BiT.from_preset(tiny_npz)
    model.card = dataclasses.replace(model.card, resize=fit)
    with check_here():
        path = export_saved_model(model, tmp_path / "serving", "serving", resolution=RESOLUTION)
    assert read_card(path).resize == fit
    expected = preprocessing_numpy.test_image(PNG, crop=RESOLUTION, fit=fit)[np.newaxis]
    found = load(path)["serve_bytes"]([PNG])["logits"]
    assert relative_difference(logits_of(model, expected), found) < 1e-4
    squashed = preprocessing_numpy.test_image(PNG, crop=RESOLUTION)[np.newaxis]
    assert relative_difference(logits_of(model, squashed), found) > 1e-2


@pytest.mark.parametrize("file_format", ["JPEG", "PNG"])
def test_the_largest_image_is_taken(file_format):
    data = encode(photo(10, 8), file_format)
    assert decode_rows([data], 16, max_pixels=80)[2].tolist() == [b""]
    assert decode_rows([data], 16, max_pixels=79)[2].tolist() == [b"the image has more than 79 pixels"]


def test_damage_stays_in_its_row():
    random = np.random.default_rng(0)
    files = [data for data, _ in GOOD.values()]
    _, expected, _ = decode_rows(files, RESOLUTION)
    for _ in range(5):
        damaged = [bytearray(files[k]) for k in random.integers(len(files), size=30)]
        for data in damaged:
            for position in random.integers(min(len(data), 600), size=3):
                data[position] = random.integers(256)
        mixed = [row for pair in zip(files, map(bytes, damaged)) for row in pair]
        index, images, errors = decode_rows(mixed, RESOLUTION)
        assert not any(errors[::2])
        assert index.tolist() == np.flatnonzero(errors == b"").tolist()
        np.testing.assert_array_equal(images[index % 2 == 0], expected)


def insert(data: bytes, part: bytes, count: int, before: bytes) -> bytes:
    """Returns a file with `count` copies of a part before its last occurrence of `before`."""
    at = data.rindex(before)
    return data[:at] + part * count + data[at:]


def last_scan(jpeg: bytes) -> bytes:
    return jpeg[jpeg.rindex(b"\xff\xda") : -2]


def separate_scans() -> bytes:
    """A JPEG that is not progressive, whose three colours are in scans of their own, the first of them 40 times."""
    data = encode(GREY, "JPEG")
    frame, scan = data.index(b"\xff\xc0"), data.index(b"\xff\xda")
    colours = b"".join(bytes([k, 0x11, 0]) for k in (1, 2, 3))
    header = data[frame : frame + 2] + struct.pack(">H", 17) + data[frame + 4 : frame + 9] + b"\3" + colours
    end = frame + 2 + int.from_bytes(data[frame + 2 : frame + 4])
    return data[:frame] + header + data[end:scan] + data[scan:-2] * 40 + b"\xff\xd9"


PROGRESSIVE = encode(PHOTO, "JPEG", progressive=True)
TEXT = b"zTXtk\0\0" + zlib.compress(bytes(1_000))
TEXT = struct.pack(">I", len(TEXT) - 4) + TEXT + struct.pack(">I", zlib.crc32(TEXT))
COSTLY = {
    "scans": (insert(PROGRESSIVE, last_scan(PROGRESSIVE), 40, b"\xff\xd9"), "the image has more than 32 scans"),
    "scans after a comment that ends an image": (
        insert(PROGRESSIVE, b"\xff\xfe\0\4\xff\xd9" + last_scan(PROGRESSIVE), 40, b"\xff\xd9"),
        "the image has more than 32 scans",
    ),
    "scans of one colour": (separate_scans(), "the image has more than 32 scans"),
    "scans after bytes that belong to no segment": (
        PROGRESSIVE[:20] + b"\0" + insert(PROGRESSIVE, last_scan(PROGRESSIVE), 40, b"\xff\xd9")[20:],
        "the image has more than 32 scans",
    ),
    "texts": (insert(PNG, TEXT, 9, PNG[-12:]), "the image has more than 8 compressed texts"),
    "base64": (base64.b64encode(JPEG), BASE64),
    "address": (b"data:image/png;base64," + base64.b64encode(PNG), BASE64),
}


@pytest.mark.parametrize("name", COSTLY)
def test_costly_files_are_refused(name):
    data, reason = COSTLY[name]
    index, images, errors = decode_rows([PNG, data], RESOLUTION)
    assert errors.tolist() == [b"", reason.encode()]
    assert index.tolist() == [0]
    np.testing.assert_allclose(images, evaluation_image(PHOTO)[np.newaxis], atol=1e-6)


def test_usual_files_are_not_refused_for_their_cost():
    """A few scans and texts, a baseline JPEG with a film behind it, and a preview in its EXIF data."""
    film = np.random.default_rng(0).integers(0, 256, 2**22, np.uint8).tobytes()
    assert film.count(b"\xff\xda") > 40
    preview = b"\xff\xe1" + struct.pack(">H", 2 + 6 + 200) + b"Exif\0\0" + b"\xff\xda" * 100
    files = [
        insert(PROGRESSIVE, last_scan(PROGRESSIVE), 5, b"\xff\xd9"),
        insert(PNG, TEXT, 5, PNG[-12:]),
        JPEG + film,
        JPEG[:2] + preview + JPEG[2:],
        PROGRESSIVE[:2] + preview + PROGRESSIVE[2:],
    ]
    assert not any(decode_rows(files, RESOLUTION)[2])


def test_a_gif_of_many_blocks_is_read_in_little_time():
    import tensorflow as tf

    from bit_keras.data.loaders.gif_tf import first_frame

    gif = encode(np.random.default_rng(0).integers(0, 256, (300, 400), np.uint8), "GIF")
    cut = tf.function(first_frame, input_signature=[tf.TensorSpec((), tf.string)])
    assert cut(gif + b"\x21\xfe\1a\0").numpy().rstrip(b";") == gif.rstrip(b";")
    start = time.process_time()
    for blocks in (b"\1a" * 500_000, b"\1a\2bb" * 200_000, b"\0\x21\xfe" * 300_000):
        data = gif[:13] + b"\x21\xfe" + blocks + b"\0" + gif[13:]
        cut(data)
    assert time.process_time() - start < 4, "seconds; block by block it would take a minute"


def test_requests_without_images(signatures):
    for name, empty in (("serve_bytes", []), ("serving_default", np.zeros((0, 30, 40, 3)))):
        found = signatures[name](empty)
        assert {key: found[key].shape for key in ("logits", "scores", "classes")} == {
            "logits": (0, 10),
            "scores": (0, TOP),
            "classes": (0, TOP),
        }
    assert signatures["features"](np.zeros((0, 0, 0, 3)))["features"].shape == (0, 1024)


@pytest.mark.parametrize("shape", [(1, 0, 0, 3), (2, 0, 5, 3), (1, 5, 0, 3)])
@pytest.mark.parametrize("name", ["serving_default", "features"])
def test_images_without_pixels_are_refused(signatures, name, shape):
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="images must have one pixel or more, as"):
        signatures[name](np.zeros(shape))


def test_rows_are_limited_and_computed_in_parts(model, tmp_path, signatures):
    import tensorflow as tf

    limited = write(model, tmp_path / "serving", resolution=RESOLUTION, max_rows=20)["serve_bytes"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"at most 20 image files, got\] \[21\]"):
        limited([b""] * 21)
    files = [encode(np.roll(PHOTO, 3 * k, axis=1), "PNG") for k in range(20)]
    apart = np.concatenate([limited(files[start : start + 8])["logits"] for start in (0, 8, 16)])
    np.testing.assert_array_equal(limited(files)["logits"], apart)


def test_good_rows_beside_bad_ones_are_bit_identical(signatures):
    good = [data for data, _ in list(GOOD.values())[:6]]
    bad = [data for data, _ in list(BAD.values())[:12]]
    mixed = [*bad[:5], good[0], bad[5], *good[1:], *bad[6:]]
    is_good = np.array([row in good for row in mixed])
    found, alone = signatures["serve_bytes"](mixed), signatures["serve_bytes"](good)
    for name in ("logits", "scores", "classes", "valid"):
        np.testing.assert_array_equal(found[name][is_good], alone[name])


def test_large_images_are_decoded_after_the_others(signatures):
    large = encode(np.full((3_000, 3_000), 77, np.uint8), "PNG")  # more than _LARGE
    found = signatures["serve_bytes"]([large, PNG, b"", large])
    assert found["valid"].tolist() == [True, True, False, True]
    expected = [signatures["serve_bytes"]([data])["logits"][0] for data in (large, PNG)]
    for row, k in ((0, 0), (1, 1), (3, 0)):
        np.testing.assert_allclose(found["logits"][row], expected[k], rtol=1e-5)


def test_a_batch_of_bad_files_alone(signatures):
    found = signatures["serve_bytes"]([b"", JPEG[:200]])
    assert found["valid"].tolist() == [False, False]
    assert found["logits"].shape == (2, 10)


def test_defaults():
    from bit_keras.saved_models.serving import ServingOptions

    assert ServingOptions(2).top == 2
    assert ServingOptions(1000).top == 5
    assert ServingOptions(1000).activation == "softmax"
    assert ServingOptions(21_843).activation == "sigmoid"
    assert ServingOptions(21_843, activation="softmax").activation == "softmax"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": ["a"]}, "got 1 names for 10 outputs"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16, got 'float16'"),
        ({"activation": "linear"}, "activation must be one of softmax, sigmoid, got 'linear'"),
        ({"top": 11}, "top must be 1 to the 10 classes of the head, got 11"),
        ({"top": 0}, "top must be 1 to the 10 classes of the head, got 0"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
        ({"max_pixels": 0}, "max_pixels must be 1 or more, got 0"),
        ({"max_rows": 0}, "max_rows must be 1 or more, got 0"),
        ({"max_scans": -1}, "max_scans must be 1 or more, got -1"),
        ({"kind": "reusable", "top": 1}, "only kind=\"serving\" has options, got top for kind='reusable'"),
    ],
)
def test_arguments_are_refused(model, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_saved_model(model, tmp_path / "saved_model", **{"kind": "serving", **arguments})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("known", "asked", "served"),
    [(64, {}, 64), (64, {"resolution": 96}, 96), (64, {"resolution": None}, 64), (None, {}, 224)],
)
def test_images_are_served_at_the_resolution_of_the_weights(golden_npz, tmp_path, monkeypatch, known, asked, served):
    class _Written(Exception):
        pass

    def write(model, path, options, *names_and_card):
        raise _Written(options.resolution)

    model = bit_keras.BiT.from_preset(golden_npz)
    model.resolution = known
    monkeypatch.setattr("bit_keras.saved_models.serving.write", write)
    with pytest.raises(_Written, match=f"^{served}$"):
        export_saved_model(model, tmp_path / "saved_model", "serving", **asked)


def test_other_models_are_refused(model, tmp_path):
    with pytest.raises(ValueError, match=r'kind="serving" takes a bit_keras\.BiT, got Backbone'):
        export_saved_model(model.backbone, tmp_path / "saved_model", "serving")
    with pytest.raises(TypeError, match=r"export_saved_model\(\) has no argument 'tops'; did you mean top\?"):
        export_saved_model(model, tmp_path / "saved_model", "serving", tops=1)
    assert os.listdir(tmp_path) == []


def test_a_mismatch_leaves_nothing_behind(model, exported, tmp_path, monkeypatch):
    import shutil

    def wrong(*arguments):
        expected = writer._expected_of_serving(*arguments)
        expected["0/features"] += 1
        expected["file 2/logits"] *= 2
        expected["file 3/valid"] = ~expected["file 3/valid"]
        expected["names"] = expected["names"][::-1]
        expected["activation"] = np.array("sigmoid")
        return expected

    monkeypatch.setitem(writer._EXPECTED, "serving", wrong)
    monkeypatch.setitem(writer._WRITERS, "serving", lambda _, path, *rest: shutil.copytree(exported, path))
    with pytest.raises(RuntimeError) as error:
        export_saved_model(model, tmp_path / "saved_model", "serving", CLASS_NAMES, resolution=RESOLUTION, top=TOP)
    wrong_names = ["0/classes", "0/scores", "0/features", "1/classes", "1/scores"]
    wrong_names += [f"serve_bytes/{name}" for name in ("valid", "error", "logits", "classes", "scores")]
    for name in wrong_names:
        assert f"{name}: differs by" in str(error.value)
    assert str(error.value).count("differs by") == len(wrong_names)
    assert os.listdir(tmp_path) == []
