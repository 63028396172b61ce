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
from bit_keras.data.loaders.exif import ORIENTATION
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT
from bit_keras.saved_models import decoding
from bit_keras.system.checks import known_arguments
from bit_keras.zoo.presets import default_activation

PRECISIONS = ("float32", "bfloat16")
ACTIVATIONS = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}

# Image files whose network outputs are computed together, at most; the largest batch of `warmup.BATCH_SIZES`.
_PART = 8


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
        max_rows: image files in a request, 1 or more; larger requests fail before anything is decoded.
        max_pixels: height times width above which an image file is rejected before it is decoded, 1 or more. Decoding
            takes 3 to 9 bytes per pixel; larger images are decoded one after the other.
        max_scans: scans of a JPEG file, 1 or more, above which it is rejected before it is decoded. Progressive files
            have about ten; each additional scan costs time, however small it is.

    Raises:
        ValueError: a value is out of its range.

    Example:
        >>> from bit_keras.saved_models.serving import ServingOptions
        >>> options = ServingOptions(num_classes=3, precision="bfloat16")
        >>> options.top, options.activation, options.resolution
        (3, 'softmax', 224)
    """

    num_classes: int
    precision: str = "float32"
    resolution: int = 224
    activation: str | None = None
    top: int | None = None
    max_rows: int = decoding.MAX_ROWS
    max_pixels: int = decoding.MAX_PIXELS
    max_scans: int = decoding.MAX_SCANS

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
        for name in ("resolution", "max_rows", "max_pixels", "max_scans"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, got {getattr(self, name)}")


def write(
    model: BiT, path: Path, options: ServingOptions, class_names: Sequence[str] | None, card: Path | None = None
) -> None:
    """Writes the SavedModel that `bit_keras.export_saved_model` describes, with the file `card` as an asset."""
    network = folded(model, options.precision)
    network = keras.Model(network.input, {"features": network.get_layer("features").output, "logits": network.output})
    images_spec = tf.TensorSpec([None, None, None, 3], name="images")

    def run(images: tf.Tensor, part: tf.Tensor | int) -> dict[str, tf.Tensor]:
        """Returns the float32 outputs for images in [-1, 1], which may be none, `part` images at a time."""
        nothing = {name: tf.zeros([0, output.shape[-1]]) for name, output in network.output.items()}
        return in_parts(functools.partial(network, training=False), (images,), part, nothing)

    def run_pixels(images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the outputs for images in [0, 1]."""
        return run(from_pixels(images), tf.shape(images)[0])

    def classify(logits: tf.Tensor) -> dict[str, tf.Tensor]:
        # Logits are ranked, not scores: the scores of confident predictions all round to 1.
        best = tf.math.top_k(logits, options.top).indices
        scores = tf.gather(ACTIVATIONS[options.activation](logits), best, batch_dims=1)
        names = tf.strings.as_string(best) if class_names is None else tf.gather(tf.constant(class_names), best)
        return {"scores": scores, "classes": names, "logits": logits}

    @tf.function(input_signature=[images_spec], autograph=False)
    def serving_default(images):
        return classify(run_pixels(images)["logits"])

    @tf.function(input_signature=[images_spec], autograph=False)
    def features(images):
        return {"features": run_pixels(images)["features"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve_bytes(image_bytes):
        index, images, errors = decoding.decode_rows(
            image_bytes, options.resolution, model.card.resize, options.max_rows, options.max_pixels, options.max_scans
        )
        # Zeros in the other rows: JSON has no NaN.
        answer = {
            name: decoding.in_rows(index, output, tf.size(image_bytes))
            for name, output in classify(run(images, _PART)["logits"]).items()
        }
        return {**answer, "valid": tf.equal(errors, ""), "error": errors}

    # Without the Keras model, which would be stored too.
    root = tf.train.Checkpoint(variables=[variable.value for variable in network.variables])
    if card is not None:
        root.card = tf.saved_model.Asset(str(card))
    signatures = {"serving_default": serving_default, "serve_bytes": serve_bytes, "features": features}
    tf.saved_model.save(root, str(path), signatures=signatures)


def in_parts(
    call: Callable[..., dict[str, tf.Tensor]],
    inputs: Sequence[tf.Tensor],
    part: tf.Tensor | int,
    nothing: dict[str, tf.Tensor],
) -> dict[str, tf.Tensor]:
    """Returns the outputs of a function of rows, which is called with `part` rows at a time and not without any.

    Args:
        call: function from rows of `inputs` to {name: tensor}.
        inputs: tensors [N, ...], N may be 0.
        part: number of rows per call, the last one excepted.
        nothing: {name: its output for no rows}, of the types that are returned.
    """
    names, count = sorted(nothing), tf.shape(inputs[0])[0]

    def step(start: tf.Tensor, *outputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        found = call(*(rows[start : start + part] for rows in inputs))
        together = (tf.concat([output, tf.cast(found[name], output.dtype)], 0) for name, output in zip(names, outputs))
        return start + part, *together

    shapes = [tf.TensorShape([None, *nothing[name].shape[1:]]) for name in names]
    _, *outputs = tf.while_loop(
        lambda start, *_: start < count,
        step,
        (tf.constant(0), *(nothing[name] for name in names)),
        shape_invariants=(tf.TensorShape([]), *shapes),
        parallel_iterations=1,
    )
    return dict(zip(names, outputs, strict=True))


def from_pixels(images: tf.Tensor) -> tf.Tensor:
    """Returns images in [0, 1] as images in [-1, 1]; in a graph, images without pixels are an error."""
    count, height, width, _ = tf.unstack(tf.shape(images))
    has_pixels = (tf.minimum(height, width) > 0) | (count == 0)
    message = "images must have one pixel or more, as [N, height, width, 3], got"
    with tf.control_dependencies([tf.debugging.Assert(has_pixels, [message, tf.shape(images)])]):
        return 2.0 * images - 1.0


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
    for k, (data, pixels) in enumerate(check_files()):
        images = None
        if pixels is not None:
            shape = {"crop": options.resolution, "fit": model.card.resize}
            images = preprocessing.test_image(tf.constant(pixels), **shape).numpy()[np.newaxis]
        # As uint8: a NumPy string drops trailing zero bytes.
        arrays[f"file {k}/bytes"] = np.frombuffer(data, np.uint8)
        arrays[f"file {k}/logits"] = np.zeros((1, model.num_classes)) if images is None else logits(images)
        arrays[f"file {k}/valid"] = np.array([images is not None])
    return arrays


def reference(network: keras.Model) -> Callable[[np.ndarray], np.ndarray | dict[str, np.ndarray]]:
    """Returns a function from images [N, H, W, 3] in [-1, 1] to the expected outputs of a SavedModel for serving.

    They are an array, or as many as the network has outputs, in its structure.

    On the tensorflow backend they are bit-identical to those of the folded network, for a float32 network on a CPU.
    """

    def call(images):
        with keras.device("cpu:0"):  # where SavedModels are checked: a GPU may round convolutions to fewer bits
            outputs = network(images, training=False)
            return keras.tree.map_structure(lambda output: keras.ops.cast(output, "float32"), outputs)

    def arrays(outputs):
        return keras.tree.map_structure(keras.ops.convert_to_numpy, outputs)

    if keras.backend.backend() != "tensorflow":
        return lambda images: arrays(call(images))
    graph = tf.function(call, input_signature=[tf.TensorSpec([None, None, None, 3])], autograph=False)

    def run(images: np.ndarray) -> np.ndarray:
        # This optimization replaces the division by a square root in the standardization with a product, but `fold`
        # divides: the outputs of R50x1 with random weights would differ by 6e-6 of their scale.
        name = "arithmetic_optimization"
        before = tf.config.optimizer.get_experimental_options().get(name, True)
        tf.config.optimizer.set_experimental_options({name: False})
        try:
            return arrays(graph(tf.constant(images)))
        finally:
            tf.config.optimizer.set_experimental_options({name: before})

    return run


def check_files() -> list[tuple[bytes, np.ndarray | None]]:
    """Returns image files for the check of a SavedModel, each with its upright pixels, uint8 [H, W, 3], or None if it
    is invalid.
    """
    pixels = np.random.default_rng(0).integers(0, 256, (64, 80, 3), np.uint8)
    jpeg, png = tf.io.encode_jpeg(pixels), tf.io.encode_png(pixels)
    turned, orientation = io.BytesIO(), Image.Exif()
    orientation[ORIENTATION] = 6  # the first row is at the right
    Image.fromarray(np.rot90(pixels)).save(turned, "PNG", exif=orientation)
    return [
        (jpeg.numpy(), tf.io.decode_jpeg(jpeg).numpy()),
        (jpeg.numpy()[:1000], None),  # truncated
        (png.numpy(), pixels),
        (b"", None),
        (turned.getvalue(), pixels),
    ]
