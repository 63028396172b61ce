"""Formulas of the two layers, with hand-written gradients for training: fewer passes over memory, and less saved.

`bit_keras.network.execution` decides how they run, and when the backend derives the gradients instead, as torch does:
`bit_keras.network.arithmetic_torch`.
"""

import functools
import math
from collections.abc import Callable

import keras
from keras import ops

from bit_keras.network import execution


def statistics_dtype(dtype: str) -> str:
    """float32 for half precision, where a mean over a feature map would round away; else `dtype` itself."""
    return keras.backend.result_type(dtype, "float32")


def normalize(inputs, gamma, beta, groups: int, epsilon: float, relu: bool, training: bool | None):
    """Group normalization, and ReLU where asked for; the formula is that of `layers.GroupNormalization`.

    Mean and variance are taken per channel, combined to groups on [N, C] tensors, and applied as one scale and shift.
    Of the feature maps only the inputs are saved for the backward pass.

    Args:
        inputs: [N, H, W, C].
        gamma, beta: [C], of the dtype of the statistics.
        groups: number of groups, a divisor of C.
        epsilon: added to the variance.
        relu: whether negative outputs become 0.
        training: whether this is a training step.

    Returns:
        [N, H, W, C], in the dtype of `inputs`.
    """
    if execution.is_torch() and not execution.is_traced_by_torch(inputs, gamma, beta):
        from bit_keras.network import arithmetic_torch

        return arithmetic_torch.normalize(inputs, gamma, beta, groups, epsilon, relu)
    run = execution.runner(training, inputs.shape)
    if run is None:
        scale, shift, *_ = _group_moments(inputs, gamma, beta, groups, epsilon)
        return _apply(inputs, scale, shift, relu)
    slices = _slices(inputs.shape[1:3], run)
    recompute = None

    @execution.custom_gradient
    def call(inputs, gamma, beta):
        nonlocal recompute
        parameters = (inputs, gamma, beta)
        scale, shift, *state = run(_group_moments, *parameters, groups=groups, epsilon=epsilon, slices=slices)
        recompute = functools.partial(run, _apply, inputs, scale, shift, relu=relu)

        def gradient(output_gradient):
            maps = (inputs, output_gradient, scale, shift)
            slope, offset, *of_parameters = run(
                _gradient_sums, *maps, *state, gamma, groups=groups, relu=relu, slices=slices
            )
            return run(_gradient, *maps, slope, offset, relu=relu), *of_parameters

        return recompute(), gradient

    outputs = call(inputs, gamma, beta)
    if run is not execution.plain:
        execution.offer_recomputation(outputs, recompute)
    return outputs


def standardize(kernel, epsilon: float, dtype: str, training: bool | None = None):
    """Gives each filter of a kernel zero mean and unit variance; see `layers.StandardizedConv2D`.

    Args:
        kernel: [H, W, C, filters].
        epsilon: added to the variance.
        dtype: of the result; the statistics are float32 in any case.
        training: whether this is a training step.

    Returns:
        [H, W, C, filters].
    """
    if execution.is_torch() and not execution.is_traced_by_torch(kernel):
        from bit_keras.network import arithmetic_torch

        return arithmetic_torch.standardize(kernel, epsilon, dtype)
    run = execution.runner(training, kernel.shape)
    if run is None:
        return _standardize(kernel, epsilon, dtype)
    slices = _slices(kernel.shape[:-1], run)

    @execution.custom_gradient
    def call(kernel):
        def gradient(output_gradient):
            return run(_standardize_gradient, kernel, output_gradient, epsilon=epsilon, slices=slices)

        return run(_standardize, kernel, epsilon=epsilon, dtype=dtype, slices=slices), gradient

    return call(kernel)


