"""Predictions of several threads by one network."""

import functools
import threading
from collections.abc import Callable

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.inference.predictor import Predictor
from bit_keras.network.folding import folded

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.any_backend]

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 32, 32, 3)).astype("float32")
METHODS: dict[str, Callable] = {
    "predict": lambda network, images: network.predict(images, verbose=0),
    "predict_on_batch": lambda network, images: network.predict_on_batch(images),
    "call": lambda network, images: keras.ops.convert_to_numpy(network(images)),
}


@pytest.fixture(scope="module")
def networks(tiny) -> dict[str, keras.Model]:
    """A model and what is made of it. Half of its weights are frozen, which jax treats differently."""
    model = bit_keras.BiT("tiny", 3)
    head = model.get_layer("head")
    head.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in head.weights])
    model.backbone.trainable = False
    return {"model": model, "backbone": model.backbone, "folded": folded(model)}


@pytest.mark.parametrize("network", ["model", "folded"])
@pytest.mark.parametrize("method", METHODS)
def test_new_weights_beside_a_longer_predict(networks, network, method):
    network = networks[network]
    head, seen = network.get_layer("head"), {}
    old = head.get_weights()
    is_running, is_done = threading.Event(), threading.Event()

    def predict(images):
        return np.asarray(METHODS[method](network, images))

    def other():
        try:
            assert is_running.wait(60)
            head.set_weights([0 * old[0], np.full(3, 7)])
            seen["logits"] = predict(IMAGES)
        finally:
            is_done.set()

    def batches():
        yield (IMAGES,)
        yield (IMAGES,)
        is_running.set()
        assert is_done.wait(60)
        yield (IMAGES,)

    expected = predict(IMAGES)
    thread = threading.Thread(target=other)
    thread.start()
    assert network.predict(batches(), steps=3, verbose=0).shape == (12, 3)
    thread.join()
    np.testing.assert_array_equal(seen["logits"], np.full((4, 3), 7))
    np.testing.assert_array_equal(predict(IMAGES), np.full((4, 3), 7))  # the longer one did not write the old ones back
    head.set_weights(old)
    np.testing.assert_allclose(predict(IMAGES), expected, rtol=1e-5)


def _predict_at_once(network: keras.Model, calls: list[Callable]) -> None:
    """Calls each function of images three times in a thread of its own, and compares the outputs with the network's."""
    errors, start = [], threading.Barrier(len(calls))
    batches = [np.random.default_rng(k).uniform(-1, 1, IMAGES.shape).astype("float32") for k in range(len(calls))]
    expected = [METHODS["call"](network, images) for images in batches]

    def work(call, images, outputs):
        try:
            start.wait(60)
            for _ in range(3):
                np.testing.assert_allclose(call(images), outputs, rtol=0, atol=1e-5 * np.abs(outputs).max())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=row) for row in zip(calls, batches, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("network", ["model", "backbone", "folded"])
def test_six_threads_predict_as_one(networks, network):
    """Two per method, from the first prediction of the network on."""
    network = networks[network]
    network.predict_function = None
    _predict_at_once(network, [functools.partial(method, network) for method in METHODS.values()] * 2)


@pytest.mark.parametrize("network", ["model", "folded"])
def test_four_threads_with_one_predictor(networks, network):
    predictor = Predictor(networks[network], resolution=32, class_names=["a", "b", "c"])
    _predict_at_once(networks[network], [predictor.logits] * 4)
