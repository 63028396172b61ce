"""Diverged trainings."""

import keras
import numpy as np
import pytest

from bit_keras.rules import HyperRuleCallback
from bit_keras.rules.schedules import Schedule
from bit_keras.training import StopOnDivergence, TrainingDiverged, max_loss

pytestmark = pytest.mark.any_backend
X = np.ones((12, 4), "float32")


def _fit(targets, base_lr=0.001, num_classes=10) -> list[int]:
    """Returns the number of steps that the next callback was called for."""
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    seen = []
    after = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    schedule = Schedule(base_lr, 1, (10,), 12)
    model.fit(
        X,
        targets,
        batch_size=2,
        epochs=2,
        shuffle=False,
        callbacks=[HyperRuleCallback(schedule), StopOnDivergence(max_loss(num_classes), schedule), after],
        verbose=0,
    )
    return seen


def test_a_good_training_goes_on():
    assert len(_fit(X[:, 0])) == 12


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number(bad):
    targets = X[:, 0].copy()
    targets[6] = bad
    with pytest.raises(
        TrainingDiverged, match=r"the loss is (nan|inf) in update 4 at learning rate 0\.001; allowed is"
    ):
        _fit(targets)


def test_a_loss_far_above_guessing():
    with pytest.raises(TrainingDiverged, match=r"in update 1 at learning rate 0; allowed is 230\.3"):
        _fit(1000 * X[:, 0])


def test_callbacks_after_it_do_not_see_the_bad_step():
    seen = []
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    after = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    targets = X[:, 0].copy()
    targets[4] = np.nan
    stop = StopOnDivergence(max_loss(10), Schedule(0.1, 1, (10,), 12))
    with pytest.raises(TrainingDiverged, match=r"in update 3 at learning rate 0\.1"):
        model.fit(X, targets, batch_size=2, shuffle=False, callbacks=[stop, after], verbose=0)
    assert seen == [0, 1]
