"""Evaluation during training."""

import keras
import numpy as np
import pytest

from bit_keras.metrics import predict
from bit_keras.training import Validation


@pytest.mark.any_backend
def test_logs_are_those_of_keras_on_every_example_once():
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(11, 4)).astype("float32"), np.eye(3, dtype="float32")[np.arange(11) % 3]
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    batches = [(images[:8], labels[:8]), (images[8:], labels[8:])]
    history = model.fit(
        images, labels, validation_data=(images, labels), epochs=2, callbacks=[_Compare(model, batches)], verbose=0
    ).history
    assert len(history["val_loss"]) == 2
    assert predict(model, batches).accuracy == pytest.approx(history["val_accuracy"][-1])


class _Compare(Validation):
    def on_epoch_end(self, epoch, logs=None):
        of_keras = dict(logs)
        super().on_epoch_end(epoch, logs)
        for name in ("val_loss", "val_accuracy"):
            assert logs[name] == pytest.approx(of_keras[name], rel=1e-5)
            assert isinstance(logs[name], float)
