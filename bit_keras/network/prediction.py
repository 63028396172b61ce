"""Predictions that standardize the kernels once a call, not once a batch: `BiT.predict` on the tensorflow backend."""

import contextlib
import weakref
from collections.abc import Iterator

import keras

from bit_keras.network.folding import fold
from bit_keras.network.layers import StandardizedConv2D
from bit_keras.network.model import BiT

_twins = weakref.WeakKeyDictionary()  # outside of the models: an attribute would be saved with them


@contextlib.contextmanager
def folded(model: BiT, images, batch_size: int | None) -> Iterator[None]:
    """Makes `model.predict` run on a folded twin of the model within the block.

    The twin gets the weights that the model has when the block begins, so that nothing can be stale in a later one;
    what changes them within it, a callback of `predict` for example, counts from the next block on. It holds a second
    copy of the weights for as long as the model lives.

    The model itself predicts where there is nothing to win, for arrays of one batch, or where the twin might not do
    as it does: on other backends, in distribution strategies, and for subclasses and quantized heads.

    Args:
        model: the network.
        images: what `predict` is given.
        batch_size: of `predict`; None for its 32.
    """
    twin = None if _is_one_batch(images, batch_size) else _twin(model)
    if twin is None:
        yield
        return
    twin.refresh()
    own, model.predict_function = model.predict_function, twin.function
    try:
        yield
    finally:
        if model.predict_function is twin.function:  # it was not compiled meanwhile
            model.predict_function = own


def _is_one_batch(images, batch_size: int | None) -> bool:
    return hasattr(images, "shape") and len(images) <= (batch_size or 32)


class _Twin:
    """A folded network with a compiled predict function.

    Attributes:
        function: what `keras.Model.predict` calls for a batch.
        refresh: call it to copy the weights of the model.
    """

    def __init__(self, model: BiT):
        import tensorflow as tf

        network = fold(model)
        # Not through the model, which would live as long as its twin.
        layers = [(layer, network.get_layer(layer.name)) for layer in (*model.backbone.layers, model.get_layer("head"))]

        @tf.function(autograph=False)
        def refresh():
            for layer, copy in layers:
                if isinstance(layer, StandardizedConv2D):
                    copy.kernel.assign(layer.standardized_kernel("float32"))
                else:
                    for weight, variable in zip(layer.weights, copy.weights, strict=True):
                        variable.assign(weight)

        network.run_eagerly, network.jit_compile = model.run_eagerly, model.jit_compile
        network.steps_per_execution = model.steps_per_execution
        network.make_predict_function()
        self.function, self.refresh = network.predict_function, refresh


def _twin(model: BiT) -> _Twin | None:
    """The twin of a model, a new one where it computes in another way than before; None where there may be none."""
    if keras.backend.backend() != "tensorflow" or type(model) is not BiT:
        return None
    import tensorflow as tf

    head = model.get_layer("head")
    if tf.distribute.has_strategy() or model.distribute_strategy is not tf.distribute.get_strategy():
        return None
    if type(head) is not keras.layers.Dense or len(head.weights) != 2:
        return None
    layers = [*model.backbone.layers, head]
    settings = (
        *(model.run_eagerly, model.jit_compile, model.steps_per_execution),
        *(layer.dtype_policy.name for layer in layers),
    )
    known, twin = _twins.get(model, (None, None))
    if known != settings:
        twin = _Twin(model)
        _twins[model] = settings, twin
    return twin
