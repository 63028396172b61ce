"""A custom gradient that TensorFlow forgets together with the graph that it is part of."""

import weakref
from collections.abc import Callable, Iterator

import tensorflow as tf
from tensorflow.python.framework.ops import gradient_registry

# TensorFlow's table of gradients, {name: {"type": function, ...}}. Without it, in a later version, they are kept.
_table = getattr(gradient_registry, "_registry", {})
_PREFIX = "CustomGradient-"
# Attribute of a graph with gradients of this module: all functions of the table that belong to it.
_FUNCTIONS = "_bit_keras_gradients"


def custom_gradient(function: Callable) -> Callable:
    """`tf.custom_gradient`, without its leak.

    In a graph `tf.custom_gradient` registers the gradient of each call in a global table, for ever. The registered
    function holds the graph, and thereby the weights and momentum that the graph has captured. Here the graph holds
    the function, and the table refers to it weakly.
    """
    call = tf.custom_gradient(function)

    def call_and_bind(*inputs):
        outputs = call(*inputs)
        first = tf.nest.flatten(outputs)[0]
        if tf.is_symbolic_tensor(first):
            if not hasattr(first.graph, _FUNCTIONS):
                bind_others()
            _bind(tf.compat.as_str(first.op.get_attr("_gradient_op_type")), first.graph)
        return outputs

    return call_and_bind


def bind_others() -> None:
    """Does the same for what others have registered in graphs with gradients of this module.

    Keras's optimizers register one gradient per graph (of the sum over devices, even of a single one), and
    rematerialization registers one in the backward pass.
    """
    for name in [name for name in list(_table) if name.startswith(_PREFIX)]:
        graph = _graph_of(_table[name]["type"]) if name in _table else None
        if any(hasattr(outer, _FUNCTIONS) for outer in _with_outer(graph)):
            _bind(name, graph)


def _bind(name: str, graph) -> None:
    """Makes a registered gradient live as long as its graph."""
    if name not in _table:
        return
    function = _table[name]["type"]
    setattr(graph, _FUNCTIONS, [*getattr(graph, _FUNCTIONS, ()), function])
    reference = weakref.ref(function, lambda _: _table.pop(name, None))
    _table[name] = {**_table[name], "type": lambda *arguments: reference()(*arguments)}


def _graph_of(function: Callable):
    """Returns the graph of a function that `tf.custom_gradient` has registered, None for any other function."""
    try:
        result = _captured(_captured(function, "tape_grad_fn"), "result")
        return tf.nest.flatten(result)[0].graph
    except (AttributeError, IndexError, TypeError, ValueError):
        return None


def _captured(function: Callable, name: str):
    """Returns the value of a variable in the closure of a function."""
    return function.__closure__[function.__code__.co_freevars.index(name)].cell_contents


def _with_outer(graph) -> Iterator:
    """Yields a graph and those that it is nested in."""
    while graph is not None:
        yield graph
        graph = getattr(graph, "outer_graph", None)