def convolve(inputs, kernel, strides: tuple[int, int], padding: str, training: bool | None):
    """2-D convolution.

    On CPUs a 1x1 convolution is a matrix product, whose gradients are faster: on tensorflow in training, on jax always.

    Args:
        inputs: [N, H, W, C].
        kernel: [H, W, C, filters].
        strides: along height and width.
        padding: "valid" or "same".
        training: whether this is a training step.

    Returns:
        [N, H', W', filters].
    """
    if execution.is_torch() and not execution.is_traced_by_torch(inputs, kernel):
        from bit_keras.network import arithmetic_torch

        return arithmetic_torch.convolve(inputs, kernel, strides, padding)
    is_product = tuple(kernel.shape[:2]) == (1, 1)
    if is_product and execution.prefers_products():
        return _product(_subsample(inputs, strides), kernel[0, 0])
    run = execution.runner(training, inputs.shape)
    if run in (None, execution.plain):
        return ops.conv(inputs, kernel, strides=strides, padding=padding, data_format="channels_last")
    from bit_keras.network import convolution_tf

    recompute = execution.recomputation_of(inputs)
    if not is_product or max(strides) == 1:
        return convolution_tf.convolve(inputs, kernel, strides, padding, recompute)
    subsample = functools.partial(run, _subsample, strides=strides)
    recompute_subsample = recompute and (lambda: subsample(recompute()))
    return convolution_tf.convolve(subsample(inputs), kernel, (1, 1), padding, recompute_subsample)


def max_pool(inputs, size: tuple[int, int], strides: tuple[int, int]):
    """Maxima over windows without padding.

    Args:
        inputs: [N, H, W, C].
        size: height and width of the windows.
        strides: along height and width.

    Returns:
        [N, H', W', C].
    """
    if execution.is_torch() and not execution.is_traced_by_torch(inputs):
        from bit_keras.network import arithmetic_torch

        return arithmetic_torch.max_pool(inputs, size, strides)
    return ops.max_pool(inputs, size, strides, data_format="channels_last")


def lay_out(kernel: keras.Variable) -> None:
    """Orders a kernel in memory as the backend's convolutions read it, so that no step transposes it.

    Args:
        kernel: [H, W, C, filters]; its values stay the same.
    """
    if execution.is_torch():
        from bit_keras.network import arithmetic_torch

        arithmetic_torch.lay_out(kernel)


def _subsample(inputs, strides):
    """The pixels that a 1x1 convolution with strides reads."""
    return inputs[:, :: strides[0], :: strides[1]]


def _product(inputs, kernel):
    """[N, H, W, C] times [C, filters], of two axes each: XLA is slower with four."""
    outputs = ops.matmul(ops.reshape(inputs, (-1, inputs.shape[-1])), kernel)
    return ops.reshape(outputs, (*inputs.shape[:3], kernel.shape[-1]))


# Group normalization: with mean m and variance v of the group of a channel, and r = 1 / sqrt(v + epsilon),
#
#     y = gamma * (x - m) * r + beta = x * scale + shift,   scale = gamma * r,   shift = beta - m * scale.


def _group_moments(inputs, gamma, beta, groups, epsilon, slices=1):
    """scale, shift, m and r of the formula above: [N, C] each."""
    x = _precise(inputs)
    mean = _mean(x)
    # Around the mean: E[x^2] - E[x]^2 would save a read of the map, but loses every digit where the mean is large.
    (variance,) = _means(lambda x: [ops.square(x - _to_map(mean))], [x], slices)
    group_mean = _of_groups(mean, groups)
    # Law of total variance: within the channels of a group plus between them.
    group_variance = _of_groups(variance + ops.square(mean - group_mean), groups)
    rstd = ops.rsqrt(group_variance + epsilon)
    scale = gamma * rstd
    return scale, beta - group_mean * scale, group_mean, rstd


def _apply(inputs, scale, shift, relu):
    """y = x * scale + shift, and ReLU."""
    y = _precise(inputs) * _to_map(scale) + _to_map(shift)
    return ops.cast(ops.relu(y) if relu else y, inputs.dtype)


# Its gradient: with n = (x - m) * r, dy the gradient at y, `mean` over a group and `sum` over N, H and W,
#
#     dx = r * (gamma * dy - mean(gamma * dy) - n * mean(gamma * dy * n)) = dy * scale + x * slope + offset,
#     slope = -r^2 * mean(gamma * dy * n),   offset = -r * mean(gamma * dy) - slope * m,
#     dgamma = sum(dy * n),   dbeta = sum(dy).


