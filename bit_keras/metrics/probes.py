"""Linear classifiers on fixed features: two closed forms that the field uses."""

import dataclasses

import numpy as np

from bit_keras.system.optional import require

_L2 = 2.0**10  # penalty of the sum of squared weights
_CONSTANT = 100.0  # value of the feature whose weight is the bias, so large that the bias is hardly penalized
_EPSILON = 1e-5  # added to standard deviations


def ridge(features: np.ndarray, labels: np.ndarray, num_classes: int):
    """Fits one-hot labels by ridge regression, with the L2 penalty that has the smallest leave-one-out error.

    Args:
        features: [N, D].
        labels: integers [N] in [0, num_classes).
        num_classes: K.

    Returns:
        An object whose `predict` maps features [M, D] to scores [M, K].

    Raises:
        ImportError: scikit-learn is not installed.
    """
    require("a linear probe", "sklearn")
    from sklearn.linear_model import RidgeCV

    variance = max(float(np.mean(np.var(features, axis=0, dtype=np.float64))), np.finfo(np.float32).tiny)
    penalties = len(features) * features.shape[1] * variance * 10.0 ** np.arange(-6, 3)  # for a sum of squared errors
    return RidgeCV(penalties).fit(features.astype(np.float64), np.eye(num_classes)[labels])


@dataclasses.dataclass(frozen=True)
class LeastSquares:
    """A linear classifier on whitened features, made by `least_squares`.

    Attributes:
        mean, deviation: of the training features, [D], which whiten all features.
        weights: [D + 1, K]; the last row is for the constant feature.
    """

    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Returns the scores [M, K] of features [M, D]."""
        return _extended((features - self.mean) / self.deviation) @ self.weights


def least_squares(features: np.ndarray, labels: np.ndarray, num_classes: int) -> LeastSquares:
    """Fits labels in {-1, 1} by least squares with a fixed L2 penalty of 1024 on whitened features.

    Source: google-research/big_vision, `big_vision/evaluators/fewshot_lsr.py` and `configs/common_fewshot.py`, in
    float64 instead of float32.

    Args:
        features: [N, D].
        labels: integers [N] in [0, num_classes).
        num_classes: K.
    """
    features = np.asarray(features, np.float64)
    mean, deviation = features.mean(axis=0), features.std(axis=0) + _EPSILON
    x = _extended((features - mean) / deviation)  # [N, D + 1]
    targets = 2 * np.eye(num_classes)[labels] - 1
    if len(x) >= x.shape[1]:
        weights = np.linalg.solve(x.T @ x + _L2 * np.eye(x.shape[1]), x.T @ targets)
    else:  # the same weights from a smaller system
        weights = x.T @ np.linalg.solve(x @ x.T + _L2 * np.eye(len(x)), targets)
    return LeastSquares(mean, deviation, weights)


def _extended(features: np.ndarray) -> np.ndarray:
    return np.concatenate([features, np.full((len(features), 1), _CONSTANT)], axis=1)
