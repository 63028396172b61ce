"""Records what becomes of TensorFlow's GPUs before its first use: python tensorflow_first_use.py WEIGHTS RECORDS TFDS.

Each case runs in a fork of its own. Prints {case: [hidings, whether TensorFlow has been used]} as JSON; a hiding is the
arguments of `tf.config.set_visible_devices`, and whether TensorFlow had been used before.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras  # noqa: F401  the slow imports, once
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds  # noqa: F401
import tiny  # noqa: F401  adds the variant
from tensorflow.python.eager import context

import bit_keras


def train(weights: str, records: str, tfds_dir: str) -> None:
    from bit_keras import data

    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2
    source = data.from_arrays(images, labels, images, labels)
    next(iter(data.train_batches(source, batch_size=2, resize=8, crop=8, seed=0, loader="tf.data")))


def evaluate_records(weights: str, records: str, tfds_dir: str) -> None:
    from bit_keras.evaluate.evaluator import evaluate

    evaluate(weights, records, resolution=16, batch_size=11, verbose=False)


def predict(weights: str, records: str, tfds_dir: str) -> None:
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "black.png")
        Image.new("RGB", (16, 16)).save(path)
        bit_keras.predict(weights, path, resolution=16, verbose=False)


def read_records(weights: str, records: str, tfds_dir: str) -> None:
    from bit_keras import data

    data.load(records, verbose=False)


def read_tfds(weights: str, records: str, tfds_dir: str) -> None:
    from bit_keras import data

    source = data.load("numbered/fixed", data_dir=tfds_dir, verbose=False)
    next(iter(data.test_batches(source, batch_size=2, crop=8)))


def record(case: Callable, arguments: list[str]) -> list:
    """Returns what a case does, which a fork of this process runs."""
    with tempfile.TemporaryFile("w+") as answer:
        if not (child := os.fork()):
            hidings, hide = [], tf.config.set_visible_devices

            def spy(*devices):
                hidings.append([*devices, context.context()._initialized])
                hide(*devices)

            tf.config.set_visible_devices = spy
            case(*arguments)
            json.dump([hidings, context.context()._initialized], answer)
            answer.flush()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            raise RuntimeError(f"{case.__name__} failed")
        answer.seek(0)
        return json.load(answer)


if __name__ == "__main__":
    cases = (train, evaluate_records, predict, read_records, read_tfds)
    print(json.dumps({case.__name__: record(case, sys.argv[1:]) for case in cases}))
