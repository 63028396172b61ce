"""Mixes a batch on two devices: python mixup_devices.py ALPHA SEED STEP.

The batch has 8 images of 8 classes, image i of class i. Prints two arrays of mixed labels [8, 8] as JSON: on tensorflow
those of two replicas that each have this batch, on jax those of the sharded batch and those of the batch on one device.
"""

import json
import sys
import types

import keras
import numpy as np

from bit_keras.distribution import start_distribution
from bit_keras.rules import MixUp

IMAGES, LABELS = np.ones((8, 2, 2, 3), np.float32), np.eye(8, dtype=np.float32)


def on_replicas(mixup: MixUp, step: int) -> list:
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    with start_distribution("mirrored").scope():
        optimizer = keras.optimizers.SGD(0.1)
        optimizer._iterations.assign(step)
        mixup.set_model(types.SimpleNamespace(optimizer=optimizer))
        strategy = tf.distribute.get_strategy()
        # As at the beginning of the wrapped training step.
        mixed = strategy.run(lambda: mixup.mix(tf.constant(IMAGES), tf.constant(LABELS), step=mixup._step())[1])
        return [labels.numpy().tolist() for labels in strategy.experimental_local_results(mixed)]


def sharded(mixup: MixUp, step: int) -> list:
    import jax

    with start_distribution("data_parallel").scope():
        layout = keras.distribution.distribution().get_data_layout
        batch = [jax.device_put(x, layout(x.shape).backend_layout) for x in (IMAGES, LABELS)]
    mix = jax.jit(lambda *batch: mixup.mix(*batch, step=step)[1])
    return [np.asarray(mix(*each)).tolist() for each in (batch, (IMAGES, LABELS))]


if __name__ == "__main__":
    alpha, seed, step = sys.argv[1:]
    devices = on_replicas if keras.backend.backend() == "tensorflow" else sharded
    print(json.dumps(devices(MixUp(float(alpha), int(seed)), int(step))))
