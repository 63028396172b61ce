from types import SimpleNamespace

import keras
import numpy as np
import pytest

from bit_keras.metrics import Predictions, predict

pytestmark = pytest.mark.any_backend


def classifier():
    """A model whose logits are the three channels of the top left pixel."""
    images = keras.Input((2, 2, 3))
    return keras.Model(images, images[:, 0, 0, :])


def batches(sizes=(4, 4, 3)):
    random = np.random.default_rng(0)
    for size in sizes:
        yield random.uniform(-1, 1, (size, 2, 2, 3)).astype("float32"), np.eye(3)[random.integers(0, 3, size)]


def reference():
    images, labels = (np.concatenate(batch) for batch in zip(*batches()))
    logits = images[:, 0, 0].astype("float64")
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return images, labels.argmax(axis=1), logits, -np.log((probabilities * labels).sum(axis=1))


def test_counts_every_example_once():
    images, labels, logits, losses = reference()
    found = predict(classifier(), batches())
    np.testing.assert_array_equal(found.top_classes, np.argsort(-logits, axis=1))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-5)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.accuracy == np.mean(logits.argmax(axis=1) == labels)
    assert found.loss == pytest.approx(losses.mean(), rel=1e-6)
    confusion = found.confusion()
    assert confusion.sum() == len(images) == 11
    assert [confusion[true].sum() for true in range(3)] == [np.sum(labels == true) for true in range(3)]
    assert np.trace(confusion) == np.sum(logits.argmax(axis=1) == labels)
    pairs = found.confused_pairs()
    assert {(true, predicted): count for true, predicted, count in pairs} == {
        (true, predicted): confusion[true, predicted] for true, predicted in np.argwhere(confusion) if true != predicted
    }
    assert [count for _, _, count in pairs] == sorted((count for _, _, count in pairs), reverse=True)


def test_several_labels_per_image():
    images, labels, logits, _ = reference()
    targets = np.eye(3)[labels]
    targets[::2, 0] = 1  # two labels, or one
    found = predict(classifier(), [(images, targets)], multi_label=True)
    probabilities = 1 / (1 + np.exp(-logits))
    losses = -np.log(np.where(targets > 0, probabilities, 1 - probabilities)).sum(axis=1)
    assert found.loss == pytest.approx(losses.mean(), rel=1e-6)
    assert found.accuracy == targets[np.arange(11), logits.argmax(axis=1)].mean()
    assert found.multi_label


def test_examples_without_any_label_are_left_out():
    images, labels, logits, _ = reference()
    targets = np.eye(3)[labels]
    targets[[0, 5, 6, 7]] = 0  # all of a batch, and some of others
    parts = [slice(0, 5), slice(5, 8), slice(8, 11)]
    found = predict(classifier(), [(images[part], targets[part]) for part in parts], multi_label=True)
    counted = targets.any(axis=1)
    assert found.accuracy == np.mean((logits.argmax(axis=1) == labels)[counted])
    np.testing.assert_array_equal(found.top_classes, np.argsort(-logits[counted], axis=1))
    with pytest.raises(ValueError, match="at least one batch of examples"):
        predict(classifier(), [(images, 0 * targets)], multi_label=True)


def test_some_classes_compete_alone():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(40, 9)), random.integers(0, 3, 40)
    targets = np.eye(9)[2 * labels]  # of the classes 0, 2 and 4
    targets[:20, 8] = 1
    competing = [0, 2, 4, 8]
    found = Predictions.of(logits, targets, multi_label=True, competing=competing)
    best = np.argsort(-logits, axis=1)
    assert found.accuracy == np.mean(targets[np.arange(40), best[:, 0]])
    assert found.top_accuracy == np.mean([targets[k, best[k, :5]].any() for k in range(40)])
    alone = np.where(np.isin(np.arange(9), competing), logits, -np.inf).argmax(axis=1)
    assert found.among.accuracy == np.mean(targets[np.arange(40), alone])
    assert found.among.top_accuracy is None, "of four classes"
    images = np.zeros((40, 2, 2, 3))
    network = SimpleNamespace(predict_on_batch=lambda images: logits[images[:, 0, 0, 0].astype(int)])
    images[:, 0, 0, 0] = np.arange(40)
    batches = [(images[:30], targets[:30]), (images[30:], targets[30:])]
    joined = predict(network, batches, multi_label=True, competing=competing)
    assert joined.among.accuracy == found.among.accuracy
    np.testing.assert_array_equal(joined.among.top_classes, found.among.top_classes)


def test_logits_that_are_not_finite():
    images = np.zeros((3, 2, 2, 3), "float32")
    images[1, 0, 0, 2], images[2, 0, 0, 0] = np.inf, np.nan
    found = predict(classifier(), [(images, np.eye(3))])
    np.testing.assert_array_equal(found.is_finite, [True, False, False])


def test_a_smaller_last_batch_is_not_compiled_again():
    model, sizes = classifier(), []
    predict_on_batch = model.predict_on_batch
    model.predict_on_batch = lambda images: sizes.append(images.shape) or predict_on_batch(images)
    predict(model, batches())
    assert set(sizes) == {(4, 2, 2, 3)}


@pytest.mark.parametrize("most", [0, 2, 24])
def test_keeps_the_worst_mistakes_in_order(most):
    images, labels, logits, losses = reference()
    wrong = np.flatnonzero(logits.argmax(axis=1) != labels)
    worst = wrong[np.argsort(-losses[wrong])][:most]
    found = predict(classifier(), batches(), num_mistakes=most)
    np.testing.assert_array_equal(found.mistakes, worst)
    np.testing.assert_array_equal(found.mistake_images, images[worst] if len(worst) else np.zeros(0))


def test_large_logits_keep_a_finite_loss():
    images = np.zeros((1, 2, 2, 3), "float32")
    images[..., 0] = 1000
    found = predict(classifier(), [(images, np.eye(3)[[1]])])
    assert found.loss == pytest.approx(1000)


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match="at least one batch"):
        predict(classifier(), [])
