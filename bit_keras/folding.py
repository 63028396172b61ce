"""The inference network of a BiT: plain convolutions, whose kernels are already standardized."""

import keras
from keras import ops

from bit_keras.layers import GroupNormalization, StandardizedConv2D
from bit_keras.model import Backbone, BiT

# Padding belongs to them: runtimes fuse it with the convolution where both are of one dtype.
_CONVOLVING = (StandardizedConv2D, keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D)


@keras.saving.register_keras_serializable(package="bit_keras")
class InferenceNormalization(GroupNormalization):
    """`GroupNormalization` of plain operations, in an order in which TensorFlow is fast on a CPU."""

    def call(self, inputs):
        channels = inputs.shape[-1]
        shape = (-1, self.groups, channels // self.groups)
        dtype = keras.backend.result_type(self.compute_dtype, "float32")
        inputs = ops.cast(inputs, dtype)
        mean = _spatial_mean(inputs)  # [N, 1, 1, C]
        # Around the mean: E[x^2] - E[x]^2 would lose every digit where the mean is large.
        variance = ops.reshape(_spatial_mean(ops.square(inputs - mean)), shape)  # [N, G, C/G]
        mean = ops.reshape(mean, shape)
        group_mean = ops.mean(mean, axis=-1, keepdims=True)  # [N, G, 1]
        # Law of total variance: within the channels of a group plus between them.
        group_variance = ops.mean(variance + ops.square(mean - group_mean), axis=-1, keepdims=True)
        gamma, beta = (ops.reshape(ops.cast(weight, dtype), shape[1:]) for weight in (self.gamma, self.beta))
        scale = gamma * ops.rsqrt(group_variance + self.epsilon)
        shift = beta - group_mean * scale
        scale, shift = (ops.reshape(x, (-1, 1, 1, channels)) for x in (scale, shift))
        outputs = inputs * scale + shift
        if getattr(self, "activation", None):
            outputs = ops.relu(outputs)
        return ops.cast(outputs, self.compute_dtype)


def _spatial_mean(x):
    """Mean over height, then over width: TensorFlow adds up whole rows at once, four times as fast as over both."""
    return ops.mean(ops.mean(x, axis=1, keepdims=True), axis=2, keepdims=True)


def fold(model: BiT | Backbone, dtype: str | None = None, convolution_dtype: str | None = None) -> keras.Model:
    """Returns a network of the same outputs that standardizes no kernel when it is called.

    Its convolutions are `keras.layers.Conv2D` under the same names, so that no runtime has to do the arithmetic of
    weight standardization, and it is not meant for training. In float32 its outputs differ by
    rounding alone.

    Args:
        model: the network, left as it was.
        dtype: dtype policy of the new network, for example "bfloat16" for kernels stored and convolved in half
            precision; they are standardized in float32 and then rounded. None keeps the model's policies.
        convolution_dtype: dtype policy of the convolutions, and of what pads and pools between them, where it is
            another one. "bfloat16" beside a `dtype` of "float32" is for processors that multiply matrices in half
            precision and do all else faster in single; the sums of the units are kept in single precision too.

    Returns:
        A functional model: images [N, H, W, 3] in [-1, 1] to logits [N, K], or to features for a backbone.

    Raises:
        TypeError: `model` is no BiT and no backbone of one.
    """
    if isinstance(model, Backbone):
        return _fold_backbone(model, dtype, convolution_dtype)
    if not isinstance(model, BiT):
        raise TypeError(f"model must be a bit_keras.BiT or its backbone, got {type(model).__name__}")
    backbone = _fold_backbone(model.backbone, dtype, convolution_dtype)
    head = model.get_layer("head")
    new_head = _clone(head, dtype)
    folded = keras.Model(backbone.input, new_head(backbone.output), name=model.name)
    new_head.set_weights(head.get_weights())
    return folded


def _fold_backbone(backbone: Backbone, dtype: str | None, convolution_dtype: str | None) -> keras.Model:
    policy = keras.dtype_policies.get(dtype or backbone.dtype_policy)
    images = keras.Input((None, None, 3), name="images", dtype=policy.variable_dtype)

    def clone(layer):
        return _clone(layer, convolution_dtype if convolution_dtype and isinstance(layer, _CONVOLVING) else dtype)

    folded = keras.models.clone_model(backbone, images, clone_function=clone)
    for layer in backbone.layers:
        if isinstance(layer, StandardizedConv2D):
            folded.get_layer(layer.name).set_weights([layer.standardized_kernel("float32")])
        elif layer.weights:
            folded.get_layer(layer.name).set_weights(layer.get_weights())
    return folded


def _clone(layer: keras.layers.Layer, dtype: str | None) -> keras.layers.Layer:
    """A layer of the same name without weights yet."""
    policy = dtype or layer.dtype_policy
    if isinstance(layer, StandardizedConv2D):
        shape = (layer.filters, layer.kernel_size, layer.strides, layer.padding)
        return keras.layers.Conv2D(*shape, use_bias=False, name=layer.name, dtype=policy)
    config = layer.get_config()
    config["dtype"] = policy
    kind = InferenceNormalization if isinstance(layer, GroupNormalization) else type(layer)
    return kind.from_config(config)
