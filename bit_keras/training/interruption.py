"""SIGTERM and Ctrl-C: the state is saved, then the training ends."""

import signal
import threading
from collections.abc import Callable

import keras

from bit_keras.training.checkpoint import Checkpoint


class TrainingInterrupted(Exception):
    """A signal ended the training, after its state was saved.

    Attributes:
        signal: which one.
    """

    def __init__(self, number: int):
        self.signal = signal.Signals(number)
        super().__init__(f"stopped by {self.signal.name}; the state is saved")


class StopOnSignal(keras.callbacks.Callback):
    """Ends `fit` after the step in which SIGTERM or SIGINT (Ctrl-C) came, with a saved checkpoint.

    A context manager around `fit`; it listens inside the block, in the main thread alone. A second signal acts as
    it always does.

    Args:
        checkpoint: to save with; a callback before this one.
        agree: function from the signal that came here, 0 for none, to that which came to any worker; called by all of
            them after every step.

    Raises:
        TrainingInterrupted: from `fit`, when a signal came.
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
        if number := self.agree(self._received):  # and the checkpoint has been written
            raise TrainingInterrupted(number)
