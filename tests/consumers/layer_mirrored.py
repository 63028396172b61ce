"""Trains a SavedModelLayer on two logical CPU devices: python layer_mirrored.py SAVED_MODEL DATA.npz.

DATA.npz contains "inputs" and "targets". Prints the trained kernel as JSON.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

import bit_keras.saved_models.layer


def train(saved_model: str, data_file: str) -> dict:
    with np.load(data_file) as archive:
        inputs, targets = archive["inputs"], archive["targets"]
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        layer = bit_keras.saved_models.layer.SavedModelLayer(saved_model)
        model = keras.Sequential([keras.Input(inputs.shape[1:]), layer])
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.fit(inputs, targets, batch_size=len(inputs), epochs=3, shuffle=False, verbose=0)
    return {"replicas": strategy.num_replicas_in_sync, "kernel": layer.trainable_weights[0].numpy().tolist()}


if __name__ == "__main__":
    print(json.dumps(train(*sys.argv[1:])))
