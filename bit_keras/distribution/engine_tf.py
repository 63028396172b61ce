"""tf.distribute: several devices of one process, several processes, or a TPU."""

import contextlib
import functools
import os
import types
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from bit_keras.distribution.base import LOST, Distribution, DistributionError

# Errors of collective operations whose partner is lost.
_LOSSES = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Strategy(Distribution):
    """Data parallelism: variables are mirrored on all devices, and each device computes a shard of every batch.

    Args:
        kind: "mirrored", "multi_worker" or "tpu".
        is_chief: whether this worker writes files.

    Raises:
        DistributionError: no TPU exists, or TensorFlow has computed something before the workers were connected.
    """

    def __init__(self, kind: str, is_chief: bool):
        self._has_workers = kind == "multi_worker"
        self._strategy = _start(kind)
        self.num_devices = self._strategy.num_replicas_in_sync
        self.mixup_parts = self.num_devices
        self.is_chief = is_chief
        self._numbers = self._gathered(lambda numbers: numbers)

    @contextlib.contextmanager
    def scope(self):
        with self._together(), self._strategy.scope():
            yield

    @contextlib.contextmanager
    def _together(self):
        """Raises DistributionError if another worker is lost during the block."""
        try:
            yield
        except tf.errors.OpError as error:
            if self._has_workers and (isinstance(error, _LOSSES) or "Collective ops" in error.message):
                raise DistributionError(LOST) from error
            raise

    def feed(self, make: Callable, batch_size: int):
        def for_one_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batches = make(shard=(context.input_pipeline_id, context.num_input_pipelines))
            return batches.rebatch(context.get_per_replica_batch_size(batch_size))

        # From a function, which returns the shard of a host: tf.data must not divide the batches again.
        return self._strategy.distribute_datasets_from_function(for_one_host)

    def predictor(self, model: keras.Model):
        outputs = self._gathered(lambda shard: model(shard, training=False))

        def predict_on_batch(images: np.ndarray):
            padded = self._padded(images)
            size = len(padded) // self.num_devices
            found = outputs(lambda replica: padded[replica * size :][:size])
            return tf.nest.map_structure(lambda rows: rows[: len(images)], found)

        return types.SimpleNamespace(predict_on_batch=predict_on_batch)

    def maximum(self, number: int) -> int:
        return int(self._numbers(lambda replica: [int(number)]).max()) if self._has_workers else int(number)

    def _gathered(self, compute: Callable) -> Callable:
        """Returns a function that runs `compute` on the shard of each replica and concatenates the rows of the results.

        Its argument maps the index of a replica to the shard of the replica. Results are arrays, or nested like those
        of `compute`.
        """

        @tf.function(reduce_retracing=True, autograph=False)
        def gather(shards):
            results = self._strategy.run(compute, (shards,))
            return tf.nest.map_structure(lambda rows: self._strategy.gather(rows, axis=0), results)

        def gathered(make: Callable):
            shards = self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(make(context.replica_id_in_sync_group))
            )
            with self.scope():  # always inside: outside of it the function would be traced again
                return tf.nest.map_structure(lambda rows: rows.numpy(), gather(shards))

        return gathered


def sum_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """Returns the sum of a tensor over the replicas that run the calling step, or the tensor if there is only one."""
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce("sum", tf.stop_gradient(value))


def count_local_devices(multi_worker: bool = False) -> int:
    """Returns the number of devices of this machine that a strategy would use, without initializing them.

    Args:
        multi_worker: True for several workers: without GPUs each uses one CPU, even if it is divided into several.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if multi_worker and not gpus:
        return 1
    physical = gpus or tf.config.list_physical_devices("CPU")
    return sum(len(tf.config.get_logical_device_configuration(device) or [device]) for device in physical)


@functools.cache  # workers can connect only once per process
def _start(kind: str) -> tf.distribute.Strategy:
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if kind == "multi_worker":
        try:
            return _MultiWorker()
        except RuntimeError as error:
            raise DistributionError(f"workers must connect before anything is computed: {error}") from error
    try:
        # TPU_NAME is set for a TPU on another machine.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise DistributionError(f"distribute='tpu' needs a TPU, and TensorFlow found none: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


class _MultiWorker(tf.distribute.MultiWorkerMirroredStrategy):
    """The strategy, adapted to how Keras 3's `fit` calls `reduce`.

    `fit` passes nested structures, and an axis also for scalars, which have none:
    https://github.com/tensorflow/tensorflow/issues/72388
    """

    def reduce(self, reduce_op, value, axis):
        def reduce_one(leaf):
            is_scalar = self.experimental_local_results(leaf)[0].shape.rank == 0
            return super(_MultiWorker, self).reduce(reduce_op, leaf, None if is_scalar else axis)

        return tf.nest.map_structure(reduce_one, value)
