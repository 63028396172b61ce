"""Metrics compared with scikit-learn, with loops and with numbers computed by hand."""

import numpy as np
import pytest
from sklearn.metrics import (
    balanced_accuracy_score,
    precision_score,
    recall_score,
    top_k_accuracy_score,
)

from bit_keras.metrics import classification

K = 7


@pytest.fixture
def logits():
    return np.random.default_rng(0).normal(0, 3, (200, K)).astype("float32")


@pytest.fixture
def labels(logits):
    """Logits that are correct for about half of the examples; the last class has no examples."""
    random = np.random.default_rng(1)
    return np.where(random.uniform(size=200) < 0.5, logits[:, :-1].argmax(axis=1), random.integers(0, K - 1, 200))


def softmax(logits):
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 5, K])
def test_top_classes_and_their_accuracy(logits, labels, k):
    classes, probabilities = classification.top_classes(logits, k)
    expected = softmax(logits)
    np.testing.assert_array_equal(classes, np.argsort(-expected, axis=1)[:, :k])
    np.testing.assert_allclose(probabilities, -np.sort(-expected, axis=1)[:, :k], rtol=1e-6)
    accuracy = classification.is_true(np.eye(K)[labels], classes).any(axis=1).mean()
    reference = top_k_accuracy_score(labels, logits, k=k, labels=range(K)) if k < K else 1
    assert accuracy == pytest.approx(reference, abs=1e-12)


def test_equal_logits_keep_the_order_of_the_classes():
    classes, probabilities = classification.top_classes(np.zeros((2, 5), "float32"), 3)
    np.testing.assert_array_equal(classes, [[0, 1, 2]] * 2)
    np.testing.assert_allclose(probabilities, 0.2)


def test_large_logits_stay_finite():
    np.testing.assert_allclose(classification.top_classes(np.array([[1000, 0]], "float32"), 2)[1], [[1, 0]])


@pytest.mark.parametrize("values", [1_000_000, 5], ids=["distinct", "with ties"])
def test_the_largest_of_many_classes(values):
    logits = np.random.default_rng(2).integers(0, values, (20, 300)).astype("float32")
    logits[::3, 7:] = np.nan  # their order is not defined, but they must not cost the other rows
    classes, _ = classification.top_classes(logits, 5)
    assert classes.shape == (20, 5)
    finite = np.isfinite(logits).all(axis=1)
    np.testing.assert_array_equal(classes[finite], np.argsort(-logits, axis=1, kind="stable")[finite, :5])


def test_per_class(logits, labels):
    classes = logits.argmax(axis=1)
    classes[classes == 2] = 3  # class 2 is never predicted
    rows = classification.per_class(labels, classes, list("abcdefg"))
    options = {"labels": range(K), "average": None, "zero_division": np.nan}
    for name, reference in (("recall", recall_score), ("precision", precision_score)):
        found = [np.nan if row[name] is None else row[name] for row in rows]
        np.testing.assert_allclose(found, reference(labels, classes, **options))
    assert [row["class"] for row in rows] == list("abcdefg")
    assert [row["examples"] for row in rows] == [np.sum(labels == k) for k in range(K)]
    assert rows[6]["recall"] is None
    assert rows[2]["precision"] is None

    seen = classes != 6  # scikit-learn warns about a class that is predicted and has no examples
    rows = classification.per_class(labels[seen], classes[seen], list("abcdefg"))
    expected = balanced_accuracy_score(labels[seen], classes[seen])
    assert classification.mean_per_class_accuracy(rows) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Two bins of two examples: (0, 0.5] has confidences 0.4, 0.5 and 1 correct, (0.5, 1] has 0.7, 0.9 and 2 correct.
    confidences, is_right = np.array([0.4, 0.7, 0.5, 0.9]), np.array([True, True, False, True])
    expected = 2 / 4 * abs(1 / 2 - 0.45) + 2 / 4 * abs(2 / 2 - 0.8)
    assert classification.expected_calibration_error(confidences, is_right, num_bins=2) == pytest.approx(expected)


def test_certain_and_right_is_calibrated():
    assert classification.expected_calibration_error(np.ones(4), np.ones(4, bool)) == 0
    assert classification.expected_calibration_error(np.ones(4), np.zeros(4, bool)) == 1


def test_calibration_error_against_a_loop(logits, labels):
    probabilities = softmax(logits)
    confidences, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    expected = 0
    for m in range(15):
        inside = [i for i in range(200) if m / 15 < confidences[i] <= (m + 1) / 15]
        if inside:
            gap = sum(is_right[i] for i in inside) / len(inside) - sum(confidences[i] for i in inside) / len(inside)
            expected += len(inside) / 200 * abs(gap)
    assert expected > 0.05
    assert classification.expected_calibration_error(confidences, is_right) == pytest.approx(expected)
