"""Networks of other libraries with random weights, and the number of multiplications per image."""

import math

import keras


def timm(num_classes: int, variant: str = "R50x1"):
    """Returns timm's network, a torch module from NCHW images to logits."""
    from tests import torchvision_operators  # noqa: F401, I001  before timm

    import timm

    return timm.create_model(f"resnetv2_{variant[1:]}_bit", num_classes=num_classes)


def transformers(num_classes: int, variant: str = "R50x1"):
    """Returns the network of transformers, a torch module of NCHW images whose output has `logits`."""
    from tests import torchvision_operators  # noqa: F401, I001  before transformers
    from transformers import BitConfig, BitForImageClassification

    from bit_keras.zoo.variants import EXPANSION, get_variant

    row = get_variant(variant)
    config = BitConfig(
        layer_type="preactivation",
        embedding_size=row.stem_filters,
        hidden_sizes=[EXPANSION * row.bottleneck_filters(block) for block in (1, 2, 3, 4)],
        depths=list(row.units),
        num_labels=num_classes,
    )
    return BitForImageClassification(config)


def compiled(module):
    """Returns the module compiled by `torch.compile`."""
    import torch

    return torch.compile(module)


@keras.saving.register_keras_serializable(package="bit_keras_benchmarks")
class PlainStandardizedConv2D(keras.layers.Conv2D):
    """Weight standardization as in ports of BiT to Keras: in the forward pass, with automatic differentiation."""

    def call(self, inputs):
        mean = keras.ops.mean(self.kernel, axis=(0, 1, 2), keepdims=True)
        variance = keras.ops.var(self.kernel, axis=(0, 1, 2), keepdims=True)
        kernel = (self.kernel - mean) / keras.ops.sqrt(variance + 1e-10)
        return keras.ops.conv(inputs, kernel, strides=self.strides, padding=self.padding)


def unfolded(num_classes: int, variant: str = "R50x1") -> keras.Model:
    """Returns the network made of Keras's own layers: images [N, H, W, 3] in [-1, 1] to logits."""
    from bit_keras import BiT
    from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

    def clone(layer):
        if isinstance(layer, StandardizedConv2D):
            shape = (layer.filters, layer.kernel_size, layer.strides, layer.padding)
            return PlainStandardizedConv2D(*shape, use_bias=False, name=layer.name)
        if isinstance(layer, GroupNormalization):
            norm = keras.layers.GroupNormalization(layer.groups, epsilon=layer.epsilon, name="norm")
            return keras.Sequential([norm, keras.layers.ReLU()], name=layer.name)
        return type(layer).from_config(layer.get_config())

    backbone = keras.models.clone_model(BiT(variant, 1).backbone, keras.Input((None, None, 3)), clone_function=clone)
    return keras.Model(backbone.input, keras.layers.Dense(num_classes)(backbone.output))


def multiplications(network: keras.Model, side: int) -> int:
    """Returns the number of multiplications in convolutions and head for an image of side x side pixels."""
    # A clone with a fixed input size, since the shapes in a network for any size are None.
    sized = keras.models.clone_model(network, keras.Input((side, side, 3)))
    kernels = [(layer.output.shape, layer.kernel.shape) for layer in sized.layers if hasattr(layer, "kernel")]
    return sum(math.prod(size for size in output[:-1] if size) * math.prod(kernel) for output, kernel in kernels)
