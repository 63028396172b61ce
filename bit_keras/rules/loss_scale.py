"""Loss scaling with float16 on several devices of tf.distribute."""

import functools

import keras


def skip_on_all_devices(optimizer: keras.optimizers.Optimizer | None) -> None:
    """Makes an optimizer with loss scaling skip an update on all devices if the gradients of any of them overflow.

    Keras asks the first device alone, before gradients are summed over the devices: an overflow on another one would
    make all weights NaN.

    Args:
        optimizer: of a compiled model; one without loss scaling is left as it is.

    Example:
        >>> from bit_keras.rules import skip_on_all_devices
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        >>> model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
        >>> skip_on_all_devices(model.optimizer)  # before `fit`
    """
    is_scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    if is_scaled and keras.backend.backend() == "tensorflow" and "check_finite" not in vars(optimizer):
        optimizer.check_finite = functools.partial(_are_finite_everywhere, optimizer.check_finite)


def _are_finite_everywhere(are_finite, gradients):
    import tensorflow as tf

    finite, replica = are_finite(gradients), tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return finite
    return replica.all_reduce("sum", tf.cast(finite, "float32")) == replica.num_replicas_in_sync
