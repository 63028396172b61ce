"""Evaluation during training."""

from collections.abc import Iterable

import keras

from bit_keras.metrics.predictions import predict


class Validation(keras.callbacks.Callback):
    """Evaluates after every epoch and adds "val_accuracy" and "val_loss" to the logs, for the callbacks after this one.

    Keras's own `validation_data` is wrong on several devices, which cannot divide the smaller last batch equally.

    Args:
        predictor: the model, or an object whose `predict_on_batch` computes its logits, such as that of
            `Distribution.predictor`.
        batches: as in `bit_keras.metrics.predict`; every evaluation reads them again.
        multi_label: as in `predict`.

    Raises:
        ValueError: from `fit`, if `batches` is empty, or no example has a label.

    Example:
        >>> from bit_keras.training import Validation
        >>> source = bit_keras.data.load("digits")
        >>> train = bit_keras.data.train_batches(source, batch_size=8, resize=20, crop=16, seed=0)
        >>> test = bit_keras.data.test_batches(source, batch_size=60, crop=16)
        >>> model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(10)])
        >>> model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
        >>> history = model.fit(train, steps_per_epoch=5, shuffle=False, verbose=0, callbacks=[Validation(model, test)])
        >>> sorted(history.history)
        ['loss', 'val_accuracy', 'val_loss']
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
