"""BiT as a textbook would write it in jax: lax convolutions, automatic differentiation, one jit.

A training step of this network is what the hand-written arithmetic of bit_keras is compared with on jax.
"""

from collections.abc import Callable

import jax
from jax import lax
from jax import numpy as jnp

from bit_keras import BiT
from bit_keras.checkpoints import names
from bit_keras.zoo.variants import UnitRow, Variant

_GROUPS = 32
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def weights_of(model: BiT) -> dict[str, list[jax.Array]]:
    """Returns {name of a layer: its weights}, copies of those of a network on the jax backend."""
    layers = [*model.backbone.layers, model.get_layer(names.HEAD)]
    return {layer.name: [jnp.array(weight.value) for weight in layer.weights] for layer in layers if layer.weights}


def logits(weights: dict, images: jax.Array, variant: Variant, dtype=jnp.float32) -> jax.Array:
    """Returns the outputs [N, classes] for images [N, H, W, 3] in [-1, 1].

    Args:
        weights: as from `weights_of`.
        images: float32.
        variant: the architecture.
        dtype: of convolutions and feature maps.
    """
    x = _convolve(images.astype(dtype), _get(weights, "root_block/standardized_conv2d"), 2, 3)
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")
    for row in variant.unit_rows():
        x = _unit(weights, x, row)
    x = _normalize(x, _get(weights, "group_norm")).astype(jnp.float32).mean((1, 2))
    kernel, bias = weights[names.HEAD]
    return x @ kernel + bias


def _unit(weights: dict, shortcut: jax.Array, row: UnitRow) -> jax.Array:
    def get(name: str) -> list:
        return _get(weights, f"{names.unit_path(row)}/{name}")

    x = _normalize(shortcut, get("a/group_norm"))
    if row.has_projection:
        shortcut = _convolve(x, get("a/proj/standardized_conv2d"), row.strides, 0)
    x = _convolve(x, get("a/standardized_conv2d"), 1, 0)
    x = _convolve(_normalize(x, get("b/group_norm")), get("b/standardized_conv2d"), row.strides, 1)
    return shortcut + _convolve(_normalize(x, get("c/group_norm")), get("c/standardized_conv2d"), 1, 0)


def _get(weights: dict, path: str) -> list:
    return weights[names.layer_name(path)]


def _convolve(x: jax.Array, weights: list, strides: int, padding: int) -> jax.Array:
    (kernel,) = weights
    kernel = kernel - kernel.mean((0, 1, 2))
    kernel = kernel / jnp.sqrt((kernel**2).mean((0, 1, 2)) + 1e-10)
    options = {"padding": [(padding, padding)] * 2, "dimension_numbers": _LAYOUT}
    return lax.conv_general_dilated(x, kernel.astype(x.dtype), (strides, strides), **options)


def _normalize(x: jax.Array, weights: list) -> jax.Array:
    gamma, beta = weights
    groups = x.astype(jnp.float32).reshape(*x.shape[:3], _GROUPS, -1)
    mean, variance = (f(groups, axis=(1, 2, 4), keepdims=True) for f in (jnp.mean, jnp.var))
    normalized = ((groups - mean) / jnp.sqrt(variance + 1e-5)).reshape(x.shape)
    return jax.nn.relu(normalized * gamma + beta).astype(x.dtype)


def train_step(variant: Variant, learning_rate: float, momentum: float, dtype=jnp.float32) -> Callable:
    """Returns the compiled function (weights, velocities, images, labels) -> (weights, velocities, loss).

    It overwrites its first two arguments.
    """

    def loss_of(weights, images, labels):
        return -(labels * jax.nn.log_softmax(logits(weights, images, variant, dtype))).sum(-1).mean()

    def step(weights, velocities, images, labels):
        loss, gradients = jax.value_and_grad(loss_of)(weights, images, labels)
        velocities = jax.tree.map(lambda v, g: momentum * v - learning_rate * g, velocities, gradients)
        return jax.tree.map(jnp.add, weights, velocities), velocities, loss

    return jax.jit(step, donate_argnums=(0, 1))
