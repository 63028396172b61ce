"""The plain network of the benchmarks on jax is the same network, with the same training step."""

import keras
import numpy as np
import pytest

pytestmark = [
    pytest.mark.usefixtures("tiny"),
    pytest.mark.any_backend,
    pytest.mark.skipif(keras.backend.backend() != "jax", reason="it is written in jax"),
]


def test_a_step_is_that_of_the_library():
    import jax

    import bit_keras
    from benchmarks import plain_jax
    from bit_keras.rules import SGD

    random = np.random.default_rng(0)
    model = bit_keras.BiT("tiny", 3)
    model.set_weights([weight + 0.1 * random.standard_normal(weight.shape) for weight in model.get_weights()])
    model.compile(SGD(0.1, momentum=0.9), keras.losses.CategoricalCrossentropy(from_logits=True))
    images = random.uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[[0, 2]]
    weights = plain_jax.weights_of(model)
    logits = plain_jax.logits(weights, jax.numpy.asarray(images), model.variant)
    np.testing.assert_allclose(logits, model(images), rtol=0, atol=1e-4)

    velocities = jax.tree.map(jax.numpy.zeros_like, weights)
    step = plain_jax.train_step(model.variant, 0.1, 0.9)
    for _ in range(2):
        weights, velocities, loss = step(weights, velocities, images, labels)
        assert float(model.train_on_batch(images, labels)) == pytest.approx(float(loss), rel=1e-4)
    for name, expected in plain_jax.weights_of(model).items():
        for a, b in zip(weights[name], expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
