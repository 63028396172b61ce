"""The state of a training run in one file."""

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import ops

from bit_keras.rules import StepCounter, steps_made
from bit_keras.system.files import whole
from bit_keras.training.metrics_log import MetricsLog

_STATE = "training_state"
# Follows the HDF5 file in the same file, then its SHA-256: HDF5 itself does not notice zeros in place of weights.
_SEAL = b"bit_keras sha256"
_CHUNK = 2**20  # bytes


class Checkpoint(StepCounter):
    """Writes weights, optimizer, running metrics and the log after every epoch, and optionally within epochs.

    A training that is restored from the file and continues with the same batches ends with the same results as an
    uninterrupted one. The file is replaced atomically: a failed or interrupted write leaves the previous file.

    Args:
        path: the file, which must end in ".weights.h5".
        log: of the epochs so far; must precede this callback.
        every: steps of the optimizer between two writes within an epoch, None for no such writes.
        writes: False writes no file; for workers other than the chief, which must save as well (see `save`).

    Raises:
        ValueError: `path` has a different ending.

    Example:
        >>> from bit_keras.training import Checkpoint, MetricsLog
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> log = MetricsLog("metrics.csv")
        >>> checkpoint = Checkpoint("state.weights.h5", log)
        >>> _ = model.fit(np.ones((8, 4)), np.ones((8, 2)), 2, epochs=3, verbose=0, callbacks=[log, checkpoint])
        >>> checkpoint.restore(model)  # in another process; `fit` resumes with epoch 3
        12
    """

    def __init__(self, path: str | os.PathLike, log: MetricsLog, every: int | None = None, writes: bool = True):
        super().__init__()
        self.path = Path(path)
        self.log = log
        self.every = every
        self.writes = writes
        self._running = []
        if not self.path.name.endswith(".weights.h5"):
            raise ValueError(f'the name of a checkpoint must end in ".weights.h5", got {str(path)!r}')

    def restore(self, model: keras.Model) -> int:
        """Restores weights and optimizer of a compiled model, and the log, from the file, if it exists.

        Returns:
            Number of steps that the optimizer has made, 0 without a file.

        Raises:
            ValueError: the file is damaged, or of another network.
        """
        # TensorFlow traces the first step twice if optimizer or metrics create their variables in it.
        model.optimizer.build(model.trainable_variables)
        if isinstance(model.output_shape, tuple):  # networks with several outputs, detectors, have no metrics of them
            nothing = ops.zeros((1, model.output_shape[-1]))
            with keras.StatelessScope():  # creates variables only: tf.distribute lets only replicas update a metric
                model.compute_metrics(None, nothing, nothing)
        if not self.path.is_file():
            return 0
        try:
            is_sealed = _check_seal(self.path)  # before libhdf5, which may crash on a damaged file
            model.load_weights(self.path)
            with h5py.File(self.path, "r") as file:
                state = json.loads(file[_STATE][()].tobytes())
            if state.get("sealed") and not is_sealed:
                raise ValueError("its end is missing")
            rows, self._running = state["rows"], state["running"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"the checkpoint {self.path} cannot be resumed from; it is damaged, perhaps by a full disk or a power "
                f"failure, or of another network ({reason}). Put back a copy of it, or delete it: the same command "
                "then trains again from the first update"
            ) from error
        self.log.restore(rows)
        return steps_made(model)

    def save(self, running: bool) -> None:
        """Writes the file now.

        Args:
            running: True within an epoch, whose metrics a restored training continues.
        """
        if hasattr(self.model, "jax_state_sync"):
            self.model.jax_state_sync()  # on jax the model's variables are stale within an epoch
        metrics = [ops.convert_to_numpy(v).tolist() for v in self.model.metrics_variables] if running else []
        state = json.dumps({"rows": self.log.rows, "running": metrics, "sealed": True}).encode()
        # Keras creates variables while it saves, which synchronizes the workers: all of them must save.
        with whole(self.path) if self.writes else _discarded(self.path.name) as temporary:
            self.model.save_weights(temporary)
            with h5py.File(temporary, "a") as file:
                file[_STATE] = np.frombuffer(state, np.uint8)
            if self.writes:
                _seal(temporary)

    def ends_epoch(self, batch: int) -> bool:
        """Returns whether `batch` is the last one of its epoch; then the state is saved after the evaluation."""
        return batch + 1 >= self.params["steps"] or self.model.stop_training

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        for variable, value in zip(self.model.metrics_variables, self._running):
            variable.assign(value)
        self._running = []

    def on_train_batch_end(self, batch, logs=None):
        before = self.steps
        super().on_train_batch_end(batch, logs)
        if self.every and before // self.every < self.steps // self.every and not self.ends_epoch(batch):
            self.save(running=True)

    def on_epoch_end(self, epoch, logs=None):
        self.save(running=False)


def _seal(path: Path) -> None:
    """Appends the SHA-256 of a file to it."""
    with open(path, "r+b") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        file.seek(0, os.SEEK_END)
        file.write(_SEAL + digest)


def _check_seal(path: Path) -> bool:
    """Returns whether a file ends with a SHA-256, which those of earlier versions do not; ValueError if it differs."""
    length = len(_SEAL) + hashlib.sha256().digest_size
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END) - length
        if size < 0:
            raise ValueError(f"it has {size + length} bytes")
        file.seek(size)
        seal = file.read(length)
        if not seal.startswith(_SEAL):
            return False
        digest = hashlib.sha256()
        file.seek(0)
        while size:
            chunk = file.read(min(size, _CHUNK))
            digest.update(chunk)
            size -= len(chunk)
    if digest.digest() != seal[len(_SEAL) :]:
        raise ValueError("its content has changed since it was written")
    return True


@contextlib.contextmanager
def _discarded(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, name)
