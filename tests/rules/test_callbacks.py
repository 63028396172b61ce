import keras
import numpy as np
import pytest

from bit_keras import HyperRule
from bit_keras.rules import HyperRuleCallback, MixUp
from bit_keras.rules.schedules import Schedule

SCHEDULE = Schedule(base_lr=0.5, warmup_steps=3, drop_steps=(5, 8), total_steps=12)
RATES = [0, 0.5 / 3, 1 / 3, 0.5, 0.5, 0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005]


class Counted(keras.layers.Layer):
    """One weight with a gradient of -1: without momentum it is the exact sum of the learning rates, in order."""

    def build(self, input_shape):
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")

    def call(self, inputs):
        return -self.total + 0 * keras.ops.sum(inputs, axis=-1)


def counting_model(steps_per_execution=1, accumulation=None):
    model = keras.Sequential([keras.Input((2,)), Counted()])
    model.compile(
        keras.optimizers.SGD(1.0, gradient_accumulation_steps=accumulation),
        loss=lambda y_true, y_pred: y_pred,
        steps_per_execution=steps_per_execution,
    )
    return model


class Totals(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.totals = [self._total()]

    def on_epoch_end(self, epoch, logs=None):
        self.totals.append(self._total())

    def _total(self):
        return keras.ops.convert_to_numpy(self.model.layers[-1].total)


def fit(model, callbacks, batches, epochs):
    data = np.zeros((2 * batches, 2), "float32")
    model.fit(data, data[:, 0], batch_size=2, epochs=epochs, callbacks=callbacks, verbose=0)


@pytest.mark.any_backend
def test_every_update_has_the_rate_of_the_schedule():
    totals = Totals()
    fit(counting_model(), [HyperRuleCallback(SCHEDULE), totals], batches=1, epochs=100)
    np.testing.assert_allclose(np.diff(totals.totals), RATES, rtol=1e-5, atol=1e-7)


@pytest.mark.any_backend
def test_gradient_accumulation_counts_updates():
    totals = Totals()
    model = counting_model(accumulation=2)
    fit(model, [HyperRuleCallback(SCHEDULE), totals], batches=2, epochs=100)
    np.testing.assert_allclose(np.diff(totals.totals), RATES, rtol=1e-5, atol=1e-7)


@pytest.mark.any_backend
def test_several_steps_an_execution_have_the_same_rates():
    if keras.backend.backend() == "torch":
        with pytest.raises(ValueError, match="steps_per_execution"):  # not supported by Keras on torch
            fit(counting_model(steps_per_execution=3), [HyperRuleCallback(SCHEDULE)], batches=6, epochs=9)
        return
    totals = Totals()
    model = counting_model(steps_per_execution=3)
    fit(model, [HyperRuleCallback(SCHEDULE), totals], batches=6, epochs=9)
    assert int(model.optimizer.iterations) == 12
    np.testing.assert_allclose(np.diff(totals.totals), [sum(RATES[:6]), sum(RATES[6:])], rtol=1e-5)


@pytest.mark.any_backend
def test_ends_inside_an_epoch_and_logs_the_rate():
    history = keras.callbacks.History()
    model = counting_model()
    fit(model, [HyperRuleCallback(SCHEDULE), history], batches=5, epochs=9)
    assert int(model.optimizer.iterations) == 12
    assert history.history["step"] == [5, 10, 12]
    np.testing.assert_allclose(history.history["learning_rate"], [0.5, 0.005, 0.005])


@pytest.mark.any_backend
def test_a_second_training_is_refused_and_a_restored_one_goes_on():
    model = counting_model()
    fit(model, [HyperRuleCallback(SCHEDULE)], batches=1, epochs=100)
    with pytest.raises(ValueError, match="ends after 12 updates and the optimizer has made 12"):
        fit(model, [HyperRuleCallback(SCHEDULE)], batches=1, epochs=100)
    restored = counting_model()
    restored.optimizer.build(restored.trainable_variables)
    restored.optimizer._iterations.assign(7)
    totals = Totals()
    fit(restored, [HyperRuleCallback(SCHEDULE), totals], batches=1, epochs=100)
    np.testing.assert_allclose(np.diff(totals.totals), RATES[7:], rtol=1e-5)


@pytest.mark.any_backend
def test_replaces_a_rate_that_an_earlier_fit_has_traced():
    model = counting_model()
    fit(model, [], batches=1, epochs=1)
    model.optimizer._iterations.assign(0)
    totals = Totals()
    fit(model, [HyperRuleCallback(SCHEDULE), totals], batches=1, epochs=100)
    np.testing.assert_allclose(np.diff(totals.totals), RATES, rtol=1e-4, atol=1e-6)


def test_loss_scaling_counts_updates():
    model = counting_model()
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0)), loss=lambda y_true, y_pred: y_pred)
    totals = Totals()
    fit(model, [HyperRuleCallback(SCHEDULE), totals], batches=1, epochs=100)
    np.testing.assert_allclose(np.diff(totals.totals), RATES, rtol=1e-5, atol=1e-7)


def test_the_rule_makes_its_optimizer_and_callbacks():
    small = HyperRule(19_999, (32, 32), base_lr=0.002)
    optimizer = small.optimizer()
    assert isinstance(optimizer, keras.optimizers.SGD)
    assert optimizer.momentum == 0.9
    assert optimizer.weight_decay is None
    assert not optimizer.nesterov
    for step in (0, 50, 100, 201):
        optimizer.iterations.assign(step)
        assert float(optimizer.learning_rate) == pytest.approx(small.learning_rate(step), rel=1e-6)
    (schedule,) = small.callbacks()
    assert schedule.schedule == small.schedule
    schedule, mixup = HyperRule(20_000, (32, 32)).callbacks(seed=5)
    assert isinstance(schedule, HyperRuleCallback)
    assert isinstance(mixup, MixUp)
    assert (mixup.alpha, mixup.seed) == (0.1, 5)
