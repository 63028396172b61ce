"""Evaluation during training."""

from collections.abc import Iterable

import keras

from bit_keras.metrics.predictions import predict


class Validation(keras.callbacks.Callback):
    """Evaluates after every epoch and adds "val_accuracy" and "val_loss" to the logs, for the callbacks after this one.

    Keras's own `validation_data` is wrong on several devices, which cannot divide the smaller last batch equally.

    Args:
        predictor: the model, or an object that computes its logits; see `predict`.
        batches: as in `predict`; every evaluation reads them again.
        multi_label: as in `predict`.
    """

    def __init__(self, predictor, batches: Iterable, multi_label: bool = False):
        super().__init__()
        self.predictor = predictor
        self.batches = batches
        self.multi_label = multi_label

    def on_epoch_end(self, epoch, logs=None):
        predictions = predict(self.predictor, self.batches, num_mistakes=0, multi_label=self.multi_label)
        if logs is not None:
            logs.update(val_accuracy=predictions.accuracy, val_loss=predictions.loss)
