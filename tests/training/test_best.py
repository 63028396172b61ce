import keras
import numpy as np
import pytest

from bit_keras.training import BestWeights, MetricsLog
from bit_keras.training.best import best_row


class Say(keras.callbacks.Callback):
    """Logs given accuracies, one per epoch."""

    def __init__(self, accuracies):
        super().__init__()
        self.accuracies = iter(accuracies)

    def on_epoch_end(self, epoch, logs=None):
        logs["val_accuracy"] = next(self.accuracies)


@pytest.mark.any_backend
def test_weights_are_written_when_an_evaluation_is_better_than_all_before(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    log = MetricsLog(tmp_path / "metrics.csv")
    written, weights = [], []
    best = BestWeights(log, lambda: written.append((len(log.rows), model.get_weights())))
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: weights.append(model.get_weights()))
    say = Say([0.5, 0.4, 0.6, 0.6, 0.7])
    x = np.ones((4, 2), "float32")
    model.fit(x, x[:, :1], epochs=5, callbacks=[say, log, best, keep], verbose=0)
    assert [row for row, _ in written] == [1, 3, 5]  # the first of two equal ones
    for row, kept in written:
        for a, b in zip(kept, weights[row - 1]):
            np.testing.assert_array_equal(a, b)
    assert not np.array_equal(weights[0][0], weights[2][0])


def test_a_restarted_training_knows_the_best_one_before(tmp_path):
    log = MetricsLog(tmp_path / "metrics.csv")
    written = []
    best = BestWeights(log, lambda: written.append(len(log.rows)))
    best.set_model(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))
    log.restore([{"epoch": 0, "val_accuracy": 0.9}])
    for accuracy in (0.8, 0.95):
        log.on_epoch_end(1, {"val_accuracy": accuracy})
        best.on_epoch_end(1)
    assert written == [3]


def test_what_is_no_number_is_not_the_best():
    rows = [{"val_accuracy": float("nan")}, {"val_accuracy": 0.1}, {"val_accuracy": float("nan")}]
    assert best_row(rows) is rows[1]
