"""Second derivatives and forward mode of the layers in training, compared with formulas in plain operations."""

import keras
import numpy as np
import pytest
from keras import ops

from bit_keras.network.layers import GroupNormalization, StandardizedConv2D

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning"),  # of torch's own forward mode
]
BACKEND = keras.backend.backend()

RANDOM = np.random.default_rng(0)
IMAGES, DIRECTION = RANDOM.normal(size=(2, 2, 4, 4, 8)).astype("float32")


def normalization(x, gamma, beta):
    """Two groups, then ReLU."""
    groups = ops.reshape(x, (*x.shape[:3], 2, 4))
    mean = ops.mean(groups, axis=(1, 2, 4), keepdims=True)
    variance = ops.mean(ops.square(groups - mean), axis=(1, 2, 4), keepdims=True)
    normalized = ops.reshape((groups - mean) / ops.sqrt(variance + 1e-5), x.shape)
    return ops.relu(normalized * gamma + beta)


def convolution(x, kernel):
    """1x1, of a standardized kernel."""
    kernel = kernel - ops.mean(kernel, axis=(0, 1, 2))
    kernel = kernel / ops.sqrt(ops.mean(ops.square(kernel), axis=(0, 1, 2)) + 1e-10)
    return ops.matmul(x, kernel[0, 0])


CASES = {
    "normalization": (lambda: GroupNormalization(2, activation="relu"), normalization),
    "convolution": (lambda: StandardizedConv2D(3, 1), convolution),
}


@pytest.fixture(params=CASES)
def functions(request):
    """The layer and the formula, as functions of images and weights to a number, and the weights."""
    make, formula = CASES[request.param]
    layer = make()
    layer.build(IMAGES.shape)
    weights = [np.random.default_rng(1).normal(1, 0.5, weight.shape).astype("float32") for weight in layer.weights]

    def of_layer(x, *weights):
        return ops.sum(ops.sin(layer.stateless_call(list(weights), [], x, training=True)[0]))

    return of_layer, lambda x, *weights: ops.sum(ops.sin(formula(x, *weights))), weights


def _norm(gradients):
    return sum(ops.sum(ops.square(gradient)) for gradient in gradients)


def second_derivatives(function, *arrays) -> list[np.ndarray]:
    """Gradient of the squared norm of the gradient."""
    if BACKEND == "torch":
        import torch

        inputs = [torch.tensor(array, requires_grad=True) for array in arrays]
        gradients = torch.autograd.grad(function(*inputs), inputs, create_graph=True)
        results = torch.autograd.grad(_norm(gradients), inputs)
    elif BACKEND == "jax":
        import jax

        every = tuple(range(len(arrays)))
        results = jax.grad(lambda *x: _norm(jax.grad(function, every)(*x)), every)(*arrays)
    else:
        import tensorflow as tf

        @tf.function
        def compute(*inputs):
            with tf.GradientTape() as outer:
                outer.watch(inputs)
                with tf.GradientTape() as inner:
                    inner.watch(inputs)
                    value = function(*inputs)
                norm = _norm(inner.gradient(value, inputs))
            return outer.gradient(norm, inputs)

        results = compute(*map(tf.constant, arrays))
    return [ops.convert_to_numpy(result) for result in results]


def forward_derivative(function, *arrays) -> float:
    """Derivative along DIRECTION of the images."""
    x, *weights = map(ops.convert_to_tensor, arrays)
    direction = ops.convert_to_tensor(DIRECTION)
    if BACKEND == "torch":
        import torch

        result = torch.func.jvp(lambda x: function(x, *weights), (x,), (direction,))[1]
    elif BACKEND == "jax":
        import jax

        result = jax.jvp(lambda x: function(x, *weights), (x,), (direction,))[1]
    else:
        import tensorflow as tf

        with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
            value = function(x, *weights)
        result = accumulator.jvp(value)
    return float(ops.convert_to_numpy(result))


def test_second_derivatives(functions):
    layer, formula, weights = functions
    expected = second_derivatives(formula, IMAGES, *weights)
    received = second_derivatives(layer, IMAGES, *weights)
    assert len(received) == 1 + len(weights)
    for a, b in zip(received, expected, strict=True):
        assert np.abs(b).max() > 0.1
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * np.abs(b).max())


def test_forward_mode(functions):
    layer, formula, weights = functions
    expected = forward_derivative(formula, IMAGES, *weights)
    assert abs(expected) > 0.1
    assert forward_derivative(layer, IMAGES, *weights) == pytest.approx(expected, rel=1e-4)


@pytest.mark.skipif(BACKEND != "torch", reason="the ways of torch")
def test_the_ways_of_torch(functions):
    import torch
    from torch.autograd import forward_ad

    layer, formula, weights = functions
    weights = [torch.tensor(weight) for weight in weights]
    x, direction = torch.tensor(IMAGES), torch.tensor(DIRECTION)
    expected = torch.func.grad(formula)(x, *weights)
    torch.testing.assert_close(torch.func.grad(layer)(x, *weights), expected, rtol=1e-4, atol=1e-5)
    with forward_ad.dual_level():
        received, wanted = (
            forward_ad.unpack_dual(function(forward_ad.make_dual(x, direction), *weights)).tangent
            for function in (layer, formula)
        )
    torch.testing.assert_close(received, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(BACKEND != "jax", reason="the ways of jax")
def test_the_ways_of_jax(functions):
    import jax

    layer, formula, weights = functions
    x = IMAGES[:1, :2, :2]
    np.testing.assert_allclose(
        jax.jit(jax.hessian(layer))(x, *weights), jax.jit(jax.hessian(formula))(x, *weights), rtol=0, atol=1e-4
    )
    # Of a compiled function: right, or an error.
    wanted, received = (jax.jit(lambda x, f=function: f(x, *weights)) for function in (formula, layer))
    found, fault = None, ""
    try:
        found = jax.jvp(received, (IMAGES,), (DIRECTION,))
    except TypeError as error:
        fault = str(error)
    if found is None:
        assert "forward-mode" in fault
        return
    for value, expected in zip(found, jax.jvp(wanted, (IMAGES,), (DIRECTION,)), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
