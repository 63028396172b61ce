"""The number of steps of an optimizer, before, during and after a `fit`."""

import keras
from keras import ops


class StepCounter(keras.callbacks.Callback):
    """Base class of callbacks that need the current number of steps, `steps`, while `fit` runs.

    The steps are counted here because the jax backend updates the optimizer's count only at the end of an epoch. A
    subclass that overrides one of these methods must call it first.
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
    """Returns the number of steps of a compiled model's optimizer; with accumulation every micro-batch is a step."""
    return steps_of(inner_optimizer(model))


def steps_of(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns the number of steps of an optimizer that no other wraps."""
    return int(ops.convert_to_numpy(optimizer._iterations))  # int() fails on the variables of tf.distribute


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that updates the weights; with float16 a LossScaleOptimizer wraps it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)
