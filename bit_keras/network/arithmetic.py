"""Arithmetic of the two layers. In training gradients are those written here: fewer passes over memory, and less kept.

On the tensorflow backend a training step runs it as XLA programs for large arrays, each of which reads and writes a
feature map once. Convolutions stay outside: on a CPU, XLA has slower ones.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Callable, Iterator, Sequence

import keras
from keras import ops

LARGE = 2**19  # numbers in a map from which on a gradient makes outputs of ReLU again, instead of keeping them
# Numbers in an array from which on XLA pays, which takes a tenth of a second to compile a function of one shape.
XLA_FROM = 2**18
_AGAIN = "_bit_keras_again"  # attribute of a tensor: makes it once more, for a gradient that does not keep it
_portable = contextvars.ContextVar("portable", default=False)
_training = contextvars.ContextVar("training", default=None)


@contextlib.contextmanager
def portable() -> Iterator[None]:
    """Takes nothing but plain operations in the block, for graphs that are saved.

    A restored graph has no gradient where ours stands, and XLA compiles it anew at every value that training changes.
    """
    token = _portable.set(True)
    try:
        yield
    finally:
        _portable.reset(token)


@contextlib.contextmanager
def in_training(training: bool | None) -> Iterator[None]:
    """Says to layers without a training argument what it is, for calls that are made again in a backward pass.

    Keras knows it in the forward pass alone, and both must compute the same.
    """
    token = _training.set(training)
    try:
        yield
    finally:
        _training.reset(token)


def rematerialize(function: Callable) -> Callable:
    """`keras.remat`, which on torch stays outside of what torch.compile traces."""
    function = keras.remat(function)
    if keras.backend.backend() != "torch":
        return function
    import torch

    return torch.compiler.disable(function)


def statistics_dtype(dtype: str) -> str:
    """float32 for half precision, where a mean over a feature map would round away; else `dtype` itself."""
    return keras.backend.result_type(dtype, "float32")


def normalize(inputs, gamma, beta, groups: int, epsilon: float, relu: bool, training: bool | None):
    """Group normalization, and ReLU where asked for.

    Mean and variance are taken for each channel, combined to groups on [N, C] tensors, and applied as one scale and
    shift. For the gradient no more is kept than the inputs.

    Args:
        inputs: [N, H, W, C].
        gamma, beta: [C], of the dtype of the statistics.
        groups: number of groups, a divisor of C.
        epsilon: added to the variance.
        relu: whether negative outputs become 0.
        training: whether this is a step of training.

    Returns:
        [N, H, W, C], in the dtype of `inputs`.
    """
    run = _runner(training, inputs.shape)
    if run is None:
        scale, shift, *_ = _group_moments(inputs, gamma, beta, groups, epsilon)
        return _apply(inputs, scale, shift, relu)
    parts = _parts(inputs.shape[1:3]) if run is _compiled else 1
    again = None

    @_custom_gradient
    def call(inputs, gamma, beta):
        nonlocal again
        parameters = (inputs, gamma, beta)
        scale, shift, *state = run(_group_moments, *parameters, groups=groups, epsilon=epsilon, parts=parts)
        again = functools.partial(run, _apply, inputs, scale, shift, relu=relu)

        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            maps = (inputs, upstream, scale, shift)
            slope, offset, *of_parameters = run(
                _gradient_sums, *maps, *state, gamma, groups=groups, relu=relu, parts=parts
            )
            return run(_gradient, *maps, slope, offset, relu=relu), *of_parameters

        return again(), gradient

    outputs = call(inputs, gamma, beta)
    if run in (_shared, _compiled) and _numbers(inputs.shape) >= LARGE:
        setattr(outputs, _AGAIN, again)
    return outputs


def standardize(kernel, epsilon: float, dtype: str, training: bool | None = None):
    """Gives each filter of a kernel zero mean and unit variance.

    Args:
        kernel: [H, W, C, filters].
        epsilon: added to the variance.
        dtype: of the result; the statistics are float32 in any case.
        training: whether this is a step of training.

    Returns:
        [H, W, C, filters].
    """
    run = _runner(training, kernel.shape)
    if run is None:
        return _standardize(kernel, epsilon, dtype)
    parts = _parts(kernel.shape[:-1]) if run is _compiled else 1

    @_custom_gradient
    def call(kernel):
        def gradient(*arguments, upstream=None):
            upstream = arguments[0] if upstream is None else upstream
            return run(_standardize_gradient, kernel, upstream, epsilon=epsilon, parts=parts)

        return run(_standardize, kernel, epsilon=epsilon, dtype=dtype, parts=parts), gradient

    return call(kernel)


def convolve(inputs, kernel, strides: tuple[int, int], padding: str, training: bool | None):
    """2-D convolution; in training on the tensorflow backend a 1x1 one is a matrix product, whose gradients are faster.

    Args:
        inputs: [N, H, W, C].
        kernel: [H, W, C, filters].
        strides: along height and width.
        padding: "valid" or "same".
        training: whether this is a step of training.

    Returns:
        [N, H', W', filters].
    """
    run = _runner(training, inputs.shape)
    if run not in (_compiled, _shared):
        return ops.conv(inputs, kernel, strides=strides, padding=padding, data_format="channels_last")
    from bit_keras.network import convolution_tf

    again = getattr(inputs, _AGAIN, None)
    if tuple(kernel.shape[:2]) != (1, 1) or max(strides) == 1:
        return convolution_tf.convolve(inputs, kernel, strides, padding, again)
    every = functools.partial(run, _every, strides=strides)
    return convolution_tf.convolve(every(inputs), kernel, (1, 1), padding, again and (lambda: every(again())))


def _every(inputs, strides):
    return inputs[:, :: strides[0], :: strides[1]]


def _group_moments(inputs, gamma, beta, groups, epsilon, parts=1):
    """Scale and shift of each channel; mean and 1 / standard deviation of its group: all [N, C]."""
    x = _precise(inputs)
    mean = _mean(x)
    # Around the mean: E[x^2] - E[x]^2 would save a read of the map, but loses every digit where the mean is large.
    (variance,) = _means(lambda x: [ops.square(x - _to_map(mean))], [x], parts)
    group_mean = _of_groups(mean, groups)
    # Law of total variance: within the channels of a group plus between them.
    group_variance = _of_groups(variance + ops.square(mean - group_mean), groups)
    rstd = ops.rsqrt(group_variance + epsilon)
    scale = gamma * rstd
    return scale, beta - group_mean * scale, group_mean, rstd


def _apply(inputs, scale, shift, relu):
    y = _precise(inputs) * _to_map(scale) + _to_map(shift)
    return ops.cast(ops.relu(y) if relu else y, inputs.dtype)


def _gradient_sums(inputs, upstream, scale, shift, mean, rstd, gamma, groups, relu, parts):
    """What the gradient adds to the scaled upstream, x * slope + offset, [N, C] each; gradients of gamma and beta."""

    def terms(x, dy):
        dy = _through_relu(x, dy, scale, shift) if relu else dy
        return [dy, dy * (x - _to_map(mean))]

    of_shift, of_scale = _means(terms, [_precise(inputs), _precise(upstream)], parts)  # [N, C]
    of_scale = of_scale * rstd
    slope = -ops.square(rstd) * _of_groups(gamma * of_scale, groups)
    offset = -rstd * _of_groups(gamma * of_shift, groups) - slope * mean
    count = ops.cast(ops.shape(inputs)[1] * ops.shape(inputs)[2], gamma.dtype)
    return slope, offset, count * ops.sum(of_scale, axis=0), count * ops.sum(of_shift, axis=0)


def _gradient(inputs, upstream, scale, shift, slope, offset, relu):
    x, dy = _precise(inputs), _precise(upstream)
    dy = _through_relu(x, dy, scale, shift) if relu else dy
    return ops.cast(dy * _to_map(scale) + x * _to_map(slope) + _to_map(offset), inputs.dtype)


def _through_relu(x, dy, scale, shift):
    return ops.where(x * _to_map(scale) + _to_map(shift) > 0, dy, ops.zeros((), dy.dtype))


def _standardize(kernel, epsilon, dtype, parts=1):
    rows, rstd = _standardized_rows(kernel, epsilon, parts)
    return ops.reshape(ops.cast(rows * rstd, dtype), kernel.shape)


def _standardize_gradient(kernel, upstream, epsilon, parts):
    rows, rstd = _standardized_rows(kernel, epsilon, parts)
    upstream = ops.reshape(ops.cast(upstream, rows.dtype), rows.shape)
    mean, slope = _means(lambda dy, x: [dy, dy * x], [upstream, rows], parts)
    gradient = (upstream - _to_map(mean) - rows * _to_map(slope * ops.square(rstd))) * rstd
    return ops.reshape(ops.cast(gradient, kernel.dtype), kernel.shape)


def _standardized_rows(kernel, epsilon, parts):
    """The filters [1, H * W * C, 1, filters] without their means, and 1 / standard deviation [1, filters]."""
    rows = ops.reshape(_precise(kernel), (1, -1, 1, kernel.shape[-1]))
    rows = rows - ops.mean(rows, axis=1, keepdims=True)
    (variance,) = _means(lambda x: [ops.square(x)], [rows], parts)
    return rows, ops.rsqrt(variance + epsilon)


def _precise(x):
    """`x` in the dtype of the statistics."""
    return ops.cast(x, statistics_dtype(keras.backend.standardize_dtype(x.dtype)))


def _to_map(x):
    """[N, C] as [N, 1, 1, C]."""
    return x[:, None, None]


def _of_groups(x, groups):
    """Means over the channels of a group, for each of its channels: [N, C] to [N, C]."""
    channels = x.shape[-1]
    size = channels // groups
    means = ops.mean(ops.reshape(x, (-1, groups, size)), axis=-1, keepdims=True)
    return ops.reshape(means * ops.ones((size,), means.dtype), (-1, channels))


def _mean(x):
    """Mean over height and width, [N, H, W, C] to [N, C]: one after the other, which TensorFlow has faster on a CPU."""
    return ops.mean(ops.mean(x, axis=1), axis=1)


def _means(terms: Callable, maps: list, parts: int) -> list:
    """Means over height and width of the terms that a function makes of maps [N, H, W, C]: [N, C] each.

    XLA on a CPU walks through such a sum one number after another. So parts of the map are added up first, many
    numbers at once.
    """
    if parts == 1:
        return [_mean(term) for term in terms(*maps)]
    _, height, width, channels = maps[0].shape
    split = [ops.split(ops.reshape(x, (-1, height * width, 1, channels)), parts, axis=1) for x in maps]
    sums = zip(*map(terms, *split))
    return [_mean(sum(term[1:], start=term[0])) / parts for term in sums]


def _parts(sizes) -> int:
    """Into how many equal parts an array of these sizes can be cut, 4 at most; 1 where a size is unknown."""
    if None in sizes:
        return 1
    return max(parts for parts in range(1, 5) if math.prod(sizes) % parts == 0)


def _runner(training: bool | None, shape: Sequence[int | None]) -> Callable | None:
    """Says how functions of arrays of this shape are run; None: their gradient is left to the backend."""
    backend = keras.backend.backend()
    if backend == "torch" and _is_traced_by_torch():  # first, since context variables are not traced
        return None
    training = _training.get() if training is None else training
    if not training or _portable.get():
        return None
    if backend != "tensorflow":
        return _directly
    return _compiled if _numbers(shape) >= XLA_FROM else _shared


def _is_traced_by_torch() -> bool:
    """Whether torch.compile traces the call.

    It fuses plain operations, and decides itself what to compute once more in the backward pass.
    """
    import torch

    return torch.compiler.is_compiling()


def _custom_gradient(function: Callable) -> Callable:
    if keras.backend.backend() != "torch":
        return ops.custom_gradient(function)
    from bit_keras.network import gradient_torch

    return gradient_torch.custom_gradient(function)


def _numbers(shape: Sequence[int | None]) -> int:
    """In an array of this shape; an unknown size counts as 32."""
    return math.prod(size or 32 for size in shape)


def _directly(function: Callable, *tensors, **settings):
    """Calls a function: on jax and torch it is for them to put its operations together."""
    return function(*tensors, **settings)


def _shared(function: Callable, *tensors, **settings):
    """Traces a function once for all layers that call it on arrays of the same shapes."""
    return _program(function, _signature(tensors), tuple(settings.items()), jit_compile=False)(*tensors)


def _compiled(function: Callable, *tensors, **settings):
    """Runs a function as an XLA program."""
    return _program(function, _signature(tensors), tuple(settings.items()), jit_compile=True)(*tensors)


def _signature(tensors) -> tuple:
    return tuple((tuple(tensor.shape), keras.backend.standardize_dtype(tensor.dtype)) for tensor in tensors)


@functools.cache
def _program(function, signature, settings, jit_compile):
    """A tf.function for each signature: one that is traced for many would warn of it."""
    import tensorflow as tf

    function = functools.partial(function, **dict(settings))
    # Inlined, what is made again would be found to be there already, and be kept.
    attributes = None if jit_compile else {"_noinline": True}
    return tf.function(function, jit_compile=jit_compile, autograph=False, experimental_attributes=attributes)
