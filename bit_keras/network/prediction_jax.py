"""Prediction on jax that leaves the network's variables alone, so that other threads can predict or set weights.

Keras takes the values out of the variables while `predict` runs, gives their memory to the compiled step, and writes
the values of the start back at the end.
"""

import contextlib
import functools
import threading
import weakref
from collections.abc import Iterator

import keras

_PREDICTS = "predicts"


class _OfThread(threading.local):
    """{model: {name: value}} of the current thread."""

    def __init__(self):
        self.values = weakref.WeakKeyDictionary()


_of_thread = _OfThread()


def _per_thread(name: str, default) -> property:
    def read(model):
        return _of_thread.values.get(model, {}).get(name, default)

    def write(model, value):
        _of_thread.values.setdefault(model, {})[name] = value

    return property(read, write)


class _JaxPrediction:
    _jax_state = _per_thread("_jax_state", None)
    _jax_state_synced = _per_thread("_jax_state_synced", True)
    _predicts = _per_thread(_PREDICTS, False)

    @functools.wraps(keras.Model.predict)
    def predict(self, *args, **kwargs):
        with self._prediction():
            return super().predict(*args, **kwargs)

    @functools.wraps(keras.Model.predict_on_batch)
    def predict_on_batch(self, *args, **kwargs):
        with self._prediction():
            return super().predict_on_batch(*args, **kwargs)

    @contextlib.contextmanager
    def _prediction(self) -> Iterator[None]:
        self._predicts = True
        try:
            yield
        finally:
            self._predicts, self._jax_state = False, None

    def make_predict_function(self, force: bool = False):
        if self.predict_function is None or force:
            import jax

            is_compiled = self.jit_compile and not self.run_eagerly
            step = jax.jit(self.predict_step) if is_compiled else self.predict_step
            self.predict_function = self._make_function(
                lambda state, data: (step(state, data)[0], state), concatenate_outputs=True
            )
        return self.predict_function

    def jax_state_sync(self) -> None:
        if self._predicts:
            self._jax_state_synced = True
        else:
            super().jax_state_sync()

    def _purge_model_variables(self, **kinds: bool) -> None:
        if not self._predicts:
            super()._purge_model_variables(**kinds)


class _Prediction:
    """Other backends leave the variables where they are."""


JaxPrediction = _JaxPrediction if keras.backend.backend() == "jax" else _Prediction
"""Base class of a model, before `keras.Model`."""
