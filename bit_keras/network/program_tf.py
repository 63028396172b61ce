"""XLA programs in TensorFlow's graphs that are freed with the graph."""

from collections.abc import Callable

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import NameAttrList
from tensorflow.python.framework import op_def_library, ops
from tensorflow.python.ops import control_flow_util

from bit_keras.network import gradient_tf


def xla_program(function: Callable) -> Callable:
    """`tf.function(function, jit_compile=True)`, without its leak.

    For each program that a graph calls, TensorFlow copies the program's graph when the graph first runs, and never
    frees the copy (`GetBodyAndConstantsAndResources`): up to a tenth of a megabyte per program and training. The copy
    only serves to create the operation "XlaLaunch". Here the graph contains this operation from the start.

    Args:
        function: of tensors; returns a tensor or a tuple of them.
    """
    program = tf.function(function, jit_compile=True, autograph=False)
    traced = tf.function(function, autograph=False)

    @gradient_tf.custom_gradient
    def launch(*tensors):
        def gradient(*output_gradients):
            with tf.GradientTape() as tape:
                tape.watch(tensors)
                outputs = function(*tensors)  # plain operations: TensorFlow knows no gradient of a program
            return tape.gradient(outputs, tensors, output_gradients, unconnected_gradients="zero")

        return _launch(traced, tensors), gradient

    def call(*tensors):
        # Outside of a graph nothing leaks, and within an XLA program the function becomes part of it.
        is_launched = not tf.executing_eagerly() and not control_flow_util.GraphOrParentsInXlaContext(_graph())
        return launch(*tensors) if is_launched else program(*tensors)

    return call


def _launch(traced, tensors):
    """Adds the operation to the current graph and returns its outputs, in the structure of the function's."""
    with tf.init_scope():  # the function lives longer than the graph
        concrete = traced.get_concrete_function(*(tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tensors))
    concrete.add_to_graph(_graph())
    operation = op_def_library._apply_op_helper(  # the one way to an operation that has no Python function
        "XlaLaunch",
        constants=[],
        args=tensors,
        resources=[],
        Tresults=[output.dtype for output in concrete.outputs],
        function=NameAttrList(name=concrete.function_def.signature.name),
    )[2]
    for output, expected in zip(operation.outputs, concrete.outputs, strict=True):
        output.set_shape(expected.shape)
    return tf.nest.pack_sequence_as(concrete.structured_outputs, operation.outputs)


def _graph():
    return ops.get_default_graph()
