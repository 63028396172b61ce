"""A custom gradient outside of what torch.compile traces: forward and backward run eagerly, between compiled graphs."""

from collections.abc import Callable

import torch


def custom_gradient(function: Callable) -> Callable:
    """`keras.ops.custom_gradient` for torch.compile, which fails to trace that of Keras: at closures over intermediate
    results, and in rematerialization, where its guards unpack saved tensors for a second time.

    Unlike Keras's, the gradient takes only the output gradient; see `execution.custom_gradient`.
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
    def backward(ctx, output_gradient):
        _ = ctx.saved_tensors  # raises where an input was changed in place, or the graph was freed
        gradients = ctx.gradient(output_gradient)
        return None, *(gradients if isinstance(gradients, tuple) else (gradients,))
