"""The choice of held-out examples, compared with plain NumPy and counted."""

import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.held_out import hold_out

NAMES = ("a", "b", "c", "d")
LABELS = np.random.RandomState(7).permutation(np.repeat([0, 1, 2], [2, 23, 60]))  # no example of "d"


@pytest.mark.parametrize(("share", "counts"), [(0.1, [1, 2, 6]), (0.25, [1, 6, 15]), (0.99, [1, 22, 59])])
@pytest.mark.parametrize("seed", [0, 3])
def test_the_chosen_examples_are_the_first_of_a_permutation_of_each_class(share, counts, seed):
    found = hold_out(LABELS, NAMES, share, seed, "to train and to test")
    expected = set()
    for label, count in enumerate(counts):
        places = [place for place, other in enumerate(LABELS) if other == label]
        np.random.seed(seed)  # another way to the same numbers
        expected |= {places[k] for k in np.random.permutation(len(places))[:count]}
    assert set(np.flatnonzero(found)) == expected
    assert (found.dtype, found.shape) == (bool, LABELS.shape)


def test_a_class_of_one_example_is_refused():
    with pytest.raises(data.DataError, match="class 'b' must have 2 images or more, to train and to validate, got 1"):
        hold_out(np.array([0, 0, 1]), NAMES, 0.5, 0, "to train and to validate")


def _patients(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels and groups of patients with 1 to 12 images of one or two of three classes."""
    random = np.random.RandomState(seed)
    labels, groups = [], []
    for patient in range(count):
        classes = random.choice(3, random.randint(1, 3), replace=False, p=[0.6, 0.3, 0.1])
        for _ in range(random.randint(1, 13)):
            labels.append(random.choice(classes))
            groups.append(f"patient {patient}")
    order = random.permutation(len(labels))
    return np.array(labels)[order], np.array(groups, dtype=object)[order]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5])
def test_a_group_is_on_one_side_and_the_share_of_each_class_is_near(share, seed):
    labels, groups = _patients(80, seed)
    found = hold_out(labels, NAMES, share, seed, "to train and to test", groups)
    assert set(groups[found]).isdisjoint(groups[~found])
    for label in range(3):
        of_class = labels == label
        assert abs(np.mean(found[of_class]) - share) < 0.04
        assert found[of_class].any()
        assert not found[of_class].all()


def test_the_choice_of_groups_depends_on_the_seed_and_not_on_the_order_of_the_examples():
    labels, groups = _patients(40, 0)
    chosen = [set(groups[hold_out(labels, NAMES, 0.2, seed, "", groups)]) for seed in (0, 1, 0)]
    assert chosen[0] == chosen[2] != chosen[1]
    backwards = hold_out(labels[::-1], NAMES, 0.2, 0, "", groups[::-1])
    assert set(groups[::-1][backwards]) == chosen[0]


def test_few_large_groups_are_divided_all_the_same():
    labels, groups = np.repeat([0, 1], 20), np.array(list("ppppppppppqqqqqqqqqqrrrrrrrrrrssssssssss"), dtype=object)
    found = hold_out(labels, NAMES, 0.1, 0, "to train and to test", groups)
    assert np.bincount(labels[found]).tolist() == [10, 10]


def test_groups_that_cannot_be_divided_are_refused():
    with pytest.raises(data.DataError, match=r"class 'b' must have images of 2 groups or more, .*, got 'q'$"):
        hold_out(np.array([0, 0, 1, 1]), NAMES, 0.5, 0, "to train and to test", np.array(["p", "r", "q", "q"]))
    labels = np.array([0, 1, 1, 2, 2, 0])  # a is in p and r, b in p and q, c in q and r
    with pytest.raises(data.DataError, match=r"found no division of 3 groups .* the column split"):
        hold_out(labels, NAMES, 0.5, 0, "to train and to test", np.array(list("ppqqrr")))
