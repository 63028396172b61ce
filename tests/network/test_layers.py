"""The two layers, compared with independent references in float64."""

import inspect

import keras
import numpy as np
import pytest

from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

any_backend = pytest.mark.any_backend


def _numpy(tensor) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype("float64")


def _standardize(kernel: np.ndarray, epsilon: float = 1e-10) -> np.ndarray:
    kernel = kernel.astype("float64")
    columns = kernel.reshape(-1, kernel.shape[-1])
    return (kernel - columns.mean(axis=0)) / np.sqrt(columns.var(axis=0) + epsilon)


def _convolve(x: np.ndarray, kernel: np.ndarray, strides: tuple[int, int], padding: str) -> np.ndarray:
    """Convolution by its definition; "same" pads as in TensorFlow, with an odd pixel at the bottom and right."""
    x = x.astype("float64")
    sizes = []
    for axis, (size, length, stride) in enumerate(zip(x.shape[1:3], kernel.shape, strides), start=1):
        if padding == "same":
            out = -(-size // stride)
            total = max((out - 1) * stride + length - size, 0)
            pads = [(0, 0)] * 4
            pads[axis] = (total // 2, total - total // 2)
            x = np.pad(x, pads)
        else:
            out = (size - length) // stride + 1
        sizes.append(out)
    y = np.zeros((x.shape[0], *sizes, kernel.shape[-1]))
    for i in range(sizes[0]):
        for j in range(sizes[1]):
            top, left = i * strides[0], j * strides[1]
            patch = x[:, top : top + kernel.shape[0], left : left + kernel.shape[1], :]
            y[:, i, j, :] = np.einsum("nhwc,hwcf->nf", patch, kernel)
    return y


def _normalize(x: np.ndarray, groups: int, gamma=1.0, beta=0.0, epsilon: float = 1e-5) -> np.ndarray:
    """Group normalization by its definition, in five dimensions."""
    x = x.astype("float64")
    n, h, w, c = x.shape
    grouped = x.reshape(n, h, w, groups, c // groups)
    mean = grouped.mean(axis=(1, 2, 4), keepdims=True)
    variance = grouped.var(axis=(1, 2, 4), keepdims=True)
    return ((grouped - mean) / np.sqrt(variance + epsilon)).reshape(x.shape) * gamma + beta


def _built(layer, channels: int):
    layer.build((None, None, None, channels))
    return layer


# Every constructor argument with a value that is not its default.
CHANGED = {
    StandardizedConv2D: {
        "filters": 5,
        "kernel_size": (3, 2),
        "strides": (2, 1),
        "padding": "same",
        "epsilon": 0.1,
        "kernel_initializer": "glorot_uniform",
        "kernel_regularizer": keras.regularizers.L2(0.25),
    },
    GroupNormalization: {
        "activation": "relu",
        "groups": 2,
        "epsilon": 0.1,
        "beta_initializer": "ones",
        "gamma_initializer": keras.initializers.RandomUniform(1, 2, seed=3),
    },
}


@any_backend
@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding"),
    [
        (1, 1, "valid"),
        (1, 2, "valid"),
        (3, 1, "same"),
        (3, 2, "valid"),
        (3, 2, "same"),
        (7, 2, "valid"),
        ((3, 2), (2, 1), "valid"),
        ((2, 5), 3, "same"),
    ],
)
def test_convolution_equals_the_reference(kernel_size, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 11, 8, 4)).astype("float32")
    layer = _built(StandardizedConv2D(6, kernel_size, strides, padding), 4)
    kernel = rng.normal(3.0, 2.0, size=layer.kernel.shape)
    layer.kernel.assign(kernel)
    expected = _convolve(x, _standardize(np.float32(kernel)), layer.strides, padding)
    outputs = layer(x)
    assert layer.compute_output_shape(x.shape) == tuple(outputs.shape) == expected.shape
    np.testing.assert_allclose(_numpy(outputs), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@any_backend
def test_standardized_kernel_has_zero_mean_and_unit_variance():
    layer = _built(StandardizedConv2D(16, 3), 8)
    layer.kernel.assign(np.random.default_rng(0).normal(100.0, 0.5, size=(3, 3, 8, 16)))
    kernel = _numpy(layer.standardized_kernel())
    np.testing.assert_allclose(kernel.mean(axis=(0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(kernel.var(axis=(0, 1, 2)), 1, rtol=1e-4)


@any_backend
def test_epsilon_of_the_convolution_is_added_to_the_variance():
    kernel = np.random.default_rng(0).normal(0.0, 1e-5, size=(3, 3, 4, 6)).astype("float32")
    layer = _built(StandardizedConv2D(6, 3), 4)
    layer.kernel.assign(kernel)
    # The variance is about 1e-10, like epsilon; with the epsilon of other libraries, 1e-8, outputs would be a tenth.
    np.testing.assert_allclose(_numpy(layer.standardized_kernel()), _standardize(kernel), rtol=1e-3, atol=1e-5)
    assert 0.6 < _numpy(layer.standardized_kernel()).std() < 0.8


@any_backend
@pytest.mark.parametrize(("policy", "rounding"), [("mixed_float16", 2**-11), ("mixed_bfloat16", 2**-8)])
@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1.0])
def test_kernel_is_standardized_in_float32_under_mixed_policies(policy, rounding, scale):
    # At 1e-4 the variance of 1e-8 is 0 in float16.
    kernel = np.random.default_rng(0).normal(scale, scale, size=(1, 1, 64, 8)).astype("float32")
    layer = _built(StandardizedConv2D(8, 1, dtype=policy), 64)
    layer.kernel.assign(kernel)
    assert layer.kernel.dtype == "float32"
    outputs = layer(np.ones((1, 2, 2, 64), "float32"))
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    np.testing.assert_allclose(_numpy(layer.standardized_kernel()), _standardize(kernel), rtol=rounding, atol=1e-4)


@any_backend
@pytest.mark.parametrize("policy", ["float16", "bfloat16"])
def test_statistics_are_float32_under_pure_half_policies(policy):
    rng = np.random.default_rng(0)
    convolution = _built(StandardizedConv2D(8, 1, dtype=policy), 64)
    convolution.kernel.assign(rng.normal(0.0, 1e-4, size=(1, 1, 64, 8)).astype("float32"))
    kernel = _numpy(convolution.kernel)  # rounded to the dtype of the policy
    np.testing.assert_allclose(_numpy(convolution.standardized_kernel()), _standardize(kernel), rtol=2**-8, atol=1e-4)
    norm = _built(GroupNormalization(4, dtype=policy), 8)
    x = _numpy(keras.ops.cast(rng.normal(30.0, 10.0, size=(1, 128, 128, 8)), policy))
    np.testing.assert_allclose(_numpy(norm(keras.ops.cast(x, policy))), _normalize(x, 4), rtol=2**-8, atol=1e-3)


@any_backend
def test_regularizer_of_the_kernel_is_a_loss():
    layer = StandardizedConv2D(3, 1, kernel_regularizer=keras.regularizers.L2(0.25))
    layer(np.zeros((1, 2, 2, 4), "float32"))
    (loss,) = layer.losses
    np.testing.assert_allclose(_numpy(loss), 0.25 * np.square(_numpy(layer.kernel)).sum(), rtol=1e-5)


@any_backend
@pytest.mark.parametrize(
    ("groups", "shape"), [(1, (2, 7, 5, 32)), (32, (2, 7, 5, 32)), (32, (3, 16, 9, 96)), (4, (1, 1, 1, 64))]
)
def test_normalization_equals_the_reference(groups, shape):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=shape) * rng.uniform(0.1, 10, size=shape[-1]) + rng.normal(size=shape[-1])).astype("float32")
    gamma, beta = rng.normal(size=(2, shape[-1])).astype("float32")
    layer = _built(GroupNormalization(groups), shape[-1])
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    expected = _normalize(x, groups, gamma, beta)
    np.testing.assert_allclose(_numpy(layer(x)), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@any_backend
@pytest.mark.parametrize("mean", [30.0, 1e3, 1e4])
@pytest.mark.parametrize("is_shared", [True, False])
def test_normalization_of_large_means(mean, is_shared):
    rng = np.random.default_rng(0)
    means = mean if is_shared else mean * rng.choice([-1, 1], size=16)  # otherwise each group varies only in its means
    x = (rng.normal(size=(2, 40, 30, 16)) + means).astype("float32")
    expected = _normalize(x, 4)
    error = np.abs(_numpy(GroupNormalization(4)(x)) - expected).max()
    # Only the rounding error of the mean is allowed, 2**-24 of it; E[x^2] - E[x]^2 would lose 2**-24 of mean^2.
    assert error < 4 * 2**-24 * mean + 1e-5, error


@any_backend
def test_epsilon_of_the_normalization_is_added_to_the_variance():
    x = np.random.default_rng(0).normal(0.0, 3e-3, size=(2, 6, 6, 8)).astype("float32")
    np.testing.assert_allclose(_numpy(GroupNormalization(2)(x)), _normalize(x, 2), rtol=0, atol=1e-5)
    constant = np.full((1, 4, 4, 8), 5.0, "float32")
    np.testing.assert_allclose(_numpy(GroupNormalization(2)(constant)), 0, atol=1e-3)


@any_backend
@pytest.mark.parametrize(("policy", "rounding"), [("mixed_float16", 2**-11), ("mixed_bfloat16", 2**-8)])
def test_large_feature_maps_are_normalized_in_float32_under_mixed_policies(policy, rounding):
    layer = _built(GroupNormalization(4, dtype=policy), 8)
    assert layer.gamma.dtype == layer.beta.dtype == "float32"
    # 16,384 pixels around 30: their sum, and the sum of their squares, overflow float16.
    x = np.random.default_rng(0).normal(30.0, 2.0, size=(1, 128, 128, 8))
    x = _numpy(keras.ops.cast(x, layer.compute_dtype))
    outputs = layer(keras.ops.cast(x, layer.compute_dtype))
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    np.testing.assert_allclose(_numpy(outputs), _normalize(x, 4), rtol=rounding, atol=1e-4)


@any_backend
@pytest.mark.parametrize("cls", CHANGED)
def test_every_argument_makes_a_round_trip(cls, tmp_path):
    arguments = inspect.signature(cls).parameters
    assert set(CHANGED[cls]) == set(arguments) - {"kwargs"}
    layer = cls(**CHANGED[cls], name="renamed", dtype="mixed_bfloat16", trainable=False)
    config = layer.get_config()
    defaults = cls(**{"filters": 1, "kernel_size": 1} if cls is StandardizedConv2D else {}).get_config()
    assert all(config[key] != defaults[key] for key in (*CHANGED[cls], "name", "dtype", "trainable"))

    assert cls.from_config(config).get_config() == config

    model = keras.Sequential([keras.Input((None, None, 4)), layer])
    model.save(tmp_path / "model.keras")
    (loaded,) = keras.saving.load_model(tmp_path / "model.keras").layers
    assert type(loaded) is cls
    assert loaded.get_config() == config
    x = np.random.default_rng(0).normal(size=(2, 9, 8, 4)).astype("float32")
    np.testing.assert_array_equal(_numpy(loaded(x)), _numpy(layer(x)))


@any_backend
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("size", [(None, None), (9, None), (9, 12)])
def test_symbolic_shapes(size, padding):
    images = keras.Input((*size, 4))
    outputs = GroupNormalization(2)(StandardizedConv2D(6, 3, 2, padding)(images))
    model = keras.Model(images, outputs)
    real = model(np.zeros((3, 9, 12, 4), "float32")).shape
    assert tuple(real) == (3, *((4, 5) if padding == "valid" else (5, 6)), 6)
    expected = tuple(None if symbolic is None else length for symbolic, length in zip(size, real[1:3]))
    assert tuple(outputs.shape) == (None, *expected, 6)
    assert GroupNormalization(2).compute_output_shape((None, 9, None, 4)) == (None, 9, None, 4)


@any_backend
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filters": 0}, "filters must be 1 or more, got 0"),
        ({"kernel_size": 0}, "kernel_size must be .* got 0"),
        ({"kernel_size": (3, 3, 3)}, "kernel_size must be .* got"),
        ({"strides": (1, 0)}, "strides must be .* got"),
        ({"padding": "causal"}, "padding must be .* got 'causal'"),
        ({"epsilon": 0}, "epsilon must be more than 0, got 0"),
    ],
)
def test_refused_arguments_of_the_convolution(arguments, message):
    with pytest.raises(ValueError, match=message):
        StandardizedConv2D(**{"filters": 4, "kernel_size": 3, **arguments})


