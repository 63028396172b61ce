import numpy as np
import pytest

from bit_keras.data import DataError, few_shot
from bit_keras.data.errors import check_labels
from bit_keras.data.few_shot import draw

LABELS = np.random.default_rng(0).integers(0, 4, 200)


@pytest.mark.parametrize("examples_per_class", [1, 5, 20])
def test_draw_has_the_number_of_each_class_and_no_example_twice(examples_per_class):
    indices = draw(LABELS, "abcd", examples_per_class, seed=0)
    assert np.bincount(LABELS[indices]).tolist() == [examples_per_class] * 4
    assert (np.diff(indices) > 0).all()


def test_draw_is_fixed_for_ever():
    """The draw is the same in all releases, so that sweeps can be resumed."""
    assert draw(LABELS, "abcd", 2, seed=7).tolist() == [11, 63, 65, 86, 96, 120, 121, 195]


def test_larger_draw_contains_smaller():
    assert set(draw(LABELS, "abcd", 1, seed=3)) < set(draw(LABELS, "abcd", 5, seed=3))


def test_every_example_is_drawn_as_often():
    labels = np.arange(20) % 2
    drawn = np.concatenate([draw(labels, "ab", 3, seed) for seed in range(1_000)])
    # 300 times each: four standard deviations of a binomial of 1000 draws with 0.3 are 58.
    assert np.abs(np.bincount(drawn, minlength=20) - 300).max() < 58


@pytest.mark.parametrize(
    ("labels", "examples_per_class", "seed", "error", "message"),
    [
        ([0, 1, 1], 2, 0, DataError, r"asks for 2 examples of each class \(examples_per_class\), but 'cat' has 1$"),
        ([1, 1], 1, 0, DataError, "'cat' has 0$"),
        ([0, 1, 2], 1, 0, DataError, r"training labels must lie in \[0, 2\), got 2"),
        ([0, -1, 1], 1, 0, DataError, r"training labels must lie in \[0, 2\), got -1"),
        ([0, 1], 0, 0, ValueError, "examples_per_class must be 1 or more, got 0"),
        ([0, 1], 1, -1, ValueError, "[Ss]eed must be between 0 and 2"),
    ],
)
def test_bad_arguments(labels, examples_per_class, seed, error, message):
    with pytest.raises(error, match=message):
        draw(np.array(labels), ["cat", "dog"], examples_per_class, seed)


def test_long_lists_of_classes_are_cut():
    names = [f"class{i}" for i in range(1_000)]
    with pytest.raises(DataError, match=r"'class19' has 1, and 980 more$"):
        draw(np.arange(1_000), names, 2, seed=0)


def test_labels_in_range_pass():
    check_labels("labels", np.array([0, 1]), 2)


def test_the_draws_of_the_official_code(monkeypatch):
    """As `sample_subset` of its input_pipeline_tf2_or_jax.py, from as many examples as it reads into memory."""
    monkeypatch.setattr(few_shot, "OFFICIAL_EXAMPLES", 120)
    np.random.seed(5)
    expected = [i for c in range(4) for i in np.random.choice(np.where(LABELS[:120] == c)[0], 3, replace=False)]
    assert draw(LABELS, "abcd", 3, 5, "official").tolist() == sorted(expected)
    with pytest.raises(DataError, match=r"99 examples of each class among the first 120 .*, but 'a' has"):
        draw(LABELS, "abcd", 99, 5, "official")


def test_the_draws_of_big_vision():
    """As its evaluators/fewshot_lsr.py: a small class gives what it has."""
    labels = np.array([2, 0, 2, 2, 0, 2, 0])  # none of class 1
    random = np.random.default_rng(7)
    expected = np.concatenate([random.permutation(np.where(labels == c)[0])[:4] for c in range(3)])
    assert draw(labels, "abc", 4, 7, "big_vision").tolist() == sorted(expected.tolist())
    assert set(draw(labels, "abc", 2, 7, "big_vision")) < set(expected)


def test_an_unknown_draw():
    with pytest.raises(ValueError, match="draw must be one of nested, official, big_vision; got 'offical'"):
        draw(LABELS, "abcd", 1, 0, "offical")
