"""keras.distribution.DataParallel on the jax backend: all devices of one or several processes."""

import atexit
import contextlib
import os
import re
import sys
import types
from collections.abc import Callable

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from bit_keras.distribution.base import LOST, Distribution, DistributionError
from bit_keras.distribution.environment import read_jax_processes

# In the errors of collective operations whose partner is lost; jax has no type for them.
_LOSS = re.compile("Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|heartbeat|coordination")


class DataParallel(Distribution):
    """Data parallelism: variables are replicated on all devices, batches are divided among the devices.

    Processes connect by the environment variables of `keras.distribution.initialize`, unless the caller has already
    called `jax.distributed.initialize`.

    Raises:
        DistributionError: jax has computed something before the processes were connected.
    """

    def __init__(self):
        if read_jax_processes() and not jax.distributed.is_initialized():
            try:
                keras.distribution.initialize()
            except RuntimeError as error:
                raise DistributionError(f"processes must connect before anything is computed: {error}") from error
        self._engine = keras.distribution.DataParallel(auto_shard_dataset=False)  # each process loads its own shard
        self.num_devices = jax.device_count()
        self.is_chief = jax.process_index() == 0
        self.mixup_parts = jax.process_count()

    @contextlib.contextmanager
    def scope(self):
        with self._together(), self._engine.scope():
            yield

    @contextlib.contextmanager
    def _together(self):
        """Raises DistributionError if another process is lost during the block; an error ends the connection to all."""
        try:
            yield
        except BaseException as error:
            if jax.process_count() == 1 or hasattr(error, "signal"):  # a signal ends all processes after the same step
                raise
            _leave_at_exit(error)
            if isinstance(error, RuntimeError | ValueError | OSError) and _LOSS.search(str(error)):
                raise DistributionError(LOST) from error
            raise

    def feed(self, make: Callable, batch_size: int):
        return make(shard=(jax.process_index(), jax.process_count()))

    def predictor(self, model: keras.Model):
        replicated = jax.sharding.NamedSharding(self._engine.device_mesh.backend_mesh, jax.sharding.PartitionSpec())

        def step(trainable, non_trainable, images):
            return model.stateless_call(trainable, non_trainable, images, training=False)[0]

        step = jax.jit(step, out_shardings=replicated)

        def predict_on_batch(images: np.ndarray):
            padded = self._padded(images)
            layout = self._engine.get_data_layout(padded.shape).backend_layout
            sharded = jax.make_array_from_callback(padded.shape, layout, lambda index: padded[index])
            variables = (model.trainable_variables, model.non_trainable_variables)
            with self._together():
                found = step(*([v.value for v in group] for group in variables), sharded)
                return jax.tree.map(lambda rows: np.asarray(rows)[: len(images)], found)

        return types.SimpleNamespace(predict_on_batch=predict_on_batch)

    def maximum(self, number: int) -> int:
        if jax.process_count() == 1:
            return int(number)
        with self._together():
            return int(multihost_utils.process_allgather(np.int32(number)).max())


def _leave_at_exit(error: BaseException) -> None:
    """Ends the process at its exit without waiting for the other ones, as jax does, for minutes.

    They wait for this one in a collective operation, and notice that it is lost when its connections end.
    """
    code = getattr(error, "code", 1)  # of SystemExit
    status = 130 if isinstance(error, KeyboardInterrupt) else code if isinstance(code, int) else 1

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    atexit.register(leave)
