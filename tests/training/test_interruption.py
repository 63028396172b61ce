"""SIGTERM and Ctrl-C."""

import signal

import keras
import numpy as np
import pytest

from bit_keras.training import Checkpoint, MetricsLog, StopOnSignal, TrainingInterrupted

X = np.ones((8, 4), "float32")


class Send(keras.callbacks.Callback):
    """Sends a signal to this process at a given moment of the training."""

    def __init__(self, number, moment):
        super().__init__()
        self.number, self.moment = number, moment

    def on_train_batch_end(self, batch, logs=None):
        self._send("batch", batch)

    def on_test_batch_end(self, batch, logs=None):
        self._send("test", batch)

    def _send(self, *moment):
        if moment == self.moment:
            signal.raise_signal(self.number)  # os.kill may reach another thread first and delay the handler


def _fit(folder, *callbacks) -> int:
    """Trains and returns the number of steps."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    saver = Checkpoint(folder / "last.weights.h5", MetricsLog(folder / "metrics.csv"))
    with StopOnSignal(saver) as stop:
        callbacks = [*callbacks, saver.log, saver, stop]
        model.fit(X, X[:, 0], 2, epochs=2, validation_data=(X, X[:, 0]), callbacks=callbacks, verbose=0)
    return int(model.optimizer.iterations)


@pytest.mark.any_backend
@pytest.mark.parametrize("number", StopOnSignal.SIGNALS)
@pytest.mark.parametrize(("moment", "steps", "rows"), [(("batch", 1), 2, 0), (("batch", 3), 4, 1), (("test", 0), 4, 1)])
def test_the_state_is_saved_and_the_training_ends(tmp_path, number, moment, steps, rows):
    with pytest.raises(TrainingInterrupted, match=f"stopped by {number.name}; the state is saved") as caught:
        _fit(tmp_path, Send(number, moment))
    assert caught.value.signal == number
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    saver = Checkpoint(tmp_path / "last.weights.h5", MetricsLog(tmp_path / "metrics.csv"))
    assert saver.restore(model) == steps
    assert len(saver.log.rows) == rows


def test_without_a_signal_all_is_as_before(tmp_path):
    handlers = [signal.getsignal(number) for number in StopOnSignal.SIGNALS]
    assert _fit(tmp_path) == 8
    assert [signal.getsignal(number) for number in StopOnSignal.SIGNALS] == handlers


@pytest.fixture
def _ctrl_c_is_taken():
    """Restores the default handler of Ctrl-C, which shells disable for background jobs."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_ctrl_c_is_taken")
def test_a_second_signal_acts_as_ever(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        _fit(tmp_path, Send(signal.SIGINT, ("test", 0)), Send(signal.SIGINT, ("test", 2)))
