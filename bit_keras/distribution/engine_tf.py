"""tf.distribute: several devices of one process, several processes, or a TPU."""

import functools
import os
import types
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from bit_keras.distribution.base import Distribution, DistributionError


class Strategy(Distribution):
    """A model whose variables are mirrored on all devices, and whose steps run on each with a part of the batch.

    Args:
        kind: "mirrored", "multi_worker" or "tpu".
        is_chief: whether this process is the one that writes.

    Raises:
        DistributionError: there is no TPU, or TensorFlow has computed something before the workers could meet.
    """

    def __init__(self, kind: str, is_chief: bool):
        self._strategy = _start(kind)
        self._has_workers = kind == "multi_worker"
        self.num_devices = self._strategy.num_replicas_in_sync
        self.mixup_parts = self.num_devices
        self.is_chief = is_chief
        self._numbers = self._joined(lambda numbers: numbers)

    def scope(self):
        return self._strategy.scope()

    def feed(self, make: Callable, batch_size: int):
        def of_one_host(context: tf.distribute.InputContext) -> tf.data.Dataset:
            batches = make(shard=(context.input_pipeline_id, context.num_input_pipelines))
            return batches.rebatch(context.get_per_replica_batch_size(batch_size))

        # By functions: there is nothing that tf.data would have to shard by itself.
        return self._strategy.distribute_datasets_from_function(of_one_host)

    def predictor(self, model: keras.Model):
        logits = self._joined(lambda part: model(part, training=False))

        def predict_on_batch(images: np.ndarray) -> np.ndarray:
            padded = self._filled(images)
            part = len(padded) // self.num_devices
            return logits(lambda replica: padded[replica * part :][:part])[: len(images)]

        return types.SimpleNamespace(predict_on_batch=predict_on_batch)

    def maximum(self, number: int) -> int:
        return int(self._numbers(lambda replica: [int(number)]).max()) if self._has_workers else int(number)

    def _joined(self, of_part: Callable) -> Callable:
        """Returns a function from what makes a replica's part to the rows that `of_part` returns on all replicas."""

        @tf.function(reduce_retracing=True, autograph=False)
        def gather(parts):
            return self._strategy.gather(self._strategy.run(of_part, (parts,)), axis=0)

        def joined(make: Callable) -> np.ndarray:
            parts = self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(make(context.replica_id_in_sync_group))
            )
            with self._strategy.scope():  # inside and outside it a function is traced apart
                return gather(parts).numpy()

        return joined


def count_local_devices(multi_worker: bool = False) -> int:
    """Returns on how many devices of this machine a strategy would train, without making them.

    Args:
        multi_worker: several workers without GPUs take one CPU each, however it is divided.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if multi_worker and not gpus:
        return 1
    physical = gpus or tf.config.list_physical_devices("CPU")
    return sum(len(tf.config.get_logical_device_configuration(device) or [device]) for device in physical)


@functools.cache  # workers meet once in the life of a process
def _start(kind: str) -> tf.distribute.Strategy:
    if kind == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if kind == "multi_worker":
        try:
            return _MultiWorker()
        except RuntimeError as error:
            raise DistributionError(f"workers must meet before anything is computed: {error}") from error
    try:
        # The name is for TPUs on other machines.
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(os.environ.get("TPU_NAME", "local"))
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, tf.errors.OpError) as error:
        raise DistributionError(f"distribute='tpu' needs a TPU, and TensorFlow found none: {error}") from error
    return tf.distribute.TPUStrategy(resolver)


class _MultiWorker(tf.distribute.MultiWorkerMirroredStrategy):
    """The strategy as Keras 3's `fit` calls it.

    It reduces structures of values, and scalars along an axis that they do not have:
    https://github.com/tensorflow/tensorflow/issues/72388
    """

    def reduce(self, reduce_op, value, axis):
        def reduce_one(part):
            is_scalar = self.experimental_local_results(part)[0].shape.rank == 0
            return super(_MultiWorker, self).reduce(reduce_op, part, None if is_scalar else axis)

        return tf.nest.map_structure(reduce_one, value)
