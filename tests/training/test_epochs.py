"""How a training is split into epochs."""

import pytest

from bit_keras.training import split_into_epochs


def _fits(*arguments) -> list[tuple[int, int, int]]:
    return [(fit["initial_epoch"], fit["epochs"], fit["steps_per_epoch"]) for fit in split_into_epochs(*arguments)]


def test_from_the_start_one_fit_is_enough():
    assert _fits(0, 5, 20) == [(0, 4, 5)]
    assert _fits(0, 5, 17) == [(0, 4, 5)]
    assert _fits(0, 5, 3) == [(0, 1, 5)]


def test_after_an_epoch():
    assert _fits(10, 5, 20) == [(2, 4, 5)]
    assert _fits(15, 5, 17) == [(3, 4, 5)]


def test_inside_an_epoch():
    assert _fits(7, 5, 20) == [(1, 2, 3), (2, 4, 5)]
    assert _fits(16, 5, 20) == [(3, 4, 4)]
    assert _fits(16, 5, 17) == [(3, 4, 1)]


def test_at_the_end():
    assert _fits(20, 5, 20) == _fits(17, 5, 17) == []


@pytest.mark.parametrize("start", range(17))
def test_all_steps_are_made_once(start):
    made = start
    for epoch, end, length in _fits(start, 5, 17):
        for _ in range(epoch, end):
            made = min(made + length, 17)
            assert made % 5 == 0 or made == 17
    assert made == 17
