"""Training with frozen stages."""

import keras
import numpy as np
import pytest

from bit_keras import BiT
from bit_keras.network.freezing import FREEZES, count_trainable, freeze

pytestmark = pytest.mark.any_backend

STAGES = ("root_block", "block1", "block2", "block3", "block4", "group_norm", "head")


@pytest.mark.parametrize("what", FREEZES)
def test_what_trains_is_what_comes_after(what):
    model = BiT("R17x0.5", 3)
    freeze(model, what)
    first = {"none": 0, "head_only": 6}.get(what, STAGES.index(what) + 1 if what in STAGES else None)
    trainable = {layer.name for layer in (*model.backbone.layers, model.get_layer("head")) if layer.trainable_weights}
    expected = {
        layer.name
        for layer in (*model.backbone.layers, model.get_layer("head"))
        if layer.weights and layer.name.startswith(STAGES[first:])
    }
    assert trainable == expected
    assert count_trainable(model) == sum(
        weight.size
        for layer in (*model.backbone.layers, model.get_layer("head"))
        if layer.name in expected
        for weight in layer.get_weights()
    )


def test_frozen_weights_do_not_move():
    model = BiT("R17x0.5", 3)
    freeze(model, "block2")
    model.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(from_logits=True))
    layers = [layer for layer in (*model.backbone.layers, model.get_layer("head")) if layer.weights]
    model.get_layer("head").set_weights([np.ones((1024, 3)), np.ones(3)])
    before = {layer.name: layer.get_weights() for layer in layers}
    images = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
    model.fit(images, np.eye(3, dtype="float32")[[0, 1, 2, 0]], verbose=0)
    for layer in layers:
        moved = not all(np.array_equal(a, b) for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
        assert moved == layer.name.startswith(("block3", "block4", "group_norm", "head")), layer.name


def test_other_values_are_refused():
    with pytest.raises(ValueError, match=r"what must be one of none, head_only, root_block, .*, got 'block5'"):
        freeze(BiT("R17x0.5", 3), "block5")
