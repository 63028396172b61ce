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
        (("train",), {"train": "train"}),
    ],
)
def test_each_split_has_the_name_it_has_in_the_data(names, expected):
    assert assign("here", names) == expected


def test_a_test_split_without_labels_is_not_used(caplog):
    assert assign("here", ["train", "Test", "val"], lambda name: name != "Test") == {"train": "train", "test": "val"}
    assert "here: the split Test has no labels; tested on val instead" in caplog.text
    assert assign("here", ["train", "test"], lambda name: False) == {"train": "train"}
    assert "tested on a share of train instead" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "valid", "val", "test"), "here must have one validation split, got both val and valid; rename one"),
        (("train", "validation", "val"), "here must have one validation split, got both val and validation"),
        (("train", "Train", "test"), "here must have one train split, got both Train and train"),
        (("valid", "test"), "here: there must be a split train, got test, valid"),
        ((), "here: there must be a split train, got none"),
    ],
)
def test_other_names_are_refused(names, message):
    with pytest.raises(data.DataError, match=re.escape(message)):
        assign("here", names)
