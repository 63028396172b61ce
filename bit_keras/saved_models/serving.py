"""SavedModels for TF Serving: the folded network behind named signatures, one of which takes image files."""

import dataclasses
import functools
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from bit_keras.data.loaders import preprocessing
from bit_keras.data.loaders.bytes_tf import numbers, substr
from bit_keras.data.loaders.exif import ORIENTATION
from bit_keras.data.loaders.gif_tf import first_frame
from bit_keras.data.loaders.preprocessing_numpy import BMP, GIF, JPEG, PNG
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT
from bit_keras.system.checks import known_arguments
from bit_keras.zoo.presets import default_activation

PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

# Images decoded at the same time; together with `max_pixels` it bounds the memory.
_PARALLEL_DECODES = 8
# The palette of a grey BMP with 8 bits per pixel: blue, green, red and 0 for each value.
_GREY_PALETTE = bytes(byte for value in range(256) for byte in (value, value, value, 0))


@known_arguments
@dataclasses.dataclass(frozen=True)
class ServingOptions:
    """Options of a SavedModel for TF Serving.

    Attributes:
        num_classes: K, outputs of the head.
        precision: "float32", or "bfloat16" to store the kernels and compute the convolutions in half precision.
        resolution: side in pixels to which `serve_bytes` resizes images, 1 or more.
        activation: computes scores from logits, "softmax" or "sigmoid"; None for sigmoid with the 21,843 classes of
            ImageNet-21k, of which an image has several, and softmax otherwise.
        top: number of classes in a response, 1 to K; None for 5, or K if that is less.
        max_pixels: height times width above which an image file is rejected before it is decoded, 1 or more. Up to
            eight images are decoded at the same time, each with at least 3 bytes per pixel.

    Raises:
        ValueError: a value is out of its range.
    """

    num_classes: int
    precision: str = "float32"
    resolution: int = 224
    activation: str | None = None
    top: int | None = None
    max_pixels: int = 2**26

    def __post_init__(self):
        if self.activation is None:
            object.__setattr__(self, "activation", default_activation(self.num_classes))
        if self.top is None:
            object.__setattr__(self, "top", min(5, self.num_classes))
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {self.precision!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {self.activation!r}")
        if not 1 <= self.top <= self.num_classes:
            raise ValueError(f"top must be 1 to the {self.num_classes} classes of the head, got {self.top}")
        for name in ("resolution", "max_pixels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


def write(
    model: BiT, path: Path, options: ServingOptions, class_names: Sequence[str] | None, card: Path | None = None
) -> None:
    """Writes the SavedModel that `bit_keras.export_saved_model` describes, with the file `card` as an asset."""
    network = folded(model, options.precision)
    network = keras.Model(network.input, {"features": network.get_layer("features").output, "logits": network.output})
    images_spec = tf.TensorSpec([None, None, None, 3], name="images")

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the float32 outputs for images in [-1, 1]."""
        return {name: tf.cast(output, tf.float32) for name, output in network(images, training=False).items()}

    def classify(images: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = run(images)["logits"]
        # Logits are ranked, not scores: the scores of confident predictions all round to 1.
        best = tf.math.top_k(logits, options.top).indices
        scores = tf.gather(ACTIVATIONS[options.activation](logits), best, batch_dims=1)
        names = tf.strings.as_string(best) if class_names is None else tf.gather(tf.constant(class_names), best)
        return {"scores": scores, "classes": names, "logits": logits}

    @tf.function(input_signature=[images_spec])
    def serving_default(images):
        return classify(2.0 * images - 1.0)

    @tf.function(input_signature=[images_spec])
    def features(images):
        return {"features": run(2.0 * images - 1.0)["features"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve_bytes(image_bytes):
        images, errors = decode_rows(image_bytes, options.resolution, options.max_pixels, model.card.resize)
        valid = tf.equal(errors, "")
        # Zeros: JSON has no NaN.
        answer = {
            name: tf.where(valid[:, tf.newaxis], output, tf.zeros([], output.dtype))
            for name, output in classify(images).items()
        }
        return {**answer, "valid": valid, "error": errors}

    # Without the Keras model, which would be stored too.
    root = tf.train.Checkpoint(variables=[variable.value for variable in network.variables])
    if card is not None:
        root.card = tf.saved_model.Asset(str(card))
    signatures = {"serving_default": serving_default, "serve_bytes": serve_bytes, "features": features}
    tf.saved_model.save(root, str(path), signatures=signatures)


def decode_rows(
    image_bytes: tf.Tensor, resolution: int, max_pixels: int, fit: str = "squash"
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes, turns and resizes JPEG, PNG, GIF and BMP files as evaluation does; an invalid one affects no other.

    Args:
        image_bytes: strings [N].
        resolution: side in pixels of the result.
        max_pixels: height times width above which a file is not decoded.
        fit: how an image becomes a square, one of `bit_keras.zoo.fits.FITS`.

    Returns:
        Images [N, resolution, resolution, 3] in [-1, 1], zeros for invalid files, and strings [N]: the reason why a
        file is invalid, "" for the others.
    """
    shape = (resolution, resolution, 3)

    def decode(index, data):
        still = tf.cond(_starts_with(data, *GIF), lambda: first_frame(data), lambda: data)
        error = _refusal(data, still, max_pixels)
        return index, tf.cond(error == "", lambda: prepare(still), lambda: tf.zeros(shape)), error

    def prepare(data):
        return preprocessing.test_image(preprocessing.decode_in_graph(data), crop=resolution, fit=fit)

    with tf.device("/CPU:0"):
        count = tf.size(image_bytes, out_type=tf.int64)
        rows = tf.data.Dataset.from_tensor_slices(image_bytes).enumerate()
        # In a dataset, which can skip a row: elsewhere the error of one decoder fails the whole batch.
        rows = rows.map(decode, num_parallel_calls=_PARALLEL_DECODES).ignore_errors()
        # An additional row, because a batch must not be empty when all files are invalid.
        rows = rows.concatenate(tf.data.Dataset.from_tensors((count, tf.zeros(shape), "")))
        index, images, errors = rows.batch(count + 1).get_single_element()
        index = index[:, tf.newaxis]
        images = tf.scatter_nd(index, images, (count + 1, *shape))[:-1]
        default = tf.fill([count + 1], "the image is damaged")
        return images, tf.tensor_scatter_nd_update(default, index, errors)[:-1]


def _starts_with(data: tf.Tensor, *starts: bytes) -> tf.Tensor:
    return tf.reduce_any([tf.strings.substr(data, 0, len(start)) == start for start in starts])


def _refusal(data: tf.Tensor, still: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Returns why a file must not be decoded, "" if it may be; raises if the header is damaged.

    Args:
        data: the file.
        still: as `data`; of a GIF its first frame, "" if that does not fill it.
        max_pixels: see `decode_rows`.
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
    faults = {
        "the image is empty": tf.strings.length(data) == 0,
        "the image is not JPEG, PNG, GIF or BMP": ~(is_jpeg | is_png | is_gif | is_bmp),
        f"the image has more than {max_pixels} pixels": pixels > max_pixels,
        "the first frame of a GIF must fill it": is_gif & (still == b""),
        "a BMP must be uncompressed, with 24 or 32 bits per pixel, or 8 of grey": is_bmp & _is_unknown_bmp(data),
    }
    cases = [(is_true, functools.partial(tf.constant, fault)) for fault, is_true in faults.items()]
    return tf.case(cases, default=lambda: tf.constant(""))


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


def expected(
    model: BiT, options: ServingOptions, class_names: Sequence[str] | None, batches: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns the arrays that `check.py` documents and compares with, for batches of images in [0, 1] and files."""
    names = class_names or [str(k) for k in range(model.num_classes)]
    arrays = {"names": np.array(names), "activation": np.array(options.activation), "top": np.array(options.top)}
    logits, features = reference(model), reference(model.backbone)
    for k, images in enumerate(batches):
        arrays[f"{k}/images"] = images
        arrays[f"{k}/logits"] = logits(2 * images - 1)
        arrays[f"{k}/features"] = features(2 * images - 1)
    for k, (data, images) in enumerate(_check_files(options.resolution, model.card.resize)):
        # As uint8: a NumPy string drops trailing zero bytes.
        arrays[f"file {k}/bytes"] = np.frombuffer(data, np.uint8)
        arrays[f"file {k}/logits"] = np.zeros((1, model.num_classes)) if images is None else logits(images)
        arrays[f"file {k}/valid"] = np.array([images is not None])
    return arrays


def reference(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from images [N, H, W, 3] in [-1, 1] to the expected outputs of a SavedModel for serving.

    On the tensorflow backend they are bit-identical to those of the folded network, for a float32 network on a CPU.
    """

    def call(images):
        with keras.device("cpu:0"):  # where SavedModels are checked: a GPU may round convolutions to fewer bits
            return keras.ops.cast(network(images, training=False), "float32")

    if keras.backend.backend() != "tensorflow":
        return lambda images: keras.ops.convert_to_numpy(call(images))
    graph = tf.function(call, input_signature=[tf.TensorSpec([None, None, None, 3])])

    def run(images: np.ndarray) -> np.ndarray:
        # This optimization replaces the division by a square root in the standardization with a product, but `fold`
        # divides: the outputs of R50x1 with random weights would differ by 6e-6 of their scale.
        name = "arithmetic_optimization"
        before = tf.config.optimizer.get_experimental_options().get(name, True)
        tf.config.optimizer.set_experimental_options({name: False})
        try:
            return graph(tf.constant(images)).numpy()
        finally:
            tf.config.optimizer.set_experimental_options({name: before})

    return run


def _check_files(resolution: int, fit: str) -> list[tuple[bytes, np.ndarray | None]]:
    """Returns image files for the check of a SavedModel, each with the image [1, resolution, resolution, 3] in [-1, 1]
    that evaluation makes of it, or None if it is invalid.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    jpeg, png = tf.io.encode_jpeg(pixels), tf.io.encode_png(pixels)
    turned, orientation = io.BytesIO(), Image.Exif()
    orientation[ORIENTATION] = 6  # the first row is at the right
    Image.fromarray(np.rot90(pixels)).save(turned, "PNG", exif=orientation)
    truncated = jpeg.numpy()[:1000]

    def image(decoded: tf.Tensor | np.ndarray) -> np.ndarray:
        return preprocessing.test_image(tf.constant(decoded), crop=resolution, fit=fit).numpy()[np.newaxis]

    return [
        (jpeg.numpy(), image(tf.io.decode_jpeg(jpeg))),
        (truncated, None),
        (png.numpy(), image(pixels)),
        (b"", None),
        (turned.getvalue(), image(pixels)),
    ]
