"""The two layers that make BiT special: weight-standardized convolution and group normalization."""

import keras
from keras import ops

from bit_keras.network import arithmetic


@keras.saving.register_keras_serializable(package="bit_keras")
class StandardizedConv2D(keras.layers.Layer):
    """2-D convolution whose filters have zero mean and unit variance; no bias.

    With mean and variance per filter, over kernel height, kernel width and input channels:

        standardized = (kernel - mean) / sqrt(variance + epsilon)
        outputs = conv2d(inputs, standardized)

    Source: "Weight Standardization", arXiv 1903.10520; official `resnet.py`, class StandardizedConv2D.

    Args:
        filters: number of output channels, 1 or more.
        kernel_size: height and width of the kernel, an int or a pair.
        strides: steps along height and width, an int or a pair.
        padding: "valid" or "same". BiT pads symmetrically at stride 2, as "same" does not: it uses "valid" there.
        epsilon: added to the variance. BiT uses 1e-10; timm and transformers use 1e-8.
        kernel_initializer: initializer of the kernel.
        kernel_regularizer: regularizer of the kernel.

    Input shape: [N, H, W, C].
    Output shape: [N, H', W', filters].

    Raises:
        ValueError: an argument is out of range.

    Example:
        >>> from bit_keras.network.layers import StandardizedConv2D
        >>> layer = StandardizedConv2D(filters=8, kernel_size=3, padding="same")
        >>> layer(np.ones((1, 16, 16, 4), "float32")).shape
        TensorShape([1, 16, 16, 8])
        >>> np.allclose(np.mean(layer.standardized_kernel(), axis=(0, 1, 2)), 0, atol=1e-6)  # of each filter
        True
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        strides: int | tuple[int, int] = 1,
        padding: str = "valid",
        epsilon: float = 1e-10,
        kernel_initializer="he_normal",
        kernel_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = _pair("kernel_size", kernel_size)
        self.strides = _pair("strides", strides)
        self.padding = padding
        self.epsilon = epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        if filters < 1:
            raise ValueError(f"filters must be 1 or more, got {filters}")
        if padding not in ("valid", "same"):
            raise ValueError(f'padding must be "valid" or "same", got {padding!r}')
        if epsilon <= 0:
            raise ValueError(f"epsilon must be more than 0, got {epsilon}")

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
            autocast=False,  # an epsilon of 1e-10 is 0 in half precision: standardize first, then cast
        )
        arithmetic.lay_out(self.kernel)

    def standardized_kernel(self, dtype: str | None = None, training: bool | None = None):
        """Returns the kernel of the convolution, [kh, kw, C, filters], in `dtype` or the compute dtype."""
        kernel = ops.cast(self.kernel, arithmetic.statistics_dtype(self.variable_dtype))
        return arithmetic.standardize(kernel, self.epsilon, dtype or self.compute_dtype, training)

    def call(self, inputs, training=None):
        kernel = self.standardized_kernel(training=training)
        return arithmetic.convolve(inputs, kernel, self.strides, self.padding, training)

    def compute_output_shape(self, input_shape):
        sizes = []
        for size, kernel, stride in zip(input_shape[1:3], self.kernel_size, self.strides):
            if size is not None:
                size = -(-size // stride) if self.padding == "same" else (size - kernel) // stride + 1
            sizes.append(size)
        return (input_shape[0], *sizes, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "epsilon": self.epsilon,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


@keras.saving.register_keras_serializable(package="bit_keras")
class GroupNormalization(keras.layers.Layer):
    """Group normalization in float32, then ReLU if asked for.

    With mean and variance per image and group, over height, width and the channels of the group:

        normalized = (inputs - mean) / sqrt(variance + epsilon)
        outputs = activation(gamma * normalized + beta)

    Source: "Group Normalization", arXiv 1803.08494; official `normalization.py`, class GroupNormalization.

    Args:
        groups: number of groups, a divisor of the channels.
        epsilon: added to the variance. BiT uses 1e-5; Keras's own layer defaults to 1e-3.
        activation: of the outputs, "relu" or None.
        beta_initializer: initializer of the shift, per channel.
        gamma_initializer: initializer of the scale, per channel.

    Input shape: [N, H, W, C].
    Output shape: as the input.

    Raises:
        ValueError: an argument is out of range, or `groups` does not divide the channels.

    Example:
        >>> from bit_keras.network.layers import GroupNormalization
        >>> layer = GroupNormalization(groups=2, activation="relu")
        >>> images = np.random.default_rng(0).normal(5, 3, (1, 16, 16, 4)).astype("float32")
        >>> round(float(np.mean(layer(images))), 1)  # of a normal distribution whose negative half is 0
        0.4
    """

    def __init__(
        self,
        groups: int = 32,
        epsilon: float = 1e-5,
        activation: str | None = None,
        beta_initializer="zeros",
        gamma_initializer="ones",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.groups = groups
        self.epsilon = epsilon
        self.activation = activation
        self.beta_initializer = keras.initializers.get(beta_initializer)
        self.gamma_initializer = keras.initializers.get(gamma_initializer)
        self.input_spec = keras.layers.InputSpec(ndim=4)
        if groups < 1:
            raise ValueError(f"groups must be 1 or more, got {groups}")
        if epsilon <= 0:
            raise ValueError(f"epsilon must be more than 0, got {epsilon}")
        if activation not in (None, "relu"):
            raise ValueError(f'activation must be "relu" or None, got {activation!r}')

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.groups:
            raise ValueError(f"groups must divide the channels, got {self.groups} groups for {channels} channels")
        # Not autocast: scale and shift are applied in float32.
        self.gamma = self.add_weight(
            name="gamma", shape=(channels,), initializer=self.gamma_initializer, autocast=False
        )
        self.beta = self.add_weight(name="beta", shape=(channels,), initializer=self.beta_initializer, autocast=False)

    def call(self, inputs, training=None):
        dtype = arithmetic.statistics_dtype(self.compute_dtype)
        return arithmetic.normalize(
            inputs,
            ops.cast(self.gamma, dtype),
            ops.cast(self.beta, dtype),
            self.groups,
            self.epsilon,
            relu=self.activation is not None,
            training=training,
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "groups": self.groups,
            "epsilon": self.epsilon,
            "activation": self.activation,
            "beta_initializer": keras.initializers.serialize(self.beta_initializer),
            "gamma_initializer": keras.initializers.serialize(self.gamma_initializer),
        }


@keras.saving.register_keras_serializable(package="bit_keras")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """`keras.layers.MaxPooling2D` without padding; on torch it reads its inputs in place, where Keras's copies them."""

    def call(self, inputs):
        return arithmetic.max_pool(inputs, self.pool_size, self.strides)


def _pair(name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be one or two numbers of 1 or more, got {value}")
    return pair
