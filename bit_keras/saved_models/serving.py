"""SavedModels for TF Serving: the folded network behind named signatures, one of which takes image files."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bit_keras.data.loaders import preprocessing
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT
from bit_keras.zoo.presets import default_activation

PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

# Images decoded at the same time; together with `max_pixels` it bounds the memory.
_PARALLEL_DECODES = 8
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


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
        images, errors = decode_rows(image_bytes, options.resolution, options.max_pixels)
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


def decode_rows(image_bytes: tf.Tensor, resolution: int, max_pixels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes and resizes JPEG and PNG files as evaluation does; an invalid file does not affect the others.

    Args:
        image_bytes: strings [N].
        resolution: side in pixels of the result.
        max_pixels: height times width above which a file is not decoded.

    Returns:
        Images [N, resolution, resolution, 3] in [-1, 1], zeros for invalid files, and strings [N]: the reason why a
        file is invalid, "" for the others.
    """
    shape = (resolution, resolution, 3)

    def decode(index, data):
        error = _refusal(data, max_pixels)
        image = tf.cond(error == "", lambda: preprocessing.test_image(data, crop=resolution), lambda: tf.zeros(shape))
        return index, image, error

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


def _refusal(data: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Returns why a file must not be decoded, "" if it may be; raises if the header is damaged."""
    is_jpeg = tf.strings.substr(data, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(data, 0, len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
    size = tf.case(  # height and width; decoders reject negative ones
        [
            (is_jpeg, lambda: tf.image.extract_jpeg_shape(data, tf.int64)[:2]),
            # The first chunk is IHDR: length and type in 4 bytes each, then width and height.
            (is_png, lambda: _big_endian(tf.strings.substr(data, len(_PNG_SIGNATURE) + 8, 8))),
        ],
        default=lambda: tf.zeros([2], tf.int64),
    )
    return tf.case(
        [
            (tf.strings.length(data) == 0, lambda: tf.constant("the image is empty")),
            (~(is_jpeg | is_png), lambda: tf.constant("the image is neither JPEG nor PNG")),
            (size[0] * size[1] > max_pixels, lambda: tf.constant(f"the image has more than {max_pixels} pixels")),
        ],
        default=lambda: tf.constant(""),
    )


def _big_endian(data: tf.Tensor) -> tf.Tensor:
    """Returns the big-endian int32 numbers in a string."""
    return tf.cast(tf.io.decode_raw(data, tf.int32, little_endian=False), tf.int64)


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
    for k, (data, images) in enumerate(_check_files(options.resolution)):
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


def _check_files(resolution: int) -> list[tuple[bytes, np.ndarray | None]]:
    """Returns image files for the check of a SavedModel, each with the image [1, resolution, resolution, 3] in [-1, 1]
    that evaluation decodes from it, or None if it is invalid.
    """
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    jpeg, png = tf.io.encode_jpeg(image), tf.io.encode_png(image)
    good = [(file.numpy(), preprocessing.test_image(file, crop=resolution).numpy()[np.newaxis]) for file in (jpeg, png)]
    truncated = jpeg.numpy()[:1000]
    return [good[0], (truncated, None), good[1], (b"", None)]
