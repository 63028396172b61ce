"""Predictions of several threads by one network."""

import threading

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.inference.predictor import Predictor
from bit_keras.network.folding import folded

pytestmark = [pytest.mark.usefixtures("tiny"), pytest.mark.any_backend]

IMAGES = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def model(tiny):
    """Half of its weights are frozen, which jax treats differently."""
    model = bit_keras.BiT("tiny", 3)
    head = model.get_layer("head")
    head.set_weights([np.random.default_rng(1).normal(size=weight.shape) for weight in head.weights])
    model.backbone.trainable = False
    return model


@pytest.mark.parametrize("method", ["predict", "predict_on_batch"])
def test_new_weights_beside_a_longer_predict(model, method):
    head, seen = model.get_layer("head"), {}
    old = head.get_weights()
    is_running, is_done = threading.Event(), threading.Event()

    def predict(images):
        return model.predict(images, verbose=0) if method == "predict" else model.predict_on_batch(images)

    def other():
        assert is_running.wait(60)
        head.set_weights([0 * old[0], np.full(3, 7)])
        try:
            seen["logits"] = np.asarray(predict(IMAGES))
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
    assert model.predict(batches(), steps=3, verbose=0).shape == (12, 3)
    thread.join()
    np.testing.assert_array_equal(seen["logits"], np.full((4, 3), 7))
    np.testing.assert_array_equal(predict(IMAGES), np.full((4, 3), 7))  # the longer one did not write the old ones back
    head.set_weights(old)
    np.testing.assert_allclose(predict(IMAGES), expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["predict", "predict_on_batch", "predictor", "predictor of the folded network"])
def test_four_threads_predict_as_one(model, kind):
    if kind == "predict":
        call = lambda images: model.predict(images, verbose=0)  # noqa: E731
    elif kind == "predict_on_batch":
        call = model.predict_on_batch
    else:
        call = Predictor(folded(model) if "folded" in kind else model, resolution=8, class_names=["a", "b", "c"]).logits
    batches = [IMAGES + shift for shift in (0, 0.1, 0.2, 0.3)]
    expected = [np.asarray(call(images)) for images in batches]
    errors = []

    def work(number):
        try:
            for _ in range(3):
                np.testing.assert_allclose(call(batches[number]), expected[number], rtol=1e-5, atol=1e-6)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert keras.ops.shape(expected[0]) == (4, 3)
