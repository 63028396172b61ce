"""Which operations of a TensorFlow graph have no kernel for a device. TensorFlow's registry is the same without one."""

import functools
import types
from collections.abc import Callable, Iterable, Iterator

import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.kernel_def_pb2 import KernelDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.python.framework import kernels

# {device: kinds of kernels}. TPUs have a list of their own in TensorFlow for TPUs only; their compiler is XLA, too.
DEVICES = {"XLA": {"XLA_GPU_JIT"}, "CUDA": {"GPU", "DEFAULT"}}
# Not operations: the inputs of a graph.
_INPUTS = {"Placeholder", "_Arg"}


def list_a_gpu(patch: pytest.MonkeyPatch) -> None:
    """Makes TensorFlow list a GPU that does not exist, for which Keras and this library then choose."""
    real, gpu = tf.config.list_physical_devices, types.SimpleNamespace(device_type="GPU")
    patch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: [*real(kind), *([gpu] if kind in (None, "GPU") else [])]
    )


def reached(graph: GraphDef, skip: Callable[[NodeDef], bool] = lambda node: False) -> Iterator[NodeDef]:
    """Yields the nodes of a graph and of the functions that they call, without those that `skip` selects."""
    library = {function.signature.name: function.node_def for function in graph.library.function}
    waiting = [graph.node]
    while waiting:
        for node in waiting.pop():
            if skip(node):
                continue
            yield node
            called = [f.name for value in node.attr.values() for f in (value.func, *value.list.func)]
            waiting += [library.pop(name) for name in (node.op, *called) if name in library]


def is_on_host(node: NodeDef) -> bool:
    """Whether the graph itself places a node on the CPU."""
    return tf.DeviceSpec.from_string(node.device).device_type == "CPU"


def missing(nodes: Iterable[NodeDef], device: str) -> set[str]:
    """Returns the operations without a kernel for their types of numbers.

    Args:
        nodes: of a graph.
        device: a key of `DEVICES`. A node without a kernel for CUDA runs on the CPU; one without a kernel for XLA makes
            compilation fail.
    """
    _register_kernels_of_xla()
    if device == "CUDA" and not tf.test.is_built_with_cuda():
        raise RuntimeError("the kernels for GPUs are in TensorFlow's package for Linux, tensorflow, not tensorflow-cpu")
    return {node.op for node in nodes if node.op not in _INPUTS and not any(_kernels(node, DEVICES[device]))}


@functools.cache
def _register_kernels_of_xla() -> None:
    tf.function(tf.identity, jit_compile=True)(0.0)  # TensorFlow registers them when it first compiles


def _kernels(node: NodeDef, kinds: set[str]) -> Iterator[KernelDef]:
    for kernel in _of_operation(node.op):
        if kernel.device_type in kinds and not kernel.label and all(_allows(c, node) for c in kernel.constraint):
            yield kernel


@functools.cache
def _of_operation(name: str) -> list[KernelDef]:
    return list(kernels.get_registered_kernels_for_op(name).kernel)


def _allows(constraint: KernelDef.AttrConstraint, node: NodeDef) -> bool:
    value = node.attr[constraint.name]
    return {value.type, *value.list.type} - {0} <= set(constraint.allowed_values.list.type)
