"""Saves the state on SIGTERM or Ctrl-C and then ends the training."""

import signal
import threading
from collections.abc import Callable

import keras

from bit_keras.training.checkpoint import Checkpoint


class TrainingInterrupted(Exception):
    """A signal ended the training, after its state was saved.

    `bit_keras.finetune` and the other trainings raise it, and any `fit` with `StopOnSignal`.

    Attributes:
        signal: the received signal.

    Example:
        >>> import signal
        >>> from bit_keras.training import Checkpoint, MetricsLog, StopOnSignal, TrainingInterrupted
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> log = MetricsLog(None)
        >>> checkpoint = Checkpoint("state.weights.h5", log)
        >>> shutdown = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: signal.raise_signal(signal.SIGTERM))
        >>> try:
        ...     with StopOnSignal(checkpoint) as stop:
        ...         callbacks = [log, checkpoint, stop, shutdown]
        ...         model.fit(np.ones((8, 4)), np.ones((8, 2)), 2, verbose=0, callbacks=callbacks)
        ... except TrainingInterrupted as error:
        ...     print(error)
        stopped by SIGTERM; the state is saved
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}; the state is saved")
        self.add_note("The same call, or the same cell of a notebook, resumes the training.")


class StopOnSignal(keras.callbacks.Callback):
    """Saves a checkpoint and ends `fit` after the step during which SIGTERM or SIGINT (Ctrl-C) arrived.

    Use it also as a context manager around `fit`: signals are handled within the block, and only in the main thread.
    A second signal has its usual effect.

    Args:
        checkpoint: saves the state; must precede this callback.
        agree: maps the signal that this worker received, 0 for none, to one that any worker received; all workers
            call it after every step.

    Raises:
        TrainingInterrupted: from `fit`, if a signal arrived.

    Example:
        >>> from bit_keras.training import Checkpoint, MetricsLog, StopOnSignal
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> log = MetricsLog(None)
        >>> checkpoint = Checkpoint("state.weights.h5", log)
        >>> with StopOnSignal(checkpoint) as stop:  # Ctrl-C here saves the state and raises TrainingInterrupted
        ...     _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0, callbacks=[log, checkpoint, stop])
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, checkpoint: Checkpoint, agree: Callable[[int], int] = lambda number: number):
        super().__init__()
        self.checkpoint = checkpoint
        self.agree = agree
        self._received = 0
        self._handlers = {}

    def __enter__(self) -> "StopOnSignal":
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._receive) for number in self.SIGNALS}
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        self._received = number
        self.__exit__()

    def on_train_batch_end(self, batch, logs=None):
        if self.checkpoint.ends_epoch(batch):
            return
        if number := self.agree(self._received):
            self.checkpoint.save(running=True)
            raise TrainingInterrupted(number)

    def on_epoch_end(self, epoch, logs=None):
        if number := self.agree(self._received):  # the checkpoint is already written
            raise TrainingInterrupted(number)
