import re

import pytest

from bit_keras import data
from bit_keras.data.splits import assign


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "test"), {"train": "train", "test": "test"}),
        (("train", "valid", "test"), {"train": "train", "validation": "valid", "test": "test"}),
        (("TRAIN", "Validation", "Test"), {"train": "TRAIN", "validation": "Validation", "test": "Test"}),
        (("val", "Train"), {"train": "Train", "test": "val"}),
    ],
)
def test_each_split_has_the_name_it_has_in_the_data(names, expected):
    assert assign("here", names) == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "valid", "val", "test"), "here must have one validation split, got both val and valid; rename one"),
        (("train", "validation", "val"), "here must have one validation split, got both val and validation"),
        (("train", "Train", "test"), "here must have one train split, got both Train and train"),
        (("train",), "here: the splits must be train and one of test, validation, valid, val, got train"),
        (("valid", "test"), "here: the splits must be train and one of test, validation, valid, val, got test, valid"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(data.DataError, match=re.escape(message)):
        assign("here", names)
