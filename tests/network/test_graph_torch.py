"""A network that calls its layers itself on torch, compared with Keras's calls."""

import gc
import weakref

import keras
import numpy as np
import pytest

from bit_keras import BiT, folded

pytestmark = [
    pytest.mark.any_backend,
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="others trace the calls"),
]

IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def model(request, golden_npz) -> BiT:
    return BiT.from_preset(golden_npz, dtype=request.param)


@pytest.mark.parametrize("make", [lambda model: model.backbone, folded], ids=["backbone", "folded"])
def test_outputs_and_gradients_are_those_of_keras(model, make):
    import torch

    network = make(model)
    results = []
    for function in (network, keras.Function(network.input, network.output)):
        images = torch.tensor(IMAGES, requires_grad=True)
        outputs = function(images)
        outputs.float().square().sum().backward()
        results.append((outputs, images.grad, *(weight.value.grad for weight in network.trainable_weights)))
        network.zero_grad()
    for received, expected in zip(*results, strict=True):
        assert received.dtype == expected.dtype
        torch.testing.assert_close(received, expected, rtol=0, atol=0)


def test_feature_maps_are_freed_after_their_last_use(model):
    import torch

    maps, alive = [], []

    def hook(layer, inputs, output):
        maps.append(weakref.ref(output))
        alive.append(sum(reference() is not None for reference in maps))

    convolutions = [layer for layer in model.backbone.layers if hasattr(layer, "kernel")]
    hooks = [layer.register_forward_hook(hook) for layer in convolutions]
    with torch.no_grad():
        model.backbone(IMAGES)
    for each in hooks:
        each.remove()
    assert len(maps) == len(convolutions) == 20
    assert max(alive) <= 3  # among them the shortcut and the one that the hook is called with


def test_hooks_of_torch_are_called(model):
    """Before and after a layer, and in the backward pass."""
    called = []
    layer = model.backbone.get_layer("root_block_pool")
    hooks = [
        layer.register_forward_pre_hook(lambda *_: called.append("before")),
        layer.register_forward_hook(lambda *_: called.append("after")),
        layer.register_full_backward_hook(lambda *_: called.append("backward")),
    ]
    model.backbone(IMAGES).sum().backward()
    for hook in hooks:
        hook.remove()
    model.backbone(IMAGES)
    assert called == ["before", "after", "backward"]


def test_wrong_images_are_refused_as_keras_does(model):
    with pytest.raises(ValueError, match="incompatible"):
        model.backbone(IMAGES[..., :2])
    with pytest.raises(ValueError, match="shape"):
        model.backbone(IMAGES[0])


@pytest.mark.filterwarnings("ignore")  # warnings of the compiler about Keras
def test_the_compiler_leaves_the_layers_alone(model):
    """Else the outputs were those of the plain formulas, which round differently."""
    import torch

    compiled = torch.compile(model.backbone, backend="eager")
    for side in (64, 33, 48):
        images = torch.tensor(IMAGES[:, :side, :48], requires_grad=True)
        received, expected = compiled(images), model.backbone(images)
        assert received.requires_grad
        torch.testing.assert_close(received, expected, rtol=0, atol=0)


def test_a_graph_does_not_keep_its_network():
    network = folded(BiT("R17x0.5", 3))
    reference = weakref.ref(network)
    del network
    gc.collect()
    assert reference() is None
