"""Which output stands for which class where weights and data have published lists of classes."""

import dataclasses

import numpy as np
import pytest

from bit_keras import data
from bit_keras.checkpoints.card import Card
from bit_keras.evaluate import matching
from bit_keras.evaluate.matching import Matched, match_outputs
from bit_keras.zoo import presets

# A list of five classes, and one of eight that has four of them; "crane" is the name of two classes.
LISTS = {
    "ilsvrc2012": (
        ("n01", "tabby, tabby cat"),
        ("n02", "crane"),
        ("n03", "golden retriever"),
        ("n04", "teddy, teddy bear"),
        ("n05", "crane"),
    ),
    "imagenet21k": tuple((f"n{k:02}", f"thing {k}") for k in (9, 5, 8, 3, 2, 7, 1, 6)),
}


@pytest.fixture(autouse=True)
def lists(monkeypatch):
    for name, classes in LISTS.items():
        monkeypatch.setitem(presets.LABELS, name, len(classes))
    monkeypatch.setattr(matching, "class_names", LISTS.get)
    monkeypatch.setattr(matching, "wordnet_ids", lambda name: tuple(wordnet_id for wordnet_id, _ in LISTS[name]))


def source(class_names, **changes) -> data.Source:
    images, labels = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 0])
    made = data.from_arrays(images, labels, images, labels, list(class_names), name="set")
    return dataclasses.replace(made, **changes)


def of_list(**changes) -> data.Source:
    """Data that have all classes of a list, by other names."""
    return source("abcde", labels="ilsvrc2012", evaluation_only="it is a test", **changes)


S, M = Card(labels="ilsvrc2012"), Card(labels="imagenet21k")


def test_the_same_list_needs_no_names(monkeypatch):
    monkeypatch.setattr(matching, "wordnet_ids", None)
    for match in (None, "names", "order"):
        found = match_outputs(S, 5, "S", of_list(), match)
        assert found == matching.Matching(None, tuple("abcde"))
        assert found.is_complete


def test_the_head_of_imagenet_21k_by_wordnet_ids(caplog):
    caplog.set_level("INFO", "bit_keras")
    found = match_outputs(M, 8, "M", of_list(), None)
    assert found.outputs == (6, 4, 3, -1, 1)
    assert found.class_names == tuple("abcde")
    assert not found.is_complete
    assert "M has no output for n04" in caplog.text

    logits = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    network = type("Network", (), {"predict_on_batch": lambda self, images: logits})()
    selected = Matched(network, found.outputs).predict_on_batch(None)
    assert selected.dtype == np.float32
    np.testing.assert_array_equal(selected[:, [0, 1, 2, 4]], logits[:, [6, 4, 3, 1]])
    assert np.isfinite(selected).all()
    assert (selected[:, 3] < logits.min() - 1e30).all()  # never predicted


def test_some_classes_by_id_or_lemma():
    some = source(["Golden_Retriever", "n02", "teddy-bear"], labels="ilsvrc2012")
    found = match_outputs(S, 5, "S", some, None)
    assert found.outputs == (2, 1, 3, 0, 4)
    assert found.class_names == ("Golden_Retriever", "n02", "teddy-bear", "n01", "n05")
    assert match_outputs(M, 8, "M", some, None).outputs == (3, 4, -1, 6, 1)  # of the 1,000 classes alone


def test_ids_need_no_lemmas(monkeypatch):
    monkeypatch.setattr(matching, "class_names", None)
    assert match_outputs(S, 5, "S", source(["n03", "n02"], labels="ilsvrc2012"), None).outputs == (2, 1, 0, 3, 4)


def test_unknown_and_ambiguous_names_are_listed():
    some = source(["tabby", "crane", "unicorn"], labels="ilsvrc2012")
    with pytest.raises(data.DataError, match=r"got 'crane' \(n02, n05\), 'unicorn' \(unknown\); classes.json"):
        match_outputs(S, 5, "S", some, None)


def test_a_head_of_unknown_classes_is_not_matched_by_their_number():
    with pytest.raises(ValueError, match=r"x.npz does not tell, and set has classes of ilsvrc2012: .*--match_classes"):
        match_outputs(Card(), 5, "x.npz", of_list(), None)
    assert match_outputs(Card(), 5, "x.npz", of_list(), "order").outputs is None
    with pytest.raises(ValueError, match=r"x.npz has 4 outputs, set has 5 classes: evaluate weights with these"):
        match_outputs(Card(), 4, "x.npz", of_list(), "order")


def test_other_classes_of_the_same_number_are_refused_by_name():
    other = source(["cat", "dog", "emu", "ant", "bee"])
    with pytest.raises(ValueError, match=r"5 of 5 differ;[\s\S]*output 0 is 'n01', class 0 of the data is 'cat'"):
        match_outputs(S, 5, "S", other, None)
    renamed = source(["tabby", "n02", "teddy", "golden retriever", "n05"])
    with pytest.raises(ValueError, match=r"2 of 5 stand in another order; --match_classes=names"):
        match_outputs(S, 5, "S", renamed, None)
    assert match_outputs(S, 5, "S", renamed, "names").outputs == (0, 1, 3, 2, 4)


@pytest.mark.parametrize("match", [None, "names", "order"])
def test_folders_named_by_numbers_are_not_taken_in_alphabetical_order(match):
    with pytest.raises(ValueError, match="imagenet_v2:PATH takes the folder 10 as class 10"):
        match_outputs(S, 5, "S", source(["0", "1", "10", "2", "3"]), match)
    assert match_outputs(S, 5, "S", source("01234"), "order").outputs is None


def test_classes_of_the_weights_own():
    card = Card(class_names=("n05", "n03", "n01", "n04", "n02"))
    with pytest.raises(ValueError, match=r"stand in another order"):
        match_outputs(card, 5, "own.npz", of_list(), None)
    assert match_outputs(card, 5, "own.npz", of_list(), "names").outputs == (2, 4, 1, 3, 0)
    with pytest.raises(ValueError, match=r"5 of 5 differ"):
        match_outputs(Card(class_names=("a", "b", "c", "d", "e")), 5, "own.npz", of_list(), None)


def test_data_of_fewer_classes_can_be_looked_up():
    some = source(["teddy", "tabby"])
    with pytest.raises(ValueError, match=r"fine-tune .* first, or --match_classes=names to look for .* in ilsvrc2012"):
        match_outputs(S, 5, "S", some, None)
    assert match_outputs(S, 5, "S", some, "names").outputs == (3, 0, 1, 2, 4)
