"""Program: writes an inference network as LiteRT and ONNX files, in a process whose output can be discarded.

    python -m bit_keras.edge.convert NETWORK.keras CARD.json CALIBRATION.npy OUTPUT_FOLDER FORMAT...

NETWORK.keras takes images in [-1, 1] (`bit_keras.network.folding`), and CARD.json is its card; CALIBRATION.npy contains
float32 images [N, R, R, 3] in [0, 1]. A LiteRT file takes images of R x R pixels.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from bit_keras.checkpoints.card import Card
from bit_keras.edge.card import add_to_litert, add_to_onnx
from bit_keras.edge.export import FORMATS


def convert(network: keras.Model, card: Card, calibration: np.ndarray, folder: Path, formats: list[str]) -> None:
    size = calibration.shape[1]
    for name in formats:
        path = folder / FORMATS[name].file_name
        if name == "onnx":
            write_onnx(_function(network, None), card, path)
        else:
            model = LITERT[name](network, _function(network, size), calibration)
            path.write_bytes(add_to_litert(model, card))


def _function(network: keras.Model, size: int | None):
    """Returns `network` as a tf.function from "images" [N, size, size, 3] in [0, 1] to "logits" [N, K]."""

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 3], name="images")], autograph=False)
    def call(images):
        return {"logits": network(2.0 * images - 1.0, training=False)}

    return call


def write_onnx(function, card: Card, path: Path, axes: Sequence[str] = ("batch",)) -> None:
    """Writes an ONNX file.

    Args:
        function: tf.function from "images" [N, H, W, 3] to {name: output}.
        card: of the network.
        path: file to write.
        axes: names of the first axes of the outputs, whose sizes are not fixed.
    """
    model, _ = tf2onnx.convert.from_function(function, function.input_signature)
    (images,) = model.graph.input
    for value, names in ((images, ("batch", "height", "width")), *((output, axes) for output in model.graph.output)):
        for axis, name in zip(value.type.tensor_type.shape.dim, names):
            axis.dim_param = name
    add_to_onnx(model, card)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _converter(network: keras.Model, function) -> tf.lite.TFLiteConverter:
    # The converter reads variables from a trackable object; without one they become uninitialized resources.
    root = tf.train.Checkpoint()
    root.variables, root.function = [variable.value for variable in network.variables], function
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], root)


def _float32(network, function, calibration) -> bytes:
    return _converter(network, function).convert()


def _float16(network, function, calibration) -> bytes:
    converter = _converter(network, function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _dynamic_int8(network, function, calibration) -> bytes:
    converter = _converter(network, function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return converter.convert()


def _int8(network, function, calibration) -> bytes:
    """Converts to int8, including input and output, except group normalization, which stays in float32.

    In int8 the scale of a group's squared differences is so much smaller than that of its channels that LiteRT's
    interpreter aborts.
    """
    converter = _converter(network, function)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in calibration)
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=[name for name in _tensors(_float32(network, function, calibration)) if "group_norm" in name],
        fully_quantize=True,
    )
    # The only public interface for quantization that excludes operations.
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
    )
    return debugger.get_nondebug_quantized_model()


def _tensors(model: bytes) -> list[str]:
    """Returns the names of the tensors of a LiteRT model."""
    return [tensor["name"] for tensor in tf.lite.Interpreter(model_content=model).get_tensor_details()]


# {format: function of network, tf.function and images for calibration, that returns a LiteRT file}
LITERT: dict[str, Callable[..., bytes]] = {
    "litert_float32": _float32,
    "litert_float16": _float16,
    "litert_dynamic_int8": _dynamic_int8,
    "litert_int8": _int8,
}


if __name__ == "__main__":
    source, card_file, images, output, *names = sys.argv[1:]
    read = Card.from_json(Path(card_file).read_text(encoding="utf-8"), card_file)
    convert(keras.models.load_model(source, compile=False), read, np.load(images), Path(output), names)
