"""Convolution in training on TensorFlow, with hand-written gradients: faster on a CPU, and no inputs saved."""

from collections.abc import Callable

import tensorflow as tf

from bit_keras.network import gradient_tf

# Up to this number of output pixels, oneDNN's gradient of a larger kernel is slower than patches and a matrix product.
_FEW_PIXELS = 16


def convolve(inputs, kernel, strides: tuple[int, int], padding: str, recompute: Callable | None = None):
    """2-D convolution.

    Args:
        inputs: [N, H, W, C].
        kernel: [kh, kw, C, filters].
        strides: along height and width; 1 for a 1x1 kernel.
        padding: "valid" or "same".
        recompute: recomputes `inputs` in the backward pass; None saves them.

    Returns:
        [N, H', W', filters].
    """
    operation = _Product() if tuple(kernel.shape[:2]) == (1, 1) else _Convolution(strides, padding.upper())

    @gradient_tf.custom_gradient
    def call(inputs, kernel):
        size = tf.shape(inputs)  # read here: reading it inside the gradient would keep `inputs` alive.

        def gradient(dy):  # the output gradient
            # Not earlier than needed: the forward pass would hold both copies.
            with tf.control_dependencies([dy]):
                x = recompute() if recompute else inputs
            return operation.of_inputs(size, kernel, dy), operation.of_kernel(x, kernel.shape, dy)

        return operation(inputs, kernel), gradient

    return call(inputs, kernel)


class _Product:
    """A 1x1 convolution, as a matrix product."""

    def __call__(self, inputs, kernel):
        outputs = tf.matmul(_columns(inputs), _columns(kernel))
        return tf.reshape(outputs, tf.concat([tf.shape(inputs)[:3], kernel.shape[3:]], 0))

    def of_inputs(self, size, kernel, dy):
        return tf.reshape(tf.matmul(_columns(dy), _columns(kernel), transpose_b=True), size)

    def of_kernel(self, inputs, shape, dy):
        return tf.reshape(tf.matmul(_columns(inputs), _columns(dy), transpose_a=True), shape)


class _Convolution:
    """Any other convolution."""

    def __init__(self, strides, padding):
        self.options = {"strides": (1, *strides, 1), "padding": padding}

    def __call__(self, inputs, kernel):
        return tf.nn.conv2d(inputs, kernel, **self.options)

    def of_inputs(self, size, kernel, dy):
        return tf.raw_ops.Conv2DBackpropInput(input_sizes=size, filter=kernel, out_backprop=dy, **self.options)

    def of_kernel(self, inputs, shape, dy):
        pixels = dy.shape[1:3].num_elements()
        if pixels is None or pixels > _FEW_PIXELS:
            return tf.raw_ops.Conv2DBackpropFilter(input=inputs, filter_sizes=shape, out_backprop=dy, **self.options)
        patches = tf.image.extract_patches(inputs, (1, *shape[:2], 1), rates=(1, 1, 1, 1), **self.options)
        return tf.reshape(tf.matmul(_columns(patches), _columns(dy), transpose_a=True), shape)


def _columns(maps):
    """[N, H, W, C] as [N * H * W, C]."""
    return tf.reshape(maps, (-1, maps.shape[-1]))
