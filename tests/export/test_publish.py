"""Which card `bit-export publish` makes its texts of; tests/saved_models/test_publish.py runs the program."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from bit_keras.checkpoints.card import KEY, Card
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.export.publish import find_card

CARD = Card(variant="R50x1", class_names=("cat", "dog"))
OTHER = dataclasses.replace(CARD, accuracy=0.5)


def saved_model(folder: Path, card: Card | None) -> None:
    (folder / "assets").mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    if card is not None:
        (folder / "assets" / f"{KEY}.json").write_text(card.to_json())


def npz(path: Path, card: Card | None) -> None:
    card_array = {} if card is None else {KEY: np.frombuffer(card.to_json().encode(), np.uint8)}
    np.savez(path, **{"resnet/head/bias": np.zeros(2, "float32")}, **card_array)


def test_of_a_saved_model(tmp_path):
    saved_model(tmp_path, CARD)
    assert find_card(tmp_path) == CARD


def test_of_the_latest_version(tmp_path, caplog):
    for name, card in (("9", OTHER), ("10", CARD)):
        saved_model(tmp_path / name, card)
    assert find_card(tmp_path) == CARD
    assert "9 carry other cards than 10" in caplog.text


def test_of_the_first_weight_file_with_a_card(tmp_path, caplog):
    npz(tmp_path / "a.npz", None)
    npz(tmp_path / "b.npz", CARD)
    npz(tmp_path / "c.npz", CARD)
    assert find_card(tmp_path) == CARD
    assert "other cards" not in caplog.text


def test_of_files_without_cards(tmp_path, caplog):
    saved_model(tmp_path, None)
    assert find_card(tmp_path) is None
    assert "no file in" in caplog.text
    assert find_card(tmp_path / "missing") is None


def test_a_damaged_card_is_an_error(tmp_path):
    saved_model(tmp_path, CARD)
    (tmp_path / "assets" / f"{KEY}.json").write_text('{"class_names": 3}')
    with pytest.raises(CheckpointError, match="class_names of its card has the invalid value"):
        find_card(tmp_path)
