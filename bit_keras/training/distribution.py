"""Training on several devices: the numbers of one device, with a part of every batch on each.

The engines are those of the backends: tf.distribute (`distribution_tf`) and keras.distribution (`distribution_jax`).
"""

import contextlib
import json
import os
from collections.abc import Callable
from typing import TypeVar

import keras

_T = TypeVar("_T")

# Each kind and the backend that has its engine.
DISTRIBUTIONS = {
    "none": None,
    "mirrored": "tensorflow",
    "multi_worker": "tensorflow",
    "tpu": "tensorflow",
    "data_parallel": "jax",
}
_JAX_PROCESSES = tuple(f"KERAS_DISTRIBUTION_{name}" for name in ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID"))


class DistributionError(Exception):
    """Devices or workers of a training do not come together."""


class Distribution:
    """How a training is spread over devices and processes ("workers"). This class is one device; engines extend it.

    Workers wait for each other in `in_turn`, `maximum`, in steps and in predictions: all must call these in one order.

    Attributes:
        num_devices: of all workers together.
        is_chief: whether this worker is the one that writes.
        mixup_parts: in how many parts, each by itself or one after another, MixUp sees a batch; its pairs depend on it.
    """

    num_devices = 1
    is_chief = True
    mixup_parts = 1

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns the context in which a model is built, compiled, restored and fitted."""
        return contextlib.nullcontext()

    def feed(self, make: Callable, batch_size: int):
        """Returns what `fit` takes.

        Args:
            make: function from `shard=`, as `bit_keras.data.train_batches` has it, to a dataset of batches.
            batch_size: images per batch of all shards together.
        """
        return make(shard=(0, 1))

    def predictor(self, model: keras.Model):
        """Returns an object whose `predict_on_batch(images)`, for any number of images, uses all devices."""
        return model

    def plain(self, model: keras.Model) -> keras.Model:
        """Returns the model, or a copy of it where its variables belong to several devices."""
        return model

    def maximum(self, number: int) -> int:
        """Returns the largest of the workers' numbers, each in [-2**31, 2**31), to all of them."""
        return number

    def check_equal(self, number: int, rule: str) -> None:
        """Raises DistributionError, "all workers must" and the rule, unless the number is the same on all workers."""
        if self.maximum(number) != -self.maximum(-number):
            raise DistributionError(f"all workers must {rule}")

    def in_turn(self, on_chief: Callable[[], _T], on_others: Callable[[], _T | None] = lambda: None) -> _T | None:
        """Calls one function on the chief and then the other one on the other workers.

        Returns:
            What the function of this worker returned.

        Raises:
            DistributionError: it failed on another worker. Where it failed itself, its own error is raised.
        """
        result = None
        for function, is_mine in ((on_chief, self.is_chief), (on_others, not self.is_chief)):
            error = None
            if is_mine:
                try:
                    result = function()
                except Exception as caught:  # the others must hear of it
                    error = caught
            has_failed = self.maximum(error is not None)
            if error is not None:
                raise error
            if has_failed:
                raise DistributionError("another worker has failed, and its message says why; all of them end")
        return result


def count_devices(kind: str) -> int | None:
    """Checks the settings of an engine and returns its number of devices, without starting it; None for a TPU's.

    Args:
        kind: of `DISTRIBUTIONS`.

    Raises:
        ValueError: the backend has no such engine, or its settings are missing or malformed.
    """
    _check_backend(kind)
    if kind == "mirrored":
        from bit_keras.training import distribution_tf

        return distribution_tf.count_local_devices()
    if kind == "multi_worker":
        from bit_keras.training import distribution_tf

        return len(read_tf_config()[0]) * distribution_tf.count_local_devices(multi_worker=True)
    if kind == "data_parallel":
        import jax

        processes = read_jax_processes()  # which all have as many devices as this one, as far as is known yet
        return jax.device_count() if jax.distributed.is_initialized() else jax.local_device_count() * (processes or 1)
    return None if kind == "tpu" else 1


def start_distribution(kind: str) -> Distribution:
    """Starts an engine, before anything else is computed; that of several workers waits for all of them.

    Args:
        kind: of `DISTRIBUTIONS`.

    Raises:
        ValueError: as `count_devices`.
        DistributionError: the engine cannot be started, or no more.
    """
    _check_backend(kind)
    if kind == "none":
        return Distribution()
    if kind == "data_parallel":
        from bit_keras.training import distribution_jax

        read_jax_processes()
        return distribution_jax.DataParallel()
    from bit_keras.training import distribution_tf

    is_chief = kind != "multi_worker" or read_tf_config()[1]
    return distribution_tf.Strategy(kind, is_chief)


def check_batch(kind: str, num_devices: int, batch_size: int, accumulate: int = 1) -> None:
    """Checks that the devices can share a batch.

    Args:
        kind: of `DISTRIBUTIONS`.
        num_devices: of all workers together.
        batch_size: images per update.
        accumulate: parts of an update, one after another.

    Raises:
        ValueError: there is one device only, a part of the batch cannot be divided, or the engine accumulates nothing.
    """
    if kind == "none":
        return
    if num_devices < 2:
        raise ValueError(f"distribute={kind!r} needs 2 devices or more, got {num_devices}; 'none' trains on one")
    if accumulate > 1 and DISTRIBUTIONS[kind] == "tensorflow":
        # https://github.com/keras-team/keras/issues/20582
        raise ValueError(
            f"accumulate must be 1 with distribute={kind!r}, got {accumulate}: Keras accumulates no gradients under "
            "tf.distribute; 'data_parallel' on the jax backend does"
        )
    part = batch_size // accumulate
    if part % num_devices:
        of_parts = f" in {accumulate} parts, that is {part}" if accumulate > 1 else ""
        raise ValueError(f"{num_devices} devices must divide the batch equally, got batch_size {batch_size}{of_parts}")


def read_tf_config() -> tuple[list[str], bool]:
    """Reads TF_CONFIG, which tells the workers of tf.distribute of each other.

    Returns:
        (addresses of all workers, whether this one is the chief).

    Raises:
        ValueError: it is missing or malformed.
    """
    text = os.environ.get("TF_CONFIG")
    example = (
        """'{"cluster": {"worker": ["host0:12345", "host1:12345"]}, "task": {"type": "worker", "index": 0}}' """
        "with an index of its own on each machine"
    )
    if not text:
        raise ValueError(f"distribute='multi_worker' needs the environment variable TF_CONFIG, for example {example}")
    try:
        config = json.loads(text)
        cluster, kind, index = config["cluster"], config["task"]["type"], int(config["task"]["index"])
        addresses = [*cluster.get("chief", []), *cluster["worker"]]
        if kind not in ("chief", "worker") or index < 0 or set(cluster) - {"chief", "worker"} or len(addresses) < 2:
            raise ValueError("two workers or more, of the types chief and worker, are allowed")
        _ = cluster[kind][index]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG must look like {example}; got {text} ({error})") from error
    return addresses, kind == "chief" or (index == 0 and not cluster.get("chief"))


def read_jax_processes() -> int | None:
    """Reads from the environment how many processes take part on the jax backend.

    Returns:
        Their number; None where the variables are not set, for one process with all of its devices.

    Raises:
        ValueError: a variable is missing or malformed.
    """
    given = [name for name in _JAX_PROCESSES if name in os.environ]
    if not given:
        return None
    missing = [name for name in _JAX_PROCESSES if name not in given]
    if missing:
        raise ValueError(f"{', '.join(_JAX_PROCESSES)} go together, got {', '.join(given)} without {missing[0]}")
    addresses, number, index = (os.environ[name] for name in _JAX_PROCESSES)
    if not (number.isdecimal() and index.isdecimal() and int(index) < int(number) and ":" in addresses):
        raise ValueError(
            f"{_JAX_PROCESSES[0]} must be the address of the first process with its port, {_JAX_PROCESSES[1]} a "
            f"number, {_JAX_PROCESSES[2]} one from 0 to that number - 1; got {addresses!r}, {number!r} and {index!r}"
        )
    return int(number)


def _check_backend(kind: str) -> None:
    needed, backend = DISTRIBUTIONS[kind], keras.backend.backend()
    if needed not in (None, backend):
        allowed = [f"{name!r} ({other})" for name, other in DISTRIBUTIONS.items() if other]
        here = [repr(name) for name, other in DISTRIBUTIONS.items() if other in (None, backend)]
        raise ValueError(
            f"distribute={kind!r} is for the {needed} backend, and this is {backend}, which has {', '.join(here)}; "
            f"set KERAS_BACKEND for one of {', '.join(allowed)}"
        )


def replica() -> tuple[int, int]:
    """Returns (number, count) of the replica whose part of the batch a training step is traced for."""
    if keras.backend.backend() != "tensorflow":
        return 0, 1
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context.replica_id_in_sync_group, context.num_replicas_in_sync
