"""Sums over the devices that compute a batch together."""

import keras


def sum_over_devices(value):
    """Returns the sum of a tensor over the devices of tf.distribute, or the tensor if one program has the whole batch.

    One has it on a single device, and on jax, where `keras.distribution` divides a program over the devices.

    Args:
        value: a tensor of any shape that the calling step computes on its device. Gradients do not flow through the
            sum.

    Example:
        >>> from bit_keras.distribution import sum_over_devices
        >>> float(sum_over_devices(keras.ops.ones(())))  # 1 per device
        1.0
    """
    if keras.backend.backend() != "tensorflow":
        return value
    from bit_keras.distribution import engine_tf

    return engine_tf.sum_over_replicas(value)
