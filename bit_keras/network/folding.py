"""The inference network of a BiT: plain convolutions with standardized kernels."""

import keras

from bit_keras.network.layers import StandardizedConv2D
from bit_keras.network.model import Backbone, BiT
from bit_keras.network.prediction_jax import JaxPrediction
from bit_keras.system.checks import known_arguments


@keras.saving.register_keras_serializable(package="bit_keras")
class Folded(JaxPrediction, keras.Model):
    """What `folded` returns; a class of its own so that threads may predict at once on jax, and `.keras` files load."""


@known_arguments
def folded(model: BiT | Backbone, dtype: str | None = None) -> Folded:
    """Returns a network with the same outputs whose kernels are standardized in advance, for inference only.

    Its convolutions are `keras.layers.Conv2D` under the same names, so that no runtime has to standardize weights. In
    float32 the outputs are bit-identical.

    Args:
        model: the network, unchanged.
        dtype: dtype policy of the new network, for example "bfloat16" for kernels stored and convolved in half
            precision; they are standardized in float32 and then rounded. None keeps the model's policies.

    Returns:
        A functional model: images [N, H, W, 3] in [-1, 1] to logits [N, K], or to features for a backbone. Several
        threads may call it and its `predict` at once.

    Raises:
        TypeError: `model` is neither a BiT nor a backbone of one.
    """
    if isinstance(model, Backbone):
        return _fold_backbone(model, dtype)
    backbone = _fold_backbone(model.backbone, dtype)
    head = model.get_layer("head")
    new_head = _clone(head, dtype)
    network = Folded(backbone.input, new_head(backbone.output), name=model.name)
    new_head.lora_alpha = head.lora_alpha  # not in the configuration of Keras's layer
    values = {weight.name: weight for weight in head.weights}
    for weight in new_head.weights:  # by name: a quantized layer has another order when it is built
        weight.assign(values[weight.name])
    return network


def _fold_backbone(backbone: Backbone, dtype: str | None) -> Folded:
    policy = keras.dtype_policies.get(dtype or backbone.dtype_policy)
    images = keras.Input((None, None, 3), name="images", dtype=policy.variable_dtype)
    network = keras.models.clone_model(backbone, images, clone_function=lambda layer: _clone(layer, dtype))
    for layer in backbone.layers:
        if isinstance(layer, StandardizedConv2D):
            network.get_layer(layer.name).set_weights([layer.standardized_kernel("float32")])
        elif layer.weights:
            network.get_layer(layer.name).set_weights(layer.get_weights())
    return Folded(network.input, network.output, name=backbone.name)


def _clone(layer: keras.layers.Layer, dtype: str | None) -> keras.layers.Layer:
    """Returns an unbuilt layer of the same name; a plain convolution for a standardized one."""
    policy = dtype or layer.dtype_policy
    if isinstance(layer, StandardizedConv2D):
        shape = (layer.filters, layer.kernel_size, layer.strides, layer.padding, "channels_last")
        return keras.layers.Conv2D(*shape, use_bias=False, name=layer.name, dtype=policy)
    config = layer.get_config()
    config["dtype"] = policy
    return type(layer).from_config(config)
