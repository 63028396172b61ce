"""Runs `bit_keras.finetune` in forks of itself, which import nothing again, on devices that variables define.

Reads a line of JSON per group of processes that run at the same time: [{"variables": {name: value}, "runs": [...]}].
A run holds settings, "data", a file of train_images, train_labels, test_images and test_labels, and, if it is to be
interrupted, "signal_at", the step after which the process receives SIGTERM. The variable LOGICAL_CPUS is the number of
TensorFlow's CPU devices. Answers with a line of JSON: [exit status, standard output, standard error] per process.
"""

import gc
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import jax
import keras
import numpy as np
import tensorflow as tf
import tiny  # noqa: F401  adds the variant

import bit_keras
from bit_keras import data, training
from bit_keras.distribution import DistributionError
from bit_keras.finetune import finetuner  # noqa: F401  imports what a run needs; nothing is computed before the fork

SECONDS = 300  # timeout for processes that hang


class Terminate(training.MetricsLog):
    """Replaces the log, which is a callback of every run, to raise the signal."""

    at = None

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.at:
            signal.raise_signal(signal.SIGTERM)


def main() -> None:
    gc.collect()
    gc.freeze()  # the imported modules are no garbage, and stay shared with the forks
    for line in sys.stdin:
        print(json.dumps(together(json.loads(line))), flush=True)


def together(processes: list[dict]) -> list[tuple[int | None, str, str]]:
    fork = multiprocessing.get_context("fork").Process
    with tempfile.TemporaryDirectory() as folder:
        outputs = [Path(folder, str(index)) for index in range(len(processes))]
        children = [fork(target=one, args=(path,), kwargs=each) for path, each in zip(outputs, processes, strict=True)]
        for child in children:
            child.start()
        deadline = time.monotonic() + SECONDS
        for child in children:
            child.join(max(1, deadline - time.monotonic()))
        statuses = [child.exitcode for child in children]  # None: it hangs
        for child in children:
            child.kill()
            child.join()
        return [
            (status, *(path.with_suffix(name).read_text() for name in (".out", ".err")))
            for status, path in zip(statuses, outputs, strict=True)
        ]


def one(output: Path, variables: dict[str, str], runs: list[dict]) -> None:
    for descriptor, name in ((1, ".out"), (2, ".err")):
        with open(output.with_suffix(name), "w") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.update(variables)
    if keras.backend.backend() == "tensorflow":
        cpus = [tf.config.LogicalDeviceConfiguration()] * int(os.environ.get("LOGICAL_CPUS", "1"))
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], cpus)
    training.MetricsLog = Terminate
    for run in runs:
        Terminate.at = run.pop("signal_at", None)
        try:
            result = bit_keras.finetune(dataset=source(run.pop("data")), verbose=False, **run)
        except training.TrainingInterrupted as interruption:
            print(interruption, flush=True)
            continue
        except (ValueError, OSError, DistributionError) as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            continue
        logits = result.model.predict_on_batch(np.ones((3, 8, 8, 3), "float32"))  # a model on one device
        print(json.dumps({"test_accuracy": result.test_accuracy, "shape": np.shape(logits)}), flush=True)
    if keras.backend.backend() == "jax" and jax.distributed.is_initialized():
        jax.distributed.shutdown()  # waits for the other processes, as at the end of a program, not of a fork


def source(file: str) -> data.Source:
    with np.load(file) as archive:
        return data.from_arrays(
            *(archive[f"{split}_{what}"] for split in ("train", "test") for what in ("images", "labels"))
        )


if __name__ == "__main__":
    main()
