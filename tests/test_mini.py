"""The bundled weights."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.checkpoints import locate, read_npz
from bit_keras.metrics.probes import ridge

NAME = "BiT-mini-R17x0.5"


def _features(model, split) -> np.ndarray:
    images = np.kron(split.images, np.ones((1, 4, 4, 1))) / 127.5 - 1  # [N, 32, 32, 3]
    return np.asarray(model.backbone.predict(images, batch_size=128, verbose=0))


def test_the_file():
    path, variant = locate(NAME)
    assert variant == "R17x0.5"
    assert path.stat().st_size < 8e6
    assert hashlib.sha256(path.read_bytes()).hexdigest() == bit_keras.zoo.presets.PRESETS[NAME].files[0].sha256
    assert {array.dtype for array in read_npz(path).values()} == {np.dtype("float16")}
    for ending in ("md", "csv", "txt"):
        assert path.with_name(f"{NAME}.{ending}").is_file()


def test_the_page_gives_the_accuracy_of_the_log():
    path = Path(bit_keras.__file__).parent / "weights" / f"{NAME}.csv"
    with open(path, newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert f"test accuracy of {float(last['val_accuracy']):.4f} on" in path.with_suffix(".md").read_text()


def test_no_class_is_one_of_the_downstream_tasks():
    from pretraining import clipart, downstream, fashion, letters

    classes = [*fashion.CLASSES, *letters.CLASSES, *clipart.CLASSES]
    assert len(classes) == bit_keras.zoo.presets.PRESETS[NAME].num_classes
    assert (
        tuple(classes) == bit_keras.zoo.presets.PRESETS[NAME].class_names == bit_keras.BiT.from_preset(NAME).class_names
    )
    assert not set(classes) & {*downstream.KINDS, *"0123456789"}


@pytest.mark.any_backend
def test_its_features_separate_digits_better_than_random_ones():
    digits = data.load("digits")
    few = digits.few_shot(5, seed=0)
    accuracies = {}
    for model in (bit_keras.BiT.from_preset(NAME), bit_keras.BiT("R17x0.5", 10)):
        train, test = (_features(model, split) for split in (few.train, digits.test))
        predicted = ridge(train, few.train.labels, 10).predict(test).argmax(axis=-1)
        accuracies[model.num_classes] = np.mean(predicted == digits.test.labels)
    assert accuracies[360] > 0.8
    assert accuracies[360] > accuracies[10] + 0.1