@any_backend
def test_refused_arguments_of_the_normalization():
    with pytest.raises(ValueError, match="groups must be 1 or more, got 0"):
        GroupNormalization(0)
    with pytest.raises(ValueError, match="epsilon must be more than 0, got -1"):
        GroupNormalization(epsilon=-1)
    with pytest.raises(ValueError, match="groups must divide the channels, got 32 groups for 48 channels"):
        GroupNormalization()(np.zeros((1, 2, 2, 48), "float32"))


@any_backend
@pytest.mark.parametrize("layer", [StandardizedConv2D(4, 1), GroupNormalization(1)])
def test_inputs_must_have_four_axes(layer):
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        layer(np.zeros((2, 2, 4), "float32"))


def _gradients(function, x: np.ndarray, variables, weights: np.ndarray) -> list[np.ndarray]:
    """Returns the gradients of sum(function(x) * weights) with respect to x and the variables."""
    import tensorflow as tf

    x = tf.Variable(x)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.cast(function(x), "float64") * weights)
    return [gradient.numpy() for gradient in tape.gradient(loss, [x, *variables])]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
@pytest.mark.parametrize("mean", [0.0, 30.0])
def test_gradients_of_the_normalization_equal_the_textbooks(dtype, tolerance, mean):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = (rng.normal(size=(2, 5, 6, 8)) * rng.uniform(0.5, 2, size=8) + mean).astype(dtype)
    weights = rng.normal(size=x.shape)
    layer = _built(GroupNormalization(2, dtype=dtype), 8)
    layer.gamma.assign(rng.normal(size=8))
    gamma, beta = tf.Variable(layer.gamma.numpy().astype("float64")), tf.Variable(np.zeros(8))

    def textbook(x):
        grouped = tf.reshape(x, (2, 5, 6, 2, 4))
        mean, variance = tf.nn.moments(grouped, (1, 2, 4), keepdims=True)
        return tf.reshape((grouped - mean) / tf.sqrt(variance + 1e-5), x.shape) * gamma + beta

    expected = _gradients(textbook, x.astype("float64"), [gamma, beta], weights)
    received = _gradients(layer, x, [layer.gamma.value, layer.beta.value], weights)
    for a, b in zip(received, expected):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max() * max(1, mean))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 2e-5)])
