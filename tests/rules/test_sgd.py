"""The optimizer makes the same updates as Keras's own, in every context."""

import keras
import numpy as np
import pytest

from bit_keras.rules import SGD

pytestmark = pytest.mark.any_backend


def _fit(optimizer: keras.optimizers.Optimizer) -> list[np.ndarray]:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, activation="relu"), keras.layers.Dense(3)])
    model.compile(optimizer, "mse")
    random = np.random.default_rng(0)
    x, y = (random.normal(size=(48, size)).astype("float32") for size in (5, 3))
    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    state = [*model.trainable_variables, *optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in state]


@pytest.mark.parametrize(
    "options",
    [
        {"momentum": 0.9},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.0},
        {"momentum": 0.5, "gradient_accumulation_steps": 3},
        {"momentum": 0.5, "global_clipnorm": 0.1},
        {"momentum": 0.5, "weight_decay": 0.01},
    ],
    ids=str,
)
def test_updates_are_those_of_keras(options):
    expected, received = (_fit(cls(learning_rate=0.05, **options)) for cls in (keras.optimizers.SGD, SGD))
    for a, b in zip(expected, received, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6 * max(1, np.abs(a).max()))


def test_a_configuration_makes_a_round_trip():
    optimizer = SGD(learning_rate=0.05, momentum=0.5, nesterov=True)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
