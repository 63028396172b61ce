"""The losses, compared with torchvision, torch and NumPy."""

import keras
import numpy as np
import pytest

from bit_keras.detection.network.losses import detection_losses, focal_loss, huber_loss
from bit_keras.detection.network.matching import Targets
from tests import torchvision_operators  # noqa: F401  before torchvision

pytestmark = pytest.mark.any_backend

LOGITS = np.array([-1e4, -200, -20, -4.6, -1, 0, 0.3, 5, 40, 1e4], "float32")


def _numpy(value) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


@pytest.mark.parametrize("is_class", [True, False])
def test_the_focal_loss_is_that_of_torchvision(is_class):
    import torch
    from torchvision.ops import sigmoid_focal_loss

    target = np.full(LOGITS.shape, is_class)
    received = _numpy(focal_loss(keras.ops.convert_to_tensor(LOGITS), keras.ops.convert_to_tensor(target)))
    reference = torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(target, dtype=torch.float64)
    expected = sigmoid_focal_loss(*reference, alpha=0.25, gamma=2).numpy()
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-30)
    assert received.dtype == "float32"


def test_sure_errors_have_a_gradient_and_sure_hits_have_none():
    wrong, right = (_slope(_of_class, logit) for logit in (-60.0, 60.0))
    np.testing.assert_allclose([wrong, right], [-0.25, 0], atol=1e-6)  # alpha * softplus is linear there
    assert np.isfinite([_slope(_of_class, logit) for logit in (-1e4, 0.0, 1e4)]).all()


def _of_class(logit):
    return focal_loss(logit, keras.ops.ones_like(logit) > 0)


def _slope(function, at: float) -> float:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return float(jax.grad(lambda x: function(x))(at))
    if backend == "tensorflow":
        import tensorflow as tf

        x = tf.constant(at)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = function(x)
        return float(tape.gradient(loss, x))
    import torch

    x = torch.tensor(at, requires_grad=True)
    function(x).backward()
    return float(x.grad)


def test_the_huber_loss_is_that_of_torch():
    import torch

    errors = np.array([-3, -0.1, -0.05, 0, 0.02, 0.1, 0.11, 5], "float32")
    expected = torch.nn.functional.huber_loss(torch.tensor(errors), torch.zeros(8), reduction="none", delta=0.1)
    np.testing.assert_allclose(_numpy(huber_loss(keras.ops.convert_to_tensor(errors))), expected.numpy(), rtol=1e-5)


def _random(images: int = 2, anchors: int = 6, classes: int = 3):
    random = np.random.default_rng(0)
    outputs = {
        "class": random.normal(-2, 2, (images, anchors, classes)).astype("float32"),
        "box": random.normal(0, 0.2, (images, anchors, 4)).astype("float32"),
    }
    deltas = random.normal(0, 0.2, (images, anchors, 4)).astype("float32")
    return outputs, deltas


def _losses(outputs, classes, deltas) -> list[float]:
    outputs = {name: keras.ops.convert_to_tensor(value) for name, value in outputs.items()}
    targets = Targets(keras.ops.convert_to_tensor(np.array(classes, "int32")), keras.ops.convert_to_tensor(deltas))
    losses = detection_losses
    if keras.backend.backend() == "jax":  # where single operations take seconds
        import jax

        losses = jax.jit(losses)
    return [float(_numpy(value)) for value in losses(outputs, targets)]


def test_sums_are_divided_by_the_matched_anchors_plus_one():
    outputs, deltas = _random()
    classes = np.array([[2, -1, -2, 0, -1, -1], [-1, -1, -1, 1, -2, -1]])
    class_sum = box_sum = 0.0
    for (image, anchor), label in np.ndenumerate(classes):
        for k, logit in enumerate(outputs["class"][image, anchor].astype("float64")):
            p = 1 / (1 + np.exp(-logit))
            if label != -2:
                class_sum += -0.25 * (1 - p) ** 2 * np.log(p) if k == label else -0.75 * p**2 * np.log(1 - p)
        if label >= 0:
            for error in (outputs["box"] - deltas)[image, anchor].astype("float64"):
                small = abs(error) <= 0.1
                box_sum += error**2 / 2 if small else 0.1 * (abs(error) - 0.05)
    expected = [class_sum / 4, 50 * box_sum / 16, 3]
    np.testing.assert_allclose(_losses(outputs, classes, deltas), expected, rtol=1e-5)


def test_a_batch_without_boxes_teaches_background():
    outputs, deltas = _random()
    class_loss, box_loss, count = _losses(outputs, np.full((2, 6), -1), deltas)
    p = 1 / (1 + np.exp(-outputs["class"].astype("float64")))
    np.testing.assert_allclose(class_loss, (-0.75 * p**2 * np.log(1 - p)).sum(), rtol=1e-5)
    assert (box_loss, count) == (0, 0)


def test_what_is_ignored_counts_nowhere():
    outputs, deltas = _random()
    assert _losses(outputs, np.full((2, 6), -2), deltas) == [0, 0, 0]
