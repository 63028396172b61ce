import csv

import keras
import numpy as np
import pytest

from bit_keras import BiT, data
from bit_keras.distill import DistillConfig, Distiller, distill
from bit_keras.rules import MixUp
from bit_keras.rules.schedules import CosineSchedule

pytestmark = pytest.mark.usefixtures("tiny")


def _linear(kernel) -> keras.Model:
    model = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(4, use_bias=False)])
    model.set_weights([np.asarray(kernel, "float32")])
    return model


def _softmax(x):
    x = np.exp(x - x.max(axis=-1, keepdims=True))
    return x / x.sum(axis=-1, keepdims=True)


@pytest.fixture
def kernels():
    return np.random.default_rng(0).normal(size=(2, 12, 4))


@pytest.mark.any_backend
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_the_loss_is_the_divergence_in_numpy(kernels, temperature):
    images = np.random.default_rng(1).normal(size=(5, 2, 2, 3)).astype("float32")
    distiller = Distiller(_linear(kernels[0]), _linear(kernels[1]), temperature)
    distiller.compile(keras.optimizers.SGD(0.1))
    p, q = (_softmax(images.reshape(5, 12) @ kernel / temperature) for kernel in (kernels[1], kernels[0]))
    expected = np.mean(np.sum(p * np.log(p / q), axis=-1)) * temperature**2
    loss = distiller.evaluate(images, np.eye(4, dtype="float32")[[0, 1, 2, 3, 0]], verbose=0)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.any_backend
def test_without_a_teacher_the_loss_is_the_cross_entropy_of_the_labels(kernels):
    images = np.random.default_rng(1).normal(size=(5, 2, 2, 3)).astype("float32")
    targets = np.random.default_rng(2).dirichlet(np.ones(4), 5).astype("float32")  # as MixUp makes them
    distiller = Distiller(_linear(kernels[0]), None)
    distiller.compile(keras.optimizers.SGD(0.1))
    expected = -np.mean(np.sum(targets * np.log(_softmax(images.reshape(5, 12) @ kernels[0])), axis=-1))
    assert float(distiller.evaluate(images, targets, verbose=0)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.any_backend
def test_the_student_comes_to_say_what_the_teacher_says_of_mixed_images(kernels):
    images = np.random.default_rng(1).normal(size=(64, 2, 2, 3)).astype("float32")
    labels = np.eye(4, dtype="float32")[np.zeros(64, int)]  # not used by the loss
    student, teacher = _linear(kernels[0]), _linear(kernels[1])
    distiller = Distiller(student, teacher)
    distiller.compile(keras.optimizers.Adam(0.1))
    distiller.fit(images, labels, batch_size=64, epochs=60, callbacks=[MixUp(1.0)], verbose=0)
    np.testing.assert_array_equal(teacher.get_weights()[0], kernels[1].astype("float32"))
    target, predicted = (_softmax(np.asarray(keras.ops.convert_to_numpy(m(images)))) for m in (teacher, student))
    assert np.abs(target - predicted).max() < 0.1


def test_refuses_other_classes_and_temperatures(kernels):
    with pytest.raises(ValueError, match="same classes, got 4 and 5"):
        Distiller(BiT("tiny", 5), _linear(kernels[0]))
    with pytest.raises(ValueError, match="temperature must be more than 0, got 0"):
        Distiller(_linear(kernels[0]), _linear(kernels[1]), 0)


@pytest.mark.any_backend
def test_a_run_to_its_end(tiny_npz, tmp_path):
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (16, 8, 8, 3), np.uint8), np.arange(16) % 10
    source = data.from_arrays(images, labels, images, labels, class_names=list("0123456789"))
    settings = {"batch_size": 8, "resolution": 16, "epochs": 3, "eval_every": 3}
    result = distill("tiny", str(tiny_npz), source, tmp_path / "run", **settings)
    with open(tmp_path / "run" / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["step"]) for row in rows] == [3, 6]
    record = CosineSchedule(0.001, 1, 6)
    assert [float(row["learning_rate"]) for row in rows] == [record.learning_rate(2), record.learning_rate(5)]
    again = BiT.from_preset(tmp_path / "run" / "weights.npz")  # only the student's weights
    batch = random.uniform(-1, 1, (2, 16, 16, 3)).astype("float32")
    expected = result.student.predict_on_batch(batch)
    np.testing.assert_allclose(again.predict_on_batch(batch), expected, atol=1e-5)
    assert np.abs(expected).max() > 0  # the head was initialized with zeros
    with pytest.raises(FileExistsError, match="temperature"):
        distill("tiny", str(tiny_npz), source, tmp_path / "run", **settings, temperature=2.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": ""}, "teacher must be given"),
        ({"temperature": 0}, "temperature must be more than 0, got 0"),
        ({"epochs": -1}, "epochs must be more than 0, got -1"),
        ({"mixup_alpha": -1}, "mixup_alpha must be 0 or more, got -1"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        DistillConfig(**{"model": "tiny", "teacher": "t.npz", "dataset": "digits", "workdir": "w", **change})
