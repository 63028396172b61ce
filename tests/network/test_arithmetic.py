"""Hand-written gradients and XLA programs, compared with automatic differentiation in float64."""

import collections

import keras
import numpy as np
import pytest

from bit_keras import BiT
from bit_keras.network import execution
from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

any_backend = pytest.mark.any_backend
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA programs are TensorFlow's")

# Kernel size, strides, padding, and the side of the images: patches for few outputs, one product for a 1x1 kernel.
CONVOLUTIONS = [
    *((1, 1, "valid", 6), (1, 2, "valid", 6), (1, 2, "valid", 7)),
    *((3, 1, "same", 6), (3, 1, "same", 4), (3, 2, "valid", 6), (3, 2, "valid", 12), (7, 2, "valid", 20)),
    *((3, 2, "same", 6), (2, 1, "same", 5)),  # padded below and right only
]


@pytest.fixture(params=["shared", "compiled"] if keras.backend.backend() == "tensorflow" else ["plain"])
def run(request, monkeypatch) -> str:
    """Ways to run a layer in training, for all sizes."""
    monkeypatch.setattr(execution, "XLA_MINIMUM", 0 if request.param == "compiled" else 2**60)
    return request.param


def _layer(cls, dtype: str, channels: int = 8, **options) -> keras.layers.Layer:
    layer = cls(**options, dtype=dtype)
    layer.build((None, None, None, channels))
    random = np.random.default_rng(1)
    layer.set_weights([random.normal(1, 0.5, weight.shape) for weight in layer.weights])
    return layer


def _gradients(layer, images: np.ndarray, output_gradient: np.ndarray, training: bool) -> list[np.ndarray]:
    """Returns outputs, and the gradients with respect to images and weights, for a given output gradient."""
    weights = [weight.value for weight in layer.trainable_variables]
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        images, output_gradient = tf.constant(images), tf.constant(output_gradient)
        with tf.GradientTape() as tape:
            tape.watch(images)
            outputs = layer(images, training=training)
        results = [outputs, *tape.gradient(outputs, [images, *weights], output_gradient)]
    elif backend == "jax":
        import jax

        def call(images, weights):
            return layer.stateless_call(weights, [], images, training=training)[0]

        outputs, pull = jax.vjp(call, images, weights)
        by_images, by_weights = pull(output_gradient)
        results = [outputs, by_images, *by_weights]
    else:
        import torch

        images = torch.tensor(images, requires_grad=True)
        layer.zero_grad()
        outputs = layer(images, training=training)
        outputs.backward(torch.tensor(output_gradient))
        results = [outputs, images.grad, *(weight.grad for weight in weights)]
    return [np.array(keras.ops.convert_to_numpy(result), "float64") for result in results]


def _check(cls, images: np.ndarray, output_gradient: np.ndarray, tolerance: float, **options) -> None:
    # jax computes in float32 unless float64 is enabled.
    reference = "float32" if keras.backend.backend() == "jax" else "float64"
    received, expected = (
        _gradients(
            _layer(cls, dtype, images.shape[-1], **options),
            images.astype(dtype),
            output_gradient.astype(dtype),
            training,
        )
        for dtype, training in (("float32", True), (reference, False))
    )
    for a, b in zip(expected, received, strict=True):
        assert np.abs(a - b).max() <= tolerance * np.abs(a).max()


@any_backend
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("side", [1, 7, 8])
def test_gradients_of_the_normalization(run, activation, side):
    random = np.random.default_rng(0)
    images, output_gradient = random.normal(0.5, 2, (2, 3, side, side, 8))
    _check(GroupNormalization, images, output_gradient, 1e-5, groups=2, activation=activation)


@any_backend
def test_a_large_mean_costs_no_digits(run):
    random = np.random.default_rng(0)
    images = random.normal(300, 1, (2, 16, 16, 8)).astype("float32").astype("float64")
    _check(GroupNormalization, images, random.normal(size=images.shape), 1e-4, groups=2)


