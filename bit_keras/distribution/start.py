"""Starts the engine for training on several devices: tf.distribute or keras.distribution."""

import keras

from bit_keras.distribution.base import Distribution
from bit_keras.distribution.environment import read_jax_processes, read_tf_config
from bit_keras.system.checks import check_choice

# {kind: backend of its engine}
DISTRIBUTIONS = {
    "none": None,
    "mirrored": "tensorflow",
    "multi_worker": "tensorflow",
    "tpu": "tensorflow",
    "data_parallel": "jax",
}


def count_devices(kind: str) -> int | None:
    """Checks the settings of an engine and returns its number of devices without starting it; None for a TPU.

    Args:
        kind: of `DISTRIBUTIONS`.

    Raises:
        ValueError: the kind is unknown, the backend has no such engine, or its settings are missing or malformed.

    Example:
        >>> from bit_keras.distribution import count_devices
        >>> count_devices("none")
        1
        >>> count_devices("mirrored") >= 1  # GPUs, or 1 without any
        True
    """
    _check_backend(kind)
    if kind == "mirrored":
        from bit_keras.distribution import engine_tf

        return engine_tf.count_local_devices()
    if kind == "multi_worker":
        from bit_keras.distribution import engine_tf

        return len(read_tf_config()[0]) * engine_tf.count_local_devices(multi_worker=True)
    if kind == "data_parallel":
        import jax

        processes = read_jax_processes()  # each is assumed to have as many devices as this one
        return jax.device_count() if jax.distributed.is_initialized() else jax.local_device_count() * (processes or 1)
    return None if kind == "tpu" else 1


def has_other_workers(kind: str) -> bool:
    """Tells whether this process trains together with others, by their settings.

    Args:
        kind: of `DISTRIBUTIONS`.

    Raises:
        ValueError: the kind is unknown, or the settings of the processes are malformed.

    Example:
        >>> from bit_keras.distribution import has_other_workers
        >>> has_other_workers("mirrored"), has_other_workers("multi_worker")
        (False, True)
    """
    _check_kind(kind)
    if kind != "data_parallel":
        return kind == "multi_worker"
    import jax

    return jax.process_count() > 1 if jax.distributed.is_initialized() else (read_jax_processes() or 1) > 1


def mixup_parts(kind: str, num_devices: int | None) -> int:
    """Returns `Distribution.mixup_parts` of an engine that is not started; 1 if its devices are not known.

    Args:
        kind: of `DISTRIBUTIONS`.
        num_devices: as `count_devices` returns it.

    Raises:
        ValueError: the kind is unknown.

    Example:
        >>> from bit_keras.distribution import mixup_parts
        >>> mixup_parts("mirrored", 8), mixup_parts("data_parallel", 8)
        (8, 1)
    """
    _check_kind(kind)
    return num_devices or 1 if DISTRIBUTIONS[kind] == "tensorflow" else 1


def start_distribution(kind: str) -> Distribution:
    """Starts an engine; must be called before anything is computed. With several workers, waits for all of them.

    Args:
        kind: of `DISTRIBUTIONS`.

    Raises:
        ValueError: as `count_devices`.
        DistributionError: the engine cannot be started, or not any more, since something has been computed.

    Example:
        >>> from bit_keras.distribution import start_distribution
        >>> distribution = start_distribution("none")  # or "mirrored" on several GPUs
        >>> with distribution.scope():
        ...     model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> distribution.predictor(model).predict_on_batch(np.ones((3, 4))).shape  # any number of rows
        (3, 2)
    """
    _check_backend(kind)
    if kind == "none":
        return Distribution()
    if kind == "data_parallel":
        from bit_keras.distribution import engine_jax

        return engine_jax.DataParallel()
    from bit_keras.distribution import engine_tf

    is_chief = kind != "multi_worker" or read_tf_config()[1]
    return engine_tf.Strategy(kind, is_chief)


def check_batch(kind: str, num_devices: int, batch_size: int, accumulate: int = 1) -> None:
    """Checks that the devices can divide a batch equally.

    Args:
        kind: of `DISTRIBUTIONS`.
        num_devices: number of devices of all workers together, 1 or more.
        batch_size: images per update, 1 or more.
        accumulate: micro-batches per update, 1 or more.

    Raises:
        ValueError: the kind is unknown, only one device exists, the devices cannot divide a micro-batch equally, or
            the engine does not support accumulation.

    Example:
        >>> from bit_keras.distribution import check_batch
        >>> check_batch("data_parallel", num_devices=8, batch_size=512)
        >>> try:
        ...     check_batch("data_parallel", num_devices=6, batch_size=512)
        ... except ValueError as error:
        ...     print(error)
        6 devices must divide the batch equally, got batch_size 512
    """
    _check_kind(kind)
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
    micro_batch_size = batch_size // accumulate
    if micro_batch_size % num_devices:
        sizes = f"batch_size {batch_size}"
        if accumulate > 1:
            sizes += f" in {accumulate} micro-batches of {micro_batch_size}"
        raise ValueError(f"{num_devices} devices must divide the batch equally, got {sizes}")


def _check_kind(kind: str) -> None:
    check_choice("kind", kind, tuple(DISTRIBUTIONS))


def _check_backend(kind: str) -> None:
    _check_kind(kind)
    needed, backend = DISTRIBUTIONS[kind], keras.backend.backend()
    if needed not in (None, backend):
        allowed = [f"{name!r} ({other})" for name, other in DISTRIBUTIONS.items() if other]
        here = [repr(name) for name, other in DISTRIBUTIONS.items() if other in (None, backend)]
        raise ValueError(
            f"distribute={kind!r} is for the {needed} backend, and this is {backend}, which has {', '.join(here)}; "
            f"set KERAS_BACKEND for one of {', '.join(allowed)}"
        )