def _gradient_sums(inputs, output_gradient, scale, shift, mean, rstd, gamma, groups, relu, slices):
    """slope and offset of the formula above, [N, C] each; gradients of gamma and beta, [C] each."""

    def terms(x, dy):
        dy = _through_relu(x, dy, scale, shift) if relu else dy
        return [dy, dy * (x - _to_map(mean))]

    of_shift, of_scale = _means(terms, [_precise(inputs), _precise(output_gradient)], slices)  # [N, C]
    of_scale = of_scale * rstd
    slope = -ops.square(rstd) * _of_groups(gamma * of_scale, groups)
    offset = -rstd * _of_groups(gamma * of_shift, groups) - slope * mean
    count = ops.cast(ops.shape(inputs)[1] * ops.shape(inputs)[2], gamma.dtype)
    return slope, offset, count * ops.sum(of_scale, axis=0), count * ops.sum(of_shift, axis=0)


def _gradient(inputs, output_gradient, scale, shift, slope, offset, relu):
    """dx = dy * scale + x * slope + offset."""
    x, dy = _precise(inputs), _precise(output_gradient)
    dy = _through_relu(x, dy, scale, shift) if relu else dy
    return ops.cast(dy * _to_map(scale) + x * _to_map(slope) + _to_map(offset), inputs.dtype)


def _through_relu(x, dy, scale, shift):
    """dy where y > 0, else 0."""
    return ops.where(x * _to_map(scale) + _to_map(shift) > 0, dy, ops.zeros((), dy.dtype))


# Weight standardization: with mean m and variance v of the elements w of a filter, and r = 1 / sqrt(v + epsilon),
#
#     s = (w - m) * r,
#     dw = r * (ds - mean(ds) - s * mean(ds * s)).


def _standardize(kernel, epsilon, dtype, slices=1):
    """s of the formula above."""
    rows, rstd = _centered_rows(kernel, epsilon, slices)
    return ops.reshape(ops.cast(rows * rstd, dtype), kernel.shape)


def _standardize_gradient(kernel, output_gradient, epsilon, slices):
    """dw of the formula above."""
    rows, rstd = _centered_rows(kernel, epsilon, slices)
    ds = ops.reshape(ops.cast(output_gradient, rows.dtype), rows.shape)
    mean, slope = _means(lambda ds, x: [ds, ds * x], [ds, rows], slices)
    gradient = (ds - _to_map(mean) - rows * _to_map(slope * ops.square(rstd))) * rstd
    return ops.reshape(ops.cast(gradient, kernel.dtype), kernel.shape)


def _centered_rows(kernel, epsilon, slices):
    """w - m as [1, H * W * C, 1, filters], and r as [1, filters]."""
    rows = ops.reshape(_precise(kernel), (1, -1, 1, kernel.shape[-1]))
    rows = rows - ops.mean(rows, axis=1, keepdims=True)
    (variance,) = _means(lambda x: [ops.square(x)], [rows], slices)
    return rows, ops.rsqrt(variance + epsilon)


def _precise(x):
    """`x` in the dtype of the statistics."""
    return ops.cast(x, statistics_dtype(keras.backend.standardize_dtype(x.dtype)))


def _to_map(x):
    """[N, C] as [N, 1, 1, C]."""
    return x[:, None, None]


def _of_groups(x, groups):
    """Mean over the channels of a group, per channel: [N, C] to [N, C]."""
    channels = x.shape[-1]
    size = channels // groups
    means = ops.mean(ops.reshape(x, (-1, groups, size)), axis=-1, keepdims=True)
    return ops.reshape(means * ops.ones((size,), means.dtype), (-1, channels))


def _mean(x):
    """Mean over height and width, [N, H, W, C] to [N, C]: one axis after the other, faster in TensorFlow on a CPU."""
    return ops.mean(ops.mean(x, axis=1), axis=1)


def _means(terms: Callable, maps: list, slices: int) -> list:
    """Means over height and width of terms, a function of feature maps [N, H, W, C]: [N, C] each.

    XLA on a CPU adds up a computed term element by element. So slices of the map are added up first, many elements at
    once.
    """
    if slices == 1:
        return [_mean(term) for term in terms(*maps)]
    _, height, width, channels = maps[0].shape
    split = [ops.split(ops.reshape(x, (-1, height * width, 1, channels)), slices, axis=1) for x in maps]
    sums = zip(*map(terms, *split))
    return [_mean(sum(term[1:], start=term[0])) / slices for term in sums]


def _slices(sizes, run: Callable) -> int:
    """Number of equal slices, 4 at most, that XLA sums an array of these sizes in; 1 without XLA or a known size."""
    if run is not execution.compiled or None in sizes:
        return 1
    return max(slices for slices in range(1, 5) if math.prod(sizes) % slices == 0)
