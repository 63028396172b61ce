"""A custom gradient that TensorFlow forgets together with the graph that it is part of."""

import weakref
from collections.abc import Callable

import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

# Attribute on a graph: the gradient functions of its operations.
_GRADIENTS = "_bit_keras_gradients"


def custom_gradient(function: Callable) -> Callable:
    """`tf.custom_gradient`, without its leak.

    In a graph `tf.custom_gradient` registers the gradient of each call in a global table, for ever. The function holds
    tensors, thereby the graph, and thereby the weights, momentum and constants that the graph has captured. Here the
    graph holds the function, and the table refers to it weakly.
    """
    call = tf.custom_gradient(function)

    def call_and_bind(*inputs):
        outputs = call(*inputs)
        if tf.is_symbolic_tensor(outputs):
            _bind(outputs.op)
        return outputs

    return call_and_bind


def _bind(operation: tf.Operation) -> None:
    """Makes the registered gradient of an operation live as long as its graph."""
    table, name = gradient_registry._registry, tf.compat.as_str(operation.get_attr("_gradient_op_type"))
    gradient = table[name]["type"]
    setattr(operation.graph, _GRADIENTS, [*getattr(operation.graph, _GRADIENTS, ()), gradient])
    reference = weakref.ref(gradient, lambda _: table.pop(name, None))
    table[name] = {**table[name], "type": lambda *arguments: reference()(*arguments)}
