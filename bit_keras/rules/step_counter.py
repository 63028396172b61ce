"""The number of steps of an optimizer, before, during and after a `fit`."""

import keras
from keras import ops


class StepCounter(keras.callbacks.Callback):
    """Base class of callbacks that need the current number of steps, `steps`, while `fit` runs.

    The steps are counted here because the jax backend updates the optimizer's count only at the end of an epoch. A
    subclass that overrides one of these methods must call it first.

    Attributes:
        steps: steps of the optimizer so far, in this and all earlier calls of `fit`; micro-batches with accumulation.
        steps_before_epoch: the same at the start of the epoch.

    Example:
        >>> from bit_keras.rules import StepCounter
        >>> class EveryThird(StepCounter):
        ...     def on_train_batch_end(self, batch, logs=None):
        ...         super().on_train_batch_end(batch, logs)
        ...         if self.steps % 3 == 0:
        ...             print("step", self.steps)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), 2, epochs=2, verbose=0, callbacks=[EveryThird()])
        step 3
        step 6
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
    """Returns the number of steps that a model's optimizer has made; with accumulation every micro-batch is a step.

    Args:
        model: a compiled model.

    Example:
        >>> from bit_keras.rules import steps_made
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), 2, epochs=2, verbose=0)
        >>> steps_made(model)
        8
    """
    return steps_of(inner_optimizer(model))


def steps_of(optimizer: keras.optimizers.Optimizer) -> int:
    """Returns the number of steps of an optimizer that no other wraps."""
    return int(ops.convert_to_numpy(optimizer._iterations))  # int() fails on the variables of tf.distribute


def inner_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer that updates the weights; with float16 a LossScaleOptimizer wraps it."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)