@any_backend
@pytest.mark.parametrize(("size", "strides", "padding", "side"), CONVOLUTIONS)
def test_gradients_of_the_convolution(run, size, strides, padding, side):
    options = {"filters": 5, "kernel_size": size, "strides": strides, "padding": padding}
    random = np.random.default_rng(0)
    images = random.normal(size=(3, side, side, 8))
    shape = StandardizedConv2D(**options).compute_output_shape(images.shape)
    _check(StandardizedConv2D, images, random.normal(size=shape), 1e-5, **options)


@any_backend
def test_half_precision_has_float32_statistics(run):
    random = np.random.default_rng(0)
    pair = random.normal(30, 2, (2, 2, 64, 64, 8))
    rounded = [np.array(keras.ops.convert_to_numpy(keras.ops.cast(x, "bfloat16")), "float32") for x in pair]
    expected = _gradients(_layer(GroupNormalization, "float32", groups=2), *rounded, training=False)
    layer = _layer(GroupNormalization, "mixed_bfloat16", groups=2)
    outputs = layer(keras.ops.cast(rounded[0], "bfloat16"), training=True)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    received = np.array(keras.ops.convert_to_numpy(keras.ops.cast(outputs, "float32")))
    assert np.abs(received - expected[0]).max() <= 2**-8 * np.abs(expected[0]).max()


@tensorflow_only
def test_batches_and_sizes_may_be_unknown(run):
    import tensorflow as tf

    layer = _layer(GroupNormalization, "float32", groups=2, activation="relu")
    call = tf.function(lambda x: layer(x, training=True), input_signature=[tf.TensorSpec([None, None, None, 8])])
    for shape in ((2, 5, 4, 8), (3, 8, 8, 8)):
        images = np.random.default_rng(0).normal(size=shape).astype("float32")
        np.testing.assert_allclose(call(images), layer(images), rtol=0, atol=1e-5)


def _functions(model, portable: bool) -> tuple[set[str], bool]:
    """Returns the operations of a training step, and whether XLA compiles a part of it."""
    import tensorflow as tf

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    spec = tf.TensorSpec([2, 32, 32, 3])
    if portable:
        with execution.portable():
            graph = step.get_concrete_function(spec).graph
    else:
        graph = step.get_concrete_function(spec).graph
    definition = graph.as_graph_def()
    operations = {node.op for node in definition.node}
    must = any(function.attr["_XlaMustCompile"].b for function in definition.library.function)
    return operations, must or "XlaLaunch" in operations


@tensorflow_only
def test_portable_graphs_have_gradients_of_tensorflow_alone(run):
    model = BiT("R17x0.5", 3)
    operations, compiles = _functions(model, portable=False)
    assert "IdentityN" in operations  # from tf.custom_gradient
    assert compiles == (run == "compiled")
    operations, compiles = _functions(model, portable=True)
    assert "IdentityN" not in operations
    assert not compiles


@tensorflow_only
def test_the_backward_pass_recomputes_the_inputs_of_convolutions(monkeypatch):
    """Each ReLU is computed in the forward pass, and recomputed per convolution after the output gradient."""
    import tensorflow as tf

    monkeypatch.setattr(execution, "RECOMPUTE_MINIMUM", 0)
    norm = _layer(GroupNormalization, "float32", groups=2, activation="relu")
    conv = _layer(StandardizedConv2D, "float32", filters=4, kernel_size=1)

    @tf.function
    def step(images):
        with tf.GradientTape() as tape:
            outputs = conv(norm(images, training=True), training=True)
        return tape.gradient(outputs, [images, conv.kernel.value], tf.cos(outputs))

    graph = step.get_concrete_function(tf.TensorSpec([2, 6, 6, 8])).graph
    functions = graph.as_graph_def().library.function
    assert functions
    assert all(function.attr["_noinline"].b for function in functions)  # otherwise TensorFlow saves the first output
    calls = collections.defaultdict(list)
    for operation in graph.get_operations():
        if operation.type == "PartitionedCall":
            calls[operation.get_attr("f").name].append(bool(operation.control_inputs))
    assert [sorted(of_function) for of_function in calls.values() if len(of_function) > 1] == [[False, True]]
