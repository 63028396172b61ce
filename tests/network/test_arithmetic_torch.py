"""torch's own operations: which ones run, and what traces them."""

import keras
import numpy as np
import pytest

from bit_keras.network import arithmetic
from bit_keras.network.layers import MaxPooling2D, StandardizedConv2D
from bit_keras.rules import SGD

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="the operations of torch"),
]

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(1, 2, (2, 5, 4, 8)).astype("float32")
KERNEL = RANDOM.normal(size=(3, 3, 8, 6)).astype("float32")
GAMMA, BETA = RANDOM.normal(size=(2, 8)).astype("float32")


def unit(images, gamma, beta, kernel):
    """Normalization, ReLU and a convolution."""
    images = arithmetic.normalize(images, gamma, beta, 2, 1e-5, relu=True, training=True)
    kernel = arithmetic.standardize(kernel, 1e-10, "float32", training=True)
    return arithmetic.convolve(images, kernel, (1, 1), "same", training=True)


def _arguments():
    return [keras.ops.convert_to_tensor(array) for array in (IMAGES, GAMMA, BETA, KERNEL)]


def _operations() -> list[str]:
    """Names of the operations of a unit."""
    from torch.utils._python_dispatch import TorchDispatchMode

    names = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(function.name().removeprefix("aten::"))
            return function(*args, **(kwargs or {}))

    with Recorder():
        unit(*_arguments())
    return names


def test_feature_maps_are_not_copied():
    names = _operations()
    assert names.count("native_group_norm") == names.count("convolution") == 1
    assert (
        sum(name.startswith(("clone", "copy_", "_to_copy", "contiguous")) for name in names) == 1
    )  # of the kernel here
    assert unit(*_arguments()).is_contiguous()


@pytest.mark.parametrize("scale", [1, 1e-3])
def test_a_large_mean_is_subtracted(scale):
    """The same images on a large mean have the same outputs."""
    import torch

    images, gamma, beta, _ = _arguments()
    expected, found = (
        arithmetic.normalize(scale * (images + mean), gamma, beta, 2, 1e-12, relu=False, training=True)
        for mean in (0, 256)
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_scale_and_offset_learn_where_the_inputs_do_not():
    """As after frozen layers."""
    images, gamma, beta, _ = _arguments()
    gamma, beta = gamma.clone().requires_grad_(), beta.clone().requires_grad_()
    arithmetic.normalize(images, gamma, beta, 2, 1e-5, relu=False, training=True).sum().backward()
    groups = IMAGES.reshape(2, 20, 2, 4)
    deviation = (groups.var((1, 3), keepdims=True) + 1e-5) ** 0.5
    normalized = ((groups - groups.mean((1, 3), keepdims=True)) / deviation).reshape(-1, 8)
    np.testing.assert_allclose(gamma.grad.numpy(), normalized.sum(0), atol=1e-4)
    np.testing.assert_allclose(beta.grad.numpy(), 40)
    assert images.grad is None


def test_torch_traces_them_as_one_graph():
    import torch

    traced = torch.compile(unit, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(*_arguments()), unit(*_arguments()), rtol=0, atol=1e-5)


def test_transforms_of_torch():
    """vmap among them: the derivative of every output at once."""
    import torch

    images, *others = _arguments()
    function = lambda images: unit(images, *others).sum((0, 1, 2))  # noqa: E731
    received, expected = torch.func.jacrev(function)(images), torch.autograd.functional.jacobian(function, images)
    torch.testing.assert_close(received, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_kernels_are_not_transposed():
    """Neither in a step, nor for the gradient and the momentum."""
    layer = StandardizedConv2D(6, 3, kernel_initializer=lambda shape, dtype=None: KERNEL)
    layer.build(IMAGES.shape)
    kernel = layer.kernel.value
    np.testing.assert_array_equal(kernel.detach().numpy(), KERNEL)
    assert kernel.permute(3, 0, 1, 2).is_contiguous()
    arithmetic.standardize(kernel, 1e-10, "float32", training=True).square().sum().backward()
    optimizer = SGD(0.1, momentum=0.9)
    optimizer.build([layer.kernel])
    assert kernel.grad.stride() == optimizer.momentums[0].value.stride() == kernel.stride()
    layer.kernel.assign(2 * KERNEL)
    assert layer.kernel.value.permute(3, 0, 1, 2).is_contiguous()


def test_maxima_are_those_of_keras():
    import torch

    images = _arguments()[0]
    received = MaxPooling2D(3, 2)(images)
    torch.testing.assert_close(received, keras.layers.MaxPooling2D(3, 2)(images), rtol=0, atol=0)
    assert received.is_contiguous()
