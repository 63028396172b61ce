"""The number of steps that an optimizer has made, before, during and after a `fit`."""

import keras
from keras import ops


class StepCounter(keras.callbacks.Callback):
    """Base of callbacks that need the number of steps while `fit` runs, in `steps`.

    It is counted here because the jax backend updates the optimizer's own count only after an epoch. A subclass that
    overrides one of these methods calls it first.
    """

    steps = 0
    steps_before_epoch = 0

    def on_train_begin(self, logs=None):
        self.steps = self.steps_before_epoch = steps_made(self.model)

    def on_epoch_begin(self, epoch, logs=None):
        self.steps_before_epoch = self.steps

    def on_train_batch_end(self, batch, logs=None):
        self.steps = self.steps_before_epoch + batch + 1


def steps_made(model: keras.Model) -> int:
    """Returns the steps that the optimizer of a compiled model has made; of several accumulated ones each counts."""
    count = inner_optimizer(model)._iterations
    return int(ops.convert_to_numpy(count))  # int() takes no variable of tf.distribute


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that makes the updates; under float16 a LossScaleOptimizer stands around it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)
