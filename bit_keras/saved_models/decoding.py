"""Image files in requests: refused if they are damaged or costly, decoded as evaluation does, in graphs."""

import functools
from collections.abc import Callable

import tensorflow as tf

from bit_keras.data.loaders import preprocessing
from bit_keras.data.loaders.bytes_tf import numbers, substr
from bit_keras.data.loaders.gif_tf import first_frame
from bit_keras.data.loaders.preprocessing_numpy import BMP, GIF, JPEG, PNG

# Default limits. A progressive JPEG of 2**26 pixels takes 600 MB while it is decoded, and each of its scans 50 ms.
MAX_ROWS, MAX_PIXELS, MAX_SCANS = 128, 2**26, 32

# Images of at most _LARGE pixels are decoded _PARALLEL at the same time, larger ones one after the other.
_LARGE, _PARALLEL = 2**23, 8
# Most compressed texts in a PNG file, since kilobytes of each may become 8 MB.
_MAX_TEXTS = 8
# Most segments of a JPEG file that are looked at before its pixels.
_MAX_SEGMENTS = 1_000
# The palette of a grey BMP with 8 bits per pixel: blue, green, red and 0 for each value.
_GREY_PALETTE = bytes(byte for value in range(256) for byte in (value, value, value, 0))
# How JPEG, PNG and GIF files begin in base64, and addresses that contain a file.
_BASE64 = (b"/9j/", b"iVBORw0KGgo", b"R0lGODlh", b"R0lGODdh", b"data:image/")