@pytest.mark.parametrize(("strides", "padding"), [(1, "same"), (2, "valid")])
def test_gradients_of_the_convolution_equal_finite_differences(dtype, tolerance, strides, padding):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 5, 6, 3)).astype(dtype)
    layer = _built(StandardizedConv2D(4, 3, strides, padding, dtype=dtype), 3)
    kernel = rng.normal(1.0, 0.5, size=layer.kernel.shape).astype(dtype)
    layer.kernel.assign(kernel)
    weights = rng.normal(size=layer.compute_output_shape(x.shape))

    def loss(x, kernel):
        return (_convolve(x, _standardize(kernel), layer.strides, padding) * weights).sum()

    received = _gradients(layer, x, [layer.kernel.value], weights)
    for position, gradient in enumerate(received):
        arguments = [x.astype("float64"), kernel.astype("float64")]
        for index in zip(*(rng.integers(0, length, size=12) for length in gradient.shape)):
            step = np.zeros(gradient.shape)
            step[index] = 1e-4
            above, below = (
                [value + sign * step if i == position else value for i, value in enumerate(arguments)]
                for sign in (1, -1)
            )
            expected = (loss(*above) - loss(*below)) / 2e-4
            assert abs(gradient[index] - expected) < max(tolerance, 1e-6) * np.abs(gradient).max()
