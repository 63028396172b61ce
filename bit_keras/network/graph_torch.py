"""A functional network on torch: its layers one after the other, without what Keras does around each call of a layer.

At each call Keras looks after names, masks, devices and types, in Python, and it holds every feature map until the last
layer has run. Without this a prediction of R50x1 takes a sixth less time, for 16 images of 128 pixels on two cores.
"""

import keras
import numpy as np
from keras import layers, ops

from bit_keras.network import execution
from bit_keras.network.layers import GroupNormalization, MaxPooling2D, StandardizedConv2D

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")  # of torch.nn.Module


class Graph:
    """The calls of a network whose layers take tensors only and have one output each.

    Args:
        network: a functional model with one input and one output.
        direct: types of layers of which `call` is called: those that take inputs in their compute dtype, and cast
            variables themselves. Other layers, and layers with hooks of torch, are called as Keras does.
    """

    def __init__(self, network: keras.Model, direct: tuple[type, ...]):
        called = [layer for layer in network.layers if not isinstance(layer, layers.InputLayer)]
        tensors = [network.input, *(layer.output for layer in called)]
        places = {id(tensor): place for place, tensor in enumerate(tensors)}
        self._steps = []  # of each call: the layer, whether it is direct, the places of its inputs and of its output
        for layer in called:
            sources = keras.tree.map_structure(lambda tensor: places[id(tensor)], layer.input)
            self._steps.append((layer, isinstance(layer, direct), sources, places[id(layer.output)]))
        self._output = places[id(network.output)]
        last_use = {place: step for step, (_, _, sources, _) in enumerate(self._steps) for place in _list(sources)}
        self._finished = [[place for place in last_use if last_use[place] == step] for step in range(len(called))]

    def __call__(self, images):
        maps = {0: images}
        for (layer, is_direct, sources, place), finished in zip(self._steps, self._finished):
            inputs = [maps[source] for source in sources] if isinstance(sources, list) else maps[sources]
            for source in finished:  # torch can use the memory again
                del maps[source]
            maps[place] = _call(layer, is_direct, inputs)
            del inputs
        return maps[self._output]


def _list(sources) -> list:
    return sources if isinstance(sources, list) else [sources]


def _call(layer, is_direct: bool, inputs):
    if not is_direct or any(getattr(layer, hooks) for hooks in _HOOKS):
        return layer(inputs)
    import torch

    dtype = getattr(torch, layer.compute_dtype)
    return layer.call([x.to(dtype) for x in inputs] if isinstance(inputs, list) else inputs.to(dtype))


def _as_it_is(graph: Graph, images):
    """Calls a graph that the compiler leaves alone.

    The compiler gives up at Keras's calls of layers after eight kinds of layers and shapes, after minutes, and what it
    has compiled by then is slower on a CPU than torch's own operations (`benchmarks/on_torch.py`).
    """
    import torch

    return torch.compiler.disable(graph)(images)


class _TorchGraph:
    direct = (
        *(StandardizedConv2D, GroupNormalization, MaxPooling2D),
        *(layers.ZeroPadding2D, layers.Add, layers.GlobalAveragePooling2D),
    )

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._graph = Graph(self, self.direct) if len(self.outputs) == 1 else None

    def call(self, inputs, training=None, mask=None):
        is_array = isinstance(inputs, np.ndarray) or ops.is_tensor(inputs)
        if self._graph is None or mask is not None or not is_array or inputs.ndim != 4:
            return super().call(inputs, training=training, mask=mask)
        images = ops.convert_to_tensor(inputs, self.inputs[0].dtype)
        if execution.is_compiled_by_torch() and images.device.type == "cpu":
            return _as_it_is(self._graph, images)
        if execution.is_traced_by_torch(images):  # torch's compiler fails at the calls of the layers if shapes vary
            return super().call(images, training=training)
        return self._graph(images)


class _KerasGraph:
    """Other backends trace the calls once."""

    direct = ()


TorchGraph = _TorchGraph if keras.backend.backend() == "torch" else _KerasGraph
"""Base class of a functional model with one input, before `keras.Model`; `direct` as in `Graph`."""