def decode_rows(
    image_bytes: tf.Tensor,
    resolution: int,
    fit: str = "squash",
    max_rows: int = MAX_ROWS,
    max_pixels: int = MAX_PIXELS,
    max_scans: int = MAX_SCANS,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Decodes, turns and resizes JPEG, PNG, GIF and BMP files as evaluation does; an invalid one affects no other.

    Args:
        image_bytes: strings [N].
        resolution: side in pixels of the result.
        fit: how an image becomes a square, one of `bit_keras.zoo.fits.FITS`.
        max_rows: largest N; more raise InvalidArgumentError before anything is decoded.
        max_pixels: height times width above which a file is not decoded.
        max_scans: number of scans above which a JPEG is not decoded; progressive files have about ten.

    Returns:
        The V valid rows: their indices, int64 [V], and their images, [V, resolution, resolution, 3] in [-1, 1]. And for
        all rows, strings [N]: the reason why a file is invalid, "" for the others.
    """

    def square(pixels: tf.Tensor) -> tuple[tf.Tensor]:
        return (preprocessing.test_image(pixels, crop=resolution, fit=fit),)

    like = (tf.zeros([resolution, resolution, 3]),)
    index, (images,), errors = prepare_rows(image_bytes, square, like, max_rows, max_pixels, max_scans)
    return index, images, errors


def prepare_rows(
    image_bytes: tf.Tensor,
    prepare: Callable[[tf.Tensor], tuple[tf.Tensor, ...]],
    like: tuple[tf.Tensor, ...],
    max_rows: int = MAX_ROWS,
    max_pixels: int = MAX_PIXELS,
    max_scans: int = MAX_SCANS,
) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tf.Tensor]:
    """As `decode_rows`, with tensors of your own for every image.

    Args:
        image_bytes, max_rows, max_pixels, max_scans: as in `decode_rows`.
        prepare: function from upright pixels, uint8 [H, W, 3], to tensors.
        like: tensors with the shapes and types of these.

    Returns:
        As `decode_rows`, with the stacked tensors in place of the images.
    """

    @tf.autograph.experimental.do_not_convert
    def look(index, data):
        still = tf.cond(_starts_with(data, *GIF), lambda: first_frame(data), lambda: data)
        return index, still, *_refusal(data, still, max_pixels, max_scans)

    @tf.autograph.experimental.do_not_convert
    def decode(index, data, _):
        return index, *prepare(preprocessing.decode_in_graph(data))

    with tf.device("/CPU:0"):
        count = tf.size(image_bytes, out_type=tf.int64)
        tf.debugging.Assert(count <= max_rows, [f"a request may have at most {max_rows} image files, got", count])
        # In datasets, which can skip a row: elsewhere the error of one decoder fails the whole batch.
        rows = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
        rows = rows.map(look, num_parallel_calls=_PARALLEL).ignore_errors()
        index, data, pixels, refusals = _tensors(rows, count, (count, "", tf.zeros([], tf.int64), ""))
        errors = tf.tensor_scatter_nd_update(tf.fill([count], "the image is damaged"), index[:, tf.newaxis], refusals)

        accepted = [tf.boolean_mask(column, refusals == "") for column in (index, data, pixels)]
        errors = tf.tensor_scatter_nd_update(
            errors, accepted[0][:, tf.newaxis], tf.fill(tf.shape(accepted[0]), "the image is damaged")
        )
        rows = tf.data.Dataset.from_tensor_slices(tuple(accepted))
        small = rows.filter(lambda *row: row[-1] <= _LARGE).map(decode, num_parallel_calls=_PARALLEL)
        large = rows.filter(lambda *row: row[-1] > _LARGE).map(decode)
        images = small.ignore_errors().concatenate(large.ignore_errors())
        index, *columns = _tensors(images, count, (count, *like))
        errors = tf.tensor_scatter_nd_update(errors, index[:, tf.newaxis], tf.fill(tf.shape(index), ""))
        return index, tuple(columns), errors


def in_rows(index: tf.Tensor, values: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns `count` rows: `values` [V, ...] at the indices [V], elsewhere zeros, or "" for strings."""
    nothing = tf.fill(tf.concat([[count], tf.shape(values)[1:]], 0), tf.zeros([], values.dtype))
    return tf.tensor_scatter_nd_update(nothing, index[:, tf.newaxis], values)


def _tensors(dataset: tf.data.Dataset, count: tf.Tensor, another: tuple) -> tuple[tf.Tensor, ...]:
    """Returns the elements of a dataset of at most `count`, stacked. It may have none, but a batch must have one."""
    batch = dataset.concatenate(tf.data.Dataset.from_tensors(another)).batch(count + 1).get_single_element()
    return tuple(column[:-1] for column in batch)


def _starts_with(data: tf.Tensor, *starts: bytes) -> tf.Tensor:
    return tf.reduce_any([tf.strings.substr(data, 0, len(start)) == start for start in starts])


def _refusal(data: tf.Tensor, still: tf.Tensor, max_pixels: int, max_scans: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the number of pixels, and why a file must not be decoded, "" if it may be; raises if it is damaged.

    Args:
        data: the file.
        still: as `data`; of a GIF its first frame, "" if that does not fill it.
        max_pixels, max_scans: see `decode_rows`.
    """
    is_jpeg, is_png, is_gif, is_bmp = (_starts_with(data, *starts) for starts in ([JPEG], [PNG], GIF, [BMP]))
    size = tf.case(  # height and width, in either order
        [
            (is_jpeg, lambda: tf.image.extract_jpeg_shape(data, tf.int64)[:2]),
            # The first chunk is IHDR: length and type in 4 bytes each, then width and height.
            (is_png, lambda: numbers(data, len(PNG) + 8, tf.int32, 2, little_endian=False)),
            (is_gif, lambda: numbers(data, 6, tf.uint16, 2)),
            (is_bmp, lambda: _without_sign(numbers(data, 18, tf.int32, 2))),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )
    pixels = tf.reduce_prod(tf.minimum(size, 2**31))
    scans = tf.cond(is_jpeg, lambda: _scans(data), lambda: 0)
    texts = tf.cond(is_png, lambda: _count(data, b"zTXt") + _count(data, b"iTXt"), lambda: 0)
    faults = {
        "the image is empty": tf.strings.length(data) == 0,
        'the image is text in base64: in JSON it must be sent as {"b64": "..."}, without "data:"': _starts_with(
            data, *_BASE64
        ),
        "the image is not JPEG, PNG, GIF or BMP": ~(is_jpeg | is_png | is_gif | is_bmp),
        f"the image has more than {max_pixels} pixels": pixels > max_pixels,
        f"the image has more than {max_scans} scans": scans > max_scans,
        f"the image has more than {_MAX_TEXTS} compressed texts": texts > _MAX_TEXTS,
        "the first frame of a GIF must fill it": is_gif & (still == b""),
        "a BMP must be uncompressed, with 24 or 32 bits per pixel, or 8 of grey": is_bmp & _is_unknown_bmp(data),
    }
    cases = [(is_true, functools.partial(tf.constant, fault)) for fault, is_true in faults.items()]
    return pixels, tf.case(cases, default=lambda: tf.constant(""))


def _count(data: tf.Tensor, part: bytes) -> tf.Tensor:
    """Returns how often a part occurs in a string."""
    return tf.size(tf.strings.split(data[tf.newaxis], tf.constant(part)).values) - 1


def _scans(jpeg: tf.Tensor) -> tf.Tensor:
    """Returns the most scans that a decoder may find in a JPEG file.

    They are searched only where the decoder searches more than one: after the first scan, there is one in a file that
    is progressive or has its colours in separate scans. Other files may go on with, for example, a film.
    """

    def marker(at: tf.Tensor) -> tf.Tensor:
        return numbers(jpeg, at, tf.uint16, little_endian=False)[0]

    def byte(at: tf.Tensor) -> tf.Tensor:
        return numbers(jpeg, at, tf.uint8)[0]

    def goes_on(_, here: tf.Tensor, __) -> tf.Tensor:  # at segments with a length, and bytes that fill
        return (here > 0xFF01) & ((here < 0xFFD0) | (here > 0xFFDA))

    def step(at: tf.Tensor, here: tf.Tensor, frame: tf.Tensor) -> tuple[tf.Tensor, ...]:
        is_frame = (here == 0xFFC0) | (here == 0xFFC1)
        length = numbers(jpeg, at + 2, tf.uint16, little_endian=False)[0]
        after = at + tf.where(here == 0xFFFF, tf.constant(1, tf.int64), 2 + length)
        return after, marker(after), tf.where(is_frame, at, frame)

    start, none = tf.constant(2, tf.int64), tf.constant(-1, tf.int64)
    at, here, frame = tf.while_loop(
        goes_on, step, (start, marker(start), none), maximum_iterations=_MAX_SEGMENTS, parallel_iterations=1
    )
    # The numbers of colours in the scan and in the frame, which is not progressive.
    is_one = (here == 0xFFDA) & (frame >= 0) & (byte(at + 4) == byte(tf.maximum(frame, 0) + 9))
    return tf.cond(is_one, lambda: 1, lambda: _count(substr(jpeg, at, tf.strings.length(jpeg)), b"\xff\xda"))


def _without_sign(values: tf.Tensor) -> tf.Tensor:
    """Returns the absolute values of signed 32-bit numbers; a negative height is that of rows from the top."""
    return tf.minimum(values, 2**32 - values)


def _is_unknown_bmp(data: tf.Tensor) -> tf.Tensor:
    """Tells whether a BMP file is of a kind that TensorFlow's decoder misreads."""
    (header,), (compression,) = (tf.unstack(numbers(data, at, tf.int32)) for at in (14, 30))
    (bits,) = tf.unstack(numbers(data, 28, tf.uint16))
    is_grey = substr(data, 14 + header, len(_GREY_PALETTE)) == _GREY_PALETTE
    is_known = (bits == 24) | (bits == 32) | ((bits == 8) & is_grey)
    return ~(is_known & (header >= 40) & (compression == 0))
