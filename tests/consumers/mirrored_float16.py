"""Trains in mixed_float16 on one device and on two: python mirrored_float16.py FILE.

Images of one step, on the second of two devices, are so large that its gradients overflow. Writes to the npz FILE, for
"one" and "two", after each of the steps: "one/STEP/weights", a flat array; "one/STEP/momentum"; "one/STEP/state", the
optimizer's number of updates, its loss scale, and its number of updates since that changed.
"""

import sys

import keras
import numpy as np
import tensorflow as tf
import tiny  # noqa: F401  adds the variant

from bit_keras import BiT
from bit_keras.distribution import start_distribution
from bit_keras.rules import SGD

STEPS, BATCH_SIZE, OVERFLOWS = 4, 8, 1  # the second step overflows


def train(kind: str) -> list[dict[str, np.ndarray]]:
    """Returns what is written after each step."""
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (STEPS, BATCH_SIZE, 32, 32, 3)).astype("float32")
    images[OVERFLOWS, BATCH_SIZE // 2 :] *= 1e6
    labels = np.eye(3, dtype="float32")[random.integers(3, size=(STEPS, BATCH_SIZE))]
    distribution, found = start_distribution(kind), []
    with distribution.scope():
        keras.utils.set_random_seed(0)
        model = BiT("tiny", 3, dtype="mixed_float16")
        model.compile(SGD(0.01, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    for batch in zip(images, labels):

        def make(shard, batch=batch):
            return tf.data.Dataset.from_tensors(batch)

        with distribution.scope():
            batches = make((0, 1)) if kind == "none" else distribution.feed(make, BATCH_SIZE)
            model.fit(batches, steps_per_epoch=1, verbose=0)
        optimizer = model.optimizer
        scaling = optimizer.inner_optimizer.iterations, optimizer.dynamic_scale, optimizer.step_counter
        found.append(
            {
                "weights": flat(model.trainable_variables),
                "momentum": flat(optimizer.inner_optimizer.momentums),
                "state": np.array([float(keras.ops.convert_to_numpy(value)) for value in scaling]),
            }
        )
    return found


def flat(variables) -> np.ndarray:
    return np.concatenate([keras.ops.convert_to_numpy(variable).ravel() for variable in variables])


if __name__ == "__main__":
    cpus = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
    runs = {"one": train("none"), "two": train("mirrored")}
    arrays = {f"{run}/{k}/{name}": a for run in runs for k, step in enumerate(runs[run]) for name, a in step.items()}
    np.savez(sys.argv[1], **arrays)
