"""A custom gradient outside of what torch.compile traces: forward and backward run eagerly, between compiled graphs."""

from collections.abc import Callable

import torch
from torch.autograd import forward_ad


def custom_gradient(function: Callable) -> Callable:
    """`keras.ops.custom_gradient` for torch.compile, which fails to trace that of Keras: at closures over intermediate
    results, and in rematerialization, where its guards unpack saved tensors for a second time.

    Unlike Keras's, the gradient takes only the output gradient; see `execution.custom_gradient`. It can be
    differentiated again. In forward mode and under the transforms of torch.func torch differentiates the function's
    operations instead.
    """

    @torch.compiler.disable
    def call(*inputs):
        if _is_transformed(inputs):
            return function(*inputs)[0]
        return _Function.apply(function, *inputs)

    return call


def _is_transformed(inputs: tuple[torch.Tensor, ...]) -> bool:
    """Whether a transform of torch.func or forward mode is active, which a torch.autograd.Function does not support."""
    is_active = getattr(torch._C, "_are_functorch_transforms_active", bool)  # without it torch raises its own error
    return is_active() or any(forward_ad.unpack_dual(x).tangent is not None for x in inputs)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, *inputs):
        ctx.save_for_backward(*inputs)
        ctx.function = function
        outputs, ctx.gradient = function(*inputs)
        return outputs

    @staticmethod
    @torch.compiler.disable
    def backward(ctx, output_gradient):
        inputs = ctx.saved_tensors  # raises where an input was changed in place, or the graph was freed
        gradient = ctx.gradient
        if torch.is_grad_enabled():
            # create_graph=True: the gradient will be differentiated, also through its intermediate results, of which
            # autograd has recorded nothing in `forward`.
            _, gradient = ctx.function(*inputs)
        gradients = gradient(output_gradient)
        return None, *(gradients if isinstance(gradients, tuple) else (gradients,))
