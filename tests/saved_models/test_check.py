"""How outputs are compared; SavedModels that fail the check are tested with their writers."""

import numpy as np

from bit_keras.saved_models.check import relative_difference


def test_relative_difference():
    expected = np.array([1.0, -4.0])
    assert relative_difference(expected, np.array([1.0, -4.0])) == 0
    assert relative_difference(expected, np.array([2.0, -4.0])) == 0.25
    assert relative_difference(expected, np.array([np.nan, -4.0])) == float("inf")
    assert relative_difference(expected, np.array([[1.0, -4.0]])) == float("inf")
    assert relative_difference(np.zeros(2), np.zeros(2)) == 0
    assert isinstance(relative_difference(np.zeros(2), np.zeros(2)), float)  # for JSON
