import keras
import numpy as np
import pytest

from bit_keras import HyperRule
from bit_keras.rules import WarmupThenCosine, WarmupThenDrops
from bit_keras.rules.schedules import CosineSchedule

pytestmark = pytest.mark.any_backend

# One per row of the rule: fewer than 20,000 examples, fewer than 500,000, more.
SUPPORTS = {
    19_999: [100, 200, 300, 400, 500],
    20_000: [500, 3_000, 6_000, 9_000, 10_000],
    500_000: [500, 6_000, 12_000, 18_000, 20_000],
}


def official_learning_rate(supports, base_lr, step):
    """The official rule: linear from 0 to the first support, divided by 10 from the step after each later one."""
    if step < supports[0]:
        return base_lr * step / supports[0]
    if step >= supports[-1]:
        return 0.0
    return base_lr / 10 ** sum(s < step for s in supports[1:])


def in_graph(num_examples, accumulation_steps=1, base_lr=0.003):
    schedule = HyperRule(num_examples, (32, 32), base_lr=base_lr).schedule
    return WarmupThenDrops(**vars(schedule), accumulation_steps=accumulation_steps)


@pytest.mark.parametrize("num_examples", SUPPORTS)
def test_equals_the_official_rule_at_every_step(num_examples):
    supports = SUPPORTS[num_examples]
    steps = np.arange(supports[-1] + 3)
    rates = keras.ops.convert_to_numpy(in_graph(num_examples)(keras.ops.convert_to_tensor(steps)))
    expected = [official_learning_rate(supports, 0.003, step) for step in steps]
    np.testing.assert_allclose(rates, expected, rtol=2e-7, atol=0)


def test_counts_updates_not_steps():
    steps = np.arange(4 * 501)
    rates = in_graph(1000, accumulation_steps=4)(keras.ops.convert_to_tensor(steps))
    per_update = in_graph(1000)(keras.ops.convert_to_tensor(steps // 4))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(rates), keras.ops.convert_to_numpy(per_update))


def test_config_round_trip():
    schedule = WarmupThenDrops(0.1, 7, (9, 11), 20, accumulation_steps=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.get_config() == schedule.get_config()
    assert float(copy(30)) == pytest.approx(0.01)


def test_refuses_numbers_out_of_range():
    with pytest.raises(ValueError, match="accumulation_steps must be 1 or more, got 0"):
        WarmupThenDrops(0.1, 7, (9,), 20, accumulation_steps=0)
    with pytest.raises(ValueError, match="ascending"):
        WarmupThenDrops(0.1, 10, (9,), 20)


def test_the_cosine_equals_its_record_and_kerass():
    record = CosineSchedule(0.03, 10, 50)
    steps = np.arange(53)
    rates = keras.ops.convert_to_numpy(WarmupThenCosine(**vars(record))(keras.ops.convert_to_tensor(steps)))
    np.testing.assert_allclose(rates, [record.learning_rate(step) or 0.0 for step in steps], rtol=1e-5, atol=1e-8)
    reference = keras.optimizers.schedules.CosineDecay(0.0, 40, warmup_target=0.03, warmup_steps=10)
    np.testing.assert_allclose(rates, [float(reference(step)) for step in steps], rtol=1e-5, atol=1e-8)


def test_the_cosine_counts_updates_and_refuses_numbers_out_of_range():
    schedule = WarmupThenCosine(0.03, 10, 50, accumulation_steps=4)
    assert float(schedule(4 * 20 + 3)) == float(WarmupThenCosine(0.03, 10, 50)(20))
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert copy.get_config() == schedule.get_config()
    for arguments, message in [((0, 1, 2), "base_lr"), ((1, 0, 2), "warmup_steps"), ((1, 2, 2), "warmup_steps")]:
        with pytest.raises(ValueError, match=message):
            WarmupThenCosine(*arguments)
