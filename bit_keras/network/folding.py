"""The inference network of a BiT: plain convolutions with standardized kernels."""

import keras
from keras import ops

from bit_keras.network import arithmetic
from bit_keras.network.graph_torch import TorchGraph
from bit_keras.network.layers import StandardizedConv2D
from bit_keras.network.model import Backbone, BiT
from bit_keras.network.prediction_jax import JaxPrediction
from bit_keras.system.checks import WrongType, describe, known_arguments


@keras.saving.register_keras_serializable(package="bit_keras")
class FoldedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` without bias; on torch it reads its inputs in place, where Keras's layer copies them."""

    def build(self, input_shape):
        super().build(input_shape)
        arithmetic.lay_out(self.kernel)

    def call(self, inputs):
        kernel = ops.cast(self.kernel, self.compute_dtype)
        return arithmetic.convolve(inputs, kernel, self.strides, self.padding, training=False)


@keras.saving.register_keras_serializable(package="bit_keras")
class Folded(TorchGraph, JaxPrediction, keras.Model):
    """What `folded` returns; a class of its own so that threads may predict at once on jax, and `.keras` files load."""

    direct = (*TorchGraph.direct, FoldedConv2D)


@known_arguments((), unchecked=("model",))
def folded(model: keras.Model, dtype: str | None = None) -> Folded:
    """Returns a network with the same outputs whose kernels are standardized in advance, for inference only.

    Its convolutions are `keras.layers.Conv2D` under the same names, so that no runtime has to standardize weights. In
    float32 the outputs are bit-identical.

    Args:
        model: a BiT, its backbone, or a `bit_keras.detection.Detector`; unchanged.
        dtype: dtype policy of the new network, for example "bfloat16" for kernels stored and convolved in half
            precision; they are standardized in float32 and then rounded. None keeps the model's policies.

    Returns:
        A functional model: images [N, H, W, 3] in [-1, 1] to logits [N, K], to features for a backbone, or to the
        outputs of a detector. Several threads may call it and its `predict` at once.

    Raises:
        TypeError: `model` is none of them.

    Example:
        >>> model = bit_keras.BiT.from_preset("BiT-mini-R17x0.5")
        >>> bit_keras.folded(model).predict(np.zeros((2, 32, 32, 3), "float32"), verbose=0).shape
        (2, 360)
    """
    if isinstance(model, Backbone) or _continues_backbone(model):
        return _fold(model, dtype)
    if not isinstance(model, BiT):
        raise WrongType(
            "model must be a bit_keras.BiT, a bit_keras.Backbone or a bit_keras.detection.Detector; "
            f"got {describe(model)}"
        )
    backbone = _fold(model.backbone, dtype)
    head = model.get_layer("head")
    new_head = _clone(head, dtype)
    network = Folded(backbone.input, new_head(backbone.output), name=model.name)
    new_head.lora_alpha = head.lora_alpha  # not in the configuration of Keras's layer
    values = {weight.name: weight for weight in head.weights}
    for weight in new_head.weights:  # by name: a quantized layer has another order when it is built
        weight.assign(values[weight.name])
    return network


def _continues_backbone(model) -> bool:
    """Whether a model is one graph with the layers of a backbone, as a detector is."""
    backbone = getattr(model, "backbone", None)
    return isinstance(model, keras.Model) and isinstance(backbone, Backbone) and model.input is backbone.input


def _fold(model: keras.Model, dtype: str | None) -> Folded:
    """Returns the folded network of a model without nested models."""
    policy = keras.dtype_policies.get(dtype or model.dtype_policy)
    images = keras.Input((None, None, 3), name="images", dtype=policy.variable_dtype)
    network = keras.models.clone_model(model, images, clone_function=lambda layer: _clone(layer, dtype))
    for layer in model.layers:
        if isinstance(layer, StandardizedConv2D):
            network.get_layer(layer.name).set_weights([layer.standardized_kernel("float32")])
        elif layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return Folded(network.input, network.output, name=model.name)


def _clone(layer: keras.layers.Layer, dtype: str | None) -> keras.layers.Layer:
    """Returns an unbuilt layer of the same name; a plain convolution for a standardized one."""
    policy = dtype or layer.dtype_policy
    if isinstance(layer, StandardizedConv2D):
        shape = (layer.filters, layer.kernel_size, layer.strides, layer.padding, "channels_last")
        return FoldedConv2D(*shape, use_bias=False, name=layer.name, dtype=policy)
    config = layer.get_config()
    config["dtype"] = policy
    return type(layer).from_config(config)
