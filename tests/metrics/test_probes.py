"""Probes: the least-squares probe compared with its definition, whose gradient must vanish."""

import numpy as np
import pytest

from bit_keras.metrics.probes import least_squares, ridge


@pytest.mark.parametrize(("count", "dimension"), [(40, 6), (12, 30)], ids=["many examples", "many features"])
def test_least_squares_minimizes_its_definition(count, dimension):
    random = np.random.default_rng(0)
    features = random.normal(2, 3, (count, dimension))
    features[:, 0] = 5  # a constant feature: its deviation is only the smallest one
    labels = random.integers(0, 3, count)
    probe = least_squares(features, labels, 3)

    # The definition: sum of squared errors of targets in {-1, 1}, plus 1024 times the squared weights, bias included.
    deviation = features.std(axis=0) + 1e-5
    x = np.column_stack([(features - features.mean(axis=0)) / deviation, np.full(count, 100.0)])
    targets = np.where(np.arange(3) == labels[:, None], 1.0, -1.0)
    gradient = x.T @ (x @ probe.weights - targets) + 1024 * probe.weights
    np.testing.assert_allclose(gradient, 0, atol=1e-7)
    np.testing.assert_allclose(probe.predict(features), x @ probe.weights)

    new = random.normal(2, 3, (5, dimension))
    scaled = np.column_stack([(new - features.mean(axis=0)) / deviation, np.full(5, 100.0)])
    np.testing.assert_allclose(probe.predict(new), scaled @ probe.weights)


def test_least_squares_separates_classes():
    random = np.random.default_rng(1)
    labels = np.arange(30) % 3
    features = np.eye(3)[labels] + random.normal(0, 0.1, (30, 3))
    assert (least_squares(features, labels, 3).predict(features).argmax(axis=1) == labels).all()


def test_the_penalty_of_ridge_regression_follows_the_scale_of_the_features():
    random = np.random.default_rng(0)
    labels = np.arange(30) % 3
    features = random.normal(size=(30, 5)) + 2 * np.eye(5)[labels]
    scores = ridge(features, labels, 3).predict(features)
    np.testing.assert_allclose(ridge(1_000 * features, labels, 3).predict(1_000 * features), scores, rtol=1e-6)
    assert (scores.argmax(axis=1) == labels).mean() > 0.9
