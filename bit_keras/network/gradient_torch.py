"""A custom gradient that torch.compile leaves alone: forward and backward run as they are, between compiled graphs."""

from collections.abc import Callable

import torch


def custom_gradient(function: Callable) -> Callable:
    """As `keras.ops.custom_gradient`, which torch.compile tries to trace and fails: at closures over intermediate
    results, and in rematerialization, where its guards unpack saved tensors for a second time.
    """

    @torch.compiler.disable
    def call(*inputs):
        return _Function.apply(function, *inputs)

    return call


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.save_for_backward(*inputs)
        outputs, ctx.gradient = function(*inputs)
        return outputs

    @staticmethod
    @torch.compiler.disable
    def backward(ctx, upstream):
        gradients = ctx.gradient(*ctx.saved_tensors, upstream=upstream)
        return None, *(gradients if isinstance(gradients, tuple) else (gradients,))
