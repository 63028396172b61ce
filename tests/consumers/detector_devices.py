"""Prints the losses of a step of a detector and the sum of the changes of all weights, on one device and on two.

The images differ in their boxes, and the first has none. One layer has a regularizer.
"""

import json

import keras
import numpy as np
import tensorflow as tf

from bit_keras.detection import Detector
from bit_keras.zoo.variants import VARIANTS, Variant


def main() -> None:
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )
    VARIANTS["three_blocks"] = Variant("three_blocks", 0.5, (0, 1, 1, 1), 0)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    boxes = np.array([[[0] * 4] * 2, [[4, 8, 40, 44], [20, 10, 60, 62]]], "float32")
    labels = np.array([[-1, -1], [0, 1]], "int32")
    batches = tf.data.Dataset.from_tensors((images, {"boxes": boxes, "labels": labels}))
    for strategy in (tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
        with strategy.scope():
            keras.utils.set_random_seed(0)
            detector = Detector("three_blocks", 2, width=32, depth=1)
            detector.get_layer("class_head_prediction_conv2d").kernel.regularizer = keras.regularizers.L2(0.1)
            before = detector.get_weights()
            detector.compile(keras.optimizers.SGD(0.001))
            history = detector.fit(batches, verbose=0).history
        changes = [np.abs(new - old).sum() for new, old in zip(detector.get_weights(), before, strict=True)]
        losses = {name: values[0] for name, values in history.items()}
        print(json.dumps({**losses, "change": float(np.sum(changes))}), flush=True)


if __name__ == "__main__":
    main()
