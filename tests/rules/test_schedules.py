"""The pre-training schedule."""

import itertools

import pytest

from bit_keras.rules.schedules import upstream_schedule


def test_drops_at_the_papers_epochs():
    schedule = upstream_schedule(total_steps=90_000, batch_size=4096)
    assert schedule.total_steps == 90_000
    assert schedule.drop_steps == (30_000, 60_000, 80_000)
    assert schedule.base_lr == pytest.approx(0.48)  # 0.03 * 4096 / 256
    assert schedule.warmup_steps == 4091


def test_learning_rate_over_the_training():
    schedule = upstream_schedule(total_steps=900, batch_size=256)
    rates = [schedule.learning_rate(step) for step in range(900)]
    assert rates[0] == 0
    assert rates[41] == pytest.approx(0.03)
    assert all(a < b for a, b in itertools.pairwise(rates[:42]))
    assert rates[41:301] == pytest.approx([0.03] * 260)
    assert rates[301:601] == pytest.approx([0.003] * 300)
    assert rates[601:801] == pytest.approx([0.0003] * 200)
    assert rates[801:] == pytest.approx([0.00003] * 99)
    assert schedule.learning_rate(900) is None


def test_any_length_from_5_on():
    for total_steps in range(5, 2000):
        assert upstream_schedule(total_steps, batch_size=32).total_steps == total_steps
    with pytest.raises(ValueError, match="must be ascending"):
        upstream_schedule(total_steps=4, batch_size=32)


def test_learning_rate_follows_the_batch():
    assert upstream_schedule(1000, 64).base_lr == pytest.approx(upstream_schedule(1000, 256).base_lr / 4)
