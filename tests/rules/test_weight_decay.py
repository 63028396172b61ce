import keras
import numpy as np
import pytest

from bit_keras.rules import SGDWithL2

pytestmark = pytest.mark.any_backend


def _model() -> keras.Model:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.set_weights([np.arange(6, dtype="float32").reshape(3, 2) / 10, np.array([0.5, -0.5], "float32")])
    return model


def _by_hand(x, y, steps, rate, momentum, l2):
    """SGD with momentum on the mean squared error and an L2 penalty on the kernel, in numpy."""
    kernel, bias = np.arange(6).reshape(3, 2) / 10, np.array([0.5, -0.5])
    velocities = [0.0, 0.0]
    for _ in range(steps):
        error = 2 * (x @ kernel + bias - y) / y.size
        gradients = [x.T @ error + l2 * kernel, error.sum(axis=0)]
        velocities = [momentum * v - rate * g for v, g in zip(velocities, gradients)]
        kernel, bias = kernel + velocities[0], bias + velocities[1]
    return kernel, bias


@pytest.mark.parametrize("accumulate", [1, 2])
def test_equals_an_l2_penalty_in_numpy(accumulate):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 3)).astype("float32"), random.normal(size=(8, 2)).astype("float32")
    model = _model()
    steps = accumulate if accumulate > 1 else None
    model.compile(SGDWithL2(0.1, momentum=0.9, l2=0.3, gradient_accumulation_steps=steps), "mse")
    model.fit(x, y, batch_size=8 // accumulate, epochs=4, shuffle=False, verbose=0)
    kernel, bias = _by_hand(x, y, 4, 0.1, 0.9, 0.3)
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-5, atol=1e-6)


def test_config_round_trip():
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(SGDWithL2(0.1, momentum=0.9, l2=0.3)))
    assert (copy.l2, copy.momentum) == (0.3, 0.9)


def test_refuses_a_negative_penalty():
    with pytest.raises(ValueError, match="l2 must be 0 or more, got -1"):
        SGDWithL2(l2=-1)
