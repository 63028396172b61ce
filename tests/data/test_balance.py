import numpy as np
import pytest

from bit_keras import data
from bit_keras.data.source import describe_balance


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((2, 5, 20), "images per class: min 2 ('a'), median 5, max 20 ('c'), ratio 10.0"),
        ((4, 4, 3), "images per class: min 3 ('c'), median 4, max 4 ('a'), ratio 1.3"),
        ((1, 2, 3, 4), "images per class: min 1 ('a'), median 2.5, max 4 ('d'), ratio 4.0"),
        ((3, 0, 1), "images per class: min 0 ('b'), median 1, max 3 ('a'), ratio infinite"),
    ],
)
def test_one_line(counts, expected):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    assert describe_balance(labels, "abcd"[: len(counts)]) == expected


def test_label_out_of_range():
    with pytest.raises(data.DataError, match=r"labels must lie in \[0, 2\), got 2"):
        describe_balance(np.array([0, 2]), "ab")


def test_source_describes_its_training_split(any_source):
    expected = "min 3 ('{}'), median 3, max 3" if any_source.num_train == 9 else "min 13 ('{}'), median 13, max 14"
    name = any_source.class_names[0 if any_source.num_train == 9 else 1]
    assert expected.format(name) in any_source.describe_balance()
