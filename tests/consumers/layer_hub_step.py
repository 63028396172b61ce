"""One step of SGD through hub.KerasLayer in tf_keras: python layer_hub_step.py SAVED_MODEL DATA.npz STEP.npz.

DATA.npz contains "images" and "labels" [N]. Writes "loss" and the weights after the step, "weight_0" and so on, to
STEP.npz.
"""

import json
import sys

import numpy as np
import tensorflow_hub as hub
import tf_keras


def step(saved_model: str, data_file: str, step_file: str) -> dict:
    with np.load(data_file) as archive:
        images, labels = archive["images"], archive["labels"]
    layer = hub.KerasLayer(saved_model, trainable=True)
    model = tf_keras.Sequential([tf_keras.Input((None, None, 3)), layer])
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.SGD(0.1), loss)
    loss = model.train_on_batch(images, labels)
    np.savez(step_file, loss=loss, **{f"weight_{k}": weight.numpy() for k, weight in enumerate(layer.weights)})
    return {"loss": float(loss)}


if __name__ == "__main__":
    print(json.dumps(step(*sys.argv[1:])))
