"""Convolution in training on TensorFlow, with gradients written by hand: faster on a CPU, and no inputs kept."""

from collections.abc import Callable

import tensorflow as tf

# Output pixels up to which oneDNN's gradient of a larger kernel is slower than patches and a product of matrices.
_FEW_PIXELS = 16


def convolve(inputs, kernel, strides: tuple[int, int], padding: str, again: Callable | None = None):
    """2-D convolution.

    Args:
        inputs: [N, H, W, C].
        kernel: [kh, kw, C, filters].
        strides: along height and width; 1 for a 1x1 kernel.
        padding: "valid" or "same".
        again: makes `inputs` once more in the backward pass, so that they need not be kept; None keeps them.

    Returns:
        [N, H', W', filters].
    """
    operation = _Product() if tuple(kernel.shape[:2]) == (1, 1) else _Convolution(strides, padding.upper())

    @tf.custom_gradient
    def call(inputs, kernel):
        size = tf.shape(inputs)  # not taken in the gradient, which would keep the inputs

        def gradient(upstream):
            with tf.control_dependencies([upstream]):  # not before
                x = again() if again else inputs
            return operation.of_inputs(size, kernel, upstream), operation.of_kernel(x, kernel.shape, upstream)

        return operation(inputs, kernel), gradient

    return call(inputs, kernel)


class _Product:
    """A 1x1 convolution, as a product of matrices."""

    def __call__(self, inputs, kernel):
        outputs = tf.matmul(_columns(inputs), kernel[0, 0])
        return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:3], kernel.shape[3:]], 0))

    def of_inputs(self, size, kernel, upstream):
        return tf.reshape(tf.matmul(_columns(upstream), kernel[0, 0], transpose_b=True), size)

    def of_kernel(self, inputs, shape, upstream):
        return tf.reshape(tf.matmul(_columns(inputs), _columns(upstream), transpose_a=True), shape)


class _Convolution:
    def __init__(self, strides, padding):
        self.options = {"strides": (1, *strides, 1), "padding": padding}

    def __call__(self, inputs, kernel):
        return tf.nn.conv2d(inputs, kernel, **self.options)

    def of_inputs(self, size, kernel, upstream):
        return tf.raw_ops.Conv2DBackpropInput(input_sizes=size, filter=kernel, out_backprop=upstream, **self.options)

    def of_kernel(self, inputs, shape, upstream):
        pixels = upstream.shape[1:3].num_elements()
        if pixels is None or pixels > _FEW_PIXELS:
            return tf.raw_ops.Conv2DBackpropFilter(
                input=inputs, filter_sizes=shape, out_backprop=upstream, **self.options
            )
        patches = tf.image.extract_patches(inputs, (1, *shape[:2], 1), rates=(1, 1, 1, 1), **self.options)
        return tf.reshape(tf.matmul(_columns(patches), _columns(upstream), transpose_a=True), shape)


def _columns(maps):
    """[N, H, W, C] as [N * H * W, C]."""
    return tf.reshape(maps, (-1, maps.shape[-1]))
