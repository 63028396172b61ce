"""The formulas of `bit_keras.network.arithmetic` in torch's own operations, with the gradients that torch has for them.

torch's operations read [N, C, H, W] and are fastest where the channels are last in memory: in a view of [N, H, W, C].
"""

import torch
from keras import ops
from torch.nn import functional

# |mean| / standard deviation of a group up to which E[x^2] - E[x]^2 costs no digit.
_MODERATE_MEAN = 1.0


def normalize(inputs, gamma, beta, groups: int, epsilon: float, relu: bool):
    """Group normalization, and ReLU where asked for; see `arithmetic.normalize`.

    On a CPU it looks at values; see `execution.is_traced_by_torch`.
    """
    maps = _channels_second(inputs)
    precise = torch.promote_types(maps.dtype, torch.float32)
    gamma, beta = gamma.to(precise), beta.to(precise)
    if maps.device.type == "cpu":
        outputs, mean, rstd = _group_norm_on_cpu(maps, gamma, beta, groups, epsilon)
        # With the channels last torch computes the variance as E[x^2] - E[x]^2 on CPUs. Shifted inputs have the same
        # outputs and gradients, and a mean of almost 0.
        if (mean.abs() * rstd > _MODERATE_MEAN).any():
            shift = mean.detach().repeat_interleave(maps.shape[1] // groups, dim=1)
            shifted = maps.to(precise) - shift[:, :, None, None]
            outputs, *_ = _group_norm_on_cpu(shifted, gamma, beta, groups, epsilon)
    else:  # elsewhere torch takes no scale in another dtype
        outputs = functional.group_norm(maps.to(precise), groups, gamma, beta, epsilon)
    outputs = outputs.to(maps.dtype)
    return _channels_last(outputs.relu_() if relu else outputs)


def _group_norm_on_cpu(maps, gamma, beta, groups, epsilon):
    """`torch.nn.functional.group_norm`, and per image and group the mean and 1 / standard deviation."""
    if not maps.requires_grad and gamma.requires_grad:
        # After frozen layers. torch 2.13 crashes in the gradient of a scale whose inputs, channels last, have none.
        maps = maps.detach().requires_grad_()
    images, channels, height, width = maps.shape
    return torch.native_group_norm(maps, gamma, beta, images, channels, height * width, groups, epsilon)


def standardize(kernel, epsilon: float, dtype: str):
    """Gives each filter of a kernel zero mean and unit variance: layer normalization; see `arithmetic.standardize`."""
    rows = _rows(kernel)
    rows = functional.layer_norm(rows, rows.shape[1:], eps=epsilon)
    return ops.cast(rows, dtype).t().view(kernel.shape)


def lay_out(kernel) -> None:
    """Orders a kernel, [H, W, C, filters], in memory as torch's operations read it; see `arithmetic.lay_out`."""
    value = kernel.value
    if not value.is_meta:
        value.data = _rows(value.data).t().view(value.shape)


def max_pool(inputs, size: tuple[int, int], strides: tuple[int, int]):
    """Maxima over windows without padding; see `arithmetic.max_pool`."""
    return _channels_last(functional.max_pool2d(_channels_second(inputs), size, strides))


def convolve(inputs, kernel, strides: tuple[int, int], padding: str):
    """2-D convolution; see `arithmetic.convolve`."""
    *size, channels, filters = kernel.shape
    if size == [1, 1]:  # a matrix product, which reads the kernel in either order
        # Not kernel[0, 0]: its gradient would be copied, into the other order in memory.
        return torch.matmul(inputs[:, :: strides[0], :: strides[1]].contiguous(), kernel.reshape(channels, filters))
    is_same = padding == "same"
    if is_same and (max(strides) > 1 or not all(side % 2 for side in size)):  # may pad below and right only
        return ops.conv(inputs, kernel, strides=strides, padding=padding, data_format="channels_last")
    kernel = _channels_second(_rows(kernel).view(filters, *size, channels))
    margins = [side // 2 if is_same else 0 for side in size]
    return _channels_last(functional.conv2d(_channels_second(inputs), kernel, stride=strides, padding=margins))


def _rows(kernel):
    """[H, W, C, filters] as [filters, H * W * C]: two axes, which torch transposes faster than four."""
    return kernel.reshape(-1, kernel.shape[-1]).t().contiguous()


def _channels_second(maps):
    """[N, H, W, C] as [N, C, H, W]; a copy only where the channels are not last in memory."""
    return maps.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def _channels_last(maps):
    """[N, C, H, W] as [N, H, W, C]."""
    return maps.permute(0, 2, 3, 1)
