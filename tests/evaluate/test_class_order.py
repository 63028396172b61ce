"""Which output of a head is compared with which class of the data."""

import pytest

from bit_keras.evaluate.class_order import output_order


@pytest.mark.parametrize("match", [None, "names", "order"])
@pytest.mark.parametrize("outputs", [None, ("cat", "dog")])
def test_the_same_or_unknown_names_stay_in_their_order(outputs, match):
    assert output_order(outputs, ["cat", "dog"], match) is None


def test_another_order_is_an_error_unless_the_user_says_what_counts():
    outputs, classes = ("dog", "cat", "emu"), ("cat", "dog", "emu")
    with pytest.raises(ValueError, match=r"2 of 3 stand in another order; --match_classes=names [\s\S]*'dog', class 0"):
        output_order(outputs, classes, None)
    assert output_order(outputs, classes, "names") == [1, 0, 2]
    assert output_order(outputs, classes, "order") is None


@pytest.mark.parametrize("match", [None, "names"])
def test_other_names_are_listed(match):
    outputs, classes = [f"a{k}" for k in range(9)], [f"b{k}" for k in range(9)]
    with pytest.raises(ValueError, match=r"9 of 9 differ; --match_classes=order[\s\S]*'a4'[\s\S]*and 4 more") as error:
        output_order(outputs, classes, match)
    assert "a5" not in str(error.value)
    assert output_order(outputs, classes, "order") is None


def test_classes_without_images_come_last():
    outputs, classes = ("dog", "cat", "emu", "ant"), ("cat", "emu")
    for match in (None, "names"):
        assert output_order(outputs, classes, match) == [1, 2, 0, 3]


def test_unknown_classes_are_listed():
    with pytest.raises(ValueError, match=r"among the 20 of the weights; 7 of 9 are not: 'b0', .*'b4' and 2 more\."):
        output_order([f"a{k}" for k in range(20)], ["a3", "a0", *(f"b{k}" for k in range(7))], None)
