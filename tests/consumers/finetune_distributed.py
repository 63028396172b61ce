"""Runs `bit_keras.finetune` several times, on the devices that the environment variables define.

    python finetune_distributed.py DATA.npz RUN...

DATA.npz holds train_images, train_labels, test_images and test_labels. A RUN is JSON: settings and, for a run to
be interrupted, "signal_at", the step after which this process receives SIGTERM. LOGICAL_CPUS is the number of
TensorFlow's CPU devices.
"""

import json
import os
import signal
import sys

import keras
import numpy as np

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    cpus = [tf.config.LogicalDeviceConfiguration()] * int(os.environ.get("LOGICAL_CPUS", "1"))
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)

import bit_keras
from bit_keras import data, training
from bit_keras.distribution import DistributionError


class Terminate(training.MetricsLog):
    """Replaces the log, which is a callback of every run, to raise the signal."""

    at = None

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.at:
            signal.raise_signal(signal.SIGTERM)


def main(data_file: str, *runs: str) -> None:
    with np.load(data_file) as archive:
        images, labels, test_images, test_labels = (
            archive[f"{split}_{what}"] for split in ("train", "test") for what in ("images", "labels")
        )
    source = data.from_arrays(images, labels, test_images, test_labels)
    training.MetricsLog = Terminate
    for run in map(json.loads, runs):
        Terminate.at = run.pop("signal_at", None)
        try:
            result = bit_keras.finetune(dataset=source, verbose=False, **run)
        except training.TrainingInterrupted as interruption:
            print(interruption, flush=True)
            continue
        except (ValueError, OSError, DistributionError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            continue
        logits = result.model.predict_on_batch(np.ones((3, 8, 8, 3), "float32"))  # a model on one device
        print(json.dumps({"test_accuracy": result.test_accuracy, "shape": np.shape(logits)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
