"""The card in every format of weights: as written, as others read it, and as a stranger may have written it."""

import dataclasses
import io
import json
import zipfile

import h5py
import numpy as np
import pytest

import bit_keras
from bit_keras import BiT
from bit_keras.checkpoints import CheckpointError, collect_weights, write_npz, write_safetensors
from bit_keras.checkpoints import card as cards
from bit_keras.checkpoints.card import Card, origin
from bit_keras.checkpoints.formats import read_card, read_weights
from bit_keras.checkpoints.provenance import read_card as known
from bit_keras.convert import convert
from bit_keras.zoo.presets import PRESETS

CARD = Card(
    variant="R17x0.5",
    class_names=tuple(f"Vögel, {k}" for k in range(10)),
    resolution=48,
    training_resolution=32,
    weights="BiT-M-R50x1",
    data={"name": "birds", "num_train": 1437, "fingerprint": "ab12"},
    accuracy=0.9611,
    accuracy_on="360 test examples of birds",
    licence="Apache-2.0",
)


@pytest.fixture(scope="module")
def model(golden_npz) -> BiT:
    model = BiT.from_preset(golden_npz)
    model.card = CARD
    return model


@pytest.mark.any_backend
@pytest.mark.parametrize("name", ["mine.npz", "mine.safetensors", "mine.keras", "mine.weights.h5"])
def test_a_file_says_what_its_weights_are_for(model, tmp_path, name):
    path = tmp_path / name
    bit_keras.save_npz(model, tmp_path / "first.npz")
    convert(tmp_path / "first.npz", path)  # checks that the weights are bit-identical, and runs timm on them
    assert read_card(path) == CARD
    again = BiT.from_preset(path)
    assert (again.card, again.resolution, again.class_names) == (CARD, 48, CARD.class_names)


def test_every_value_is_checked_when_it_is_read():
    assert cards._CHECKS.keys() == {field.name for field in dataclasses.fields(Card)}


def test_a_fit_that_is_unknown_is_refused_by_name():
    with pytest.raises(CheckpointError, match=r"resize of its card has the invalid value 'seam carving'"):
        Card.from_dict({"resize": "seam carving"}, "mine.npz")


def test_a_new_head_has_no_names_and_tells_what_it_came_from(model, tmp_path):
    bit_keras.save_npz(model, tmp_path / "mine.npz")
    card = BiT.from_preset(tmp_path / "mine.npz", num_classes=3).card
    assert card == Card(variant="R17x0.5", weights="mine.npz")


def test_others_read_the_arrays_as_before(model, tmp_path):
    """The official loaders and timm take arrays by their keys from `np.load`, which must need no pickle."""
    bit_keras.save_npz(model, tmp_path / "mine.npz")
    with np.load(tmp_path / "mine.npz", allow_pickle=False) as archive:
        assert set(archive.files) == {*collect_weights(model), cards.KEY}
        assert json.loads(archive[cards.KEY].tobytes()) == CARD.to_dict()
    assert cards.KEY not in read_weights(tmp_path / "mine.npz")


def test_keras_passes_over_the_card(model, tmp_path):
    bit_keras.save_npz(model, tmp_path / "first.npz")
    convert(tmp_path / "first.npz", tmp_path / "mine.weights.h5")
    again = BiT("R17x0.5", 10)
    again.load_weights(tmp_path / "mine.weights.h5")
    for name, array in collect_weights(model).items():
        np.testing.assert_array_equal(collect_weights(again)[name], array)


@pytest.mark.parametrize("data", [np.zeros(3, np.float32), np.zeros(cards.MAX_BYTES + 1, np.uint8)])
def test_a_card_of_another_type_or_size_is_an_error(tmp_path, data):
    with h5py.File(tmp_path / "bad.weights.h5", "w") as file:
        file.create_dataset(cards.KEY, data=data)
    with pytest.raises(CheckpointError, match="bit_keras_card must be an array of at most 8,388,608 bytes"):
        read_card(tmp_path / "bad.weights.h5")


def test_published_weights_have_a_card(tmp_path):
    assert known("BiT-distilled-R50x1-160").resolution == PRESETS["BiT-distilled-R50x1-160"].evaluation_resolution
    assert known("BiT-M-R50x1-ILSVRC2012").labels == "ilsvrc2012"
    convert("BiT-mini-R17x0.5", tmp_path / "mini.npz")
    expected = Card.of_preset(PRESETS["BiT-mini-R17x0.5"])
    assert BiT.from_preset("BiT-mini-R17x0.5").card == read_card(tmp_path / "mini.npz") == expected
    assert (expected.licence, expected.resolution, expected.weights) == ("Apache-2.0", 32, "BiT-mini-R17x0.5")


def test_files_without_a_card_still_load(golden_npz, golden_h5, model, tmp_path):
    write_npz(collect_weights(model), tmp_path / "old.npz")
    write_safetensors(collect_weights(model), tmp_path / "old.safetensors")
    for path in (golden_npz, golden_h5, tmp_path / "old.npz", tmp_path / "old.safetensors"):
        assert read_card(path) is None
        assert BiT.from_preset(path).card == Card(variant="R17x0.5")


def test_a_card_names_no_local_folders_and_no_secrets():
    assert origin("/home/ada/runs/weights.npz") == "weights.npz"
    assert origin("runs/birds/") == "birds"
    assert origin("https://host/mine.npz?token=abc") == "https://host/mine.npz"


def test_names_of_later_versions_are_passed_over():
    assert Card.from_dict({"resolution": 8, "mood": "good"}, "a.npz").resolution == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "must be a JSON object, got list"),
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ('{"resolution": "48"}', "resolution of its card has the invalid value '48'"),
        ('{"resolution": true}', "resolution of its card has the invalid value 'True'"),
        ('{"class_names": ["a", 1]}', "class_names of its card"),
        ('{"orientation": "none"}', "orientation of its card has the invalid value 'none'"),
        ('{"accuracy": 96.1}', "accuracy of its card"),
        ('{"input_range": [0]}', "input_range of its card"),
        ('{"data": []}', "data of its card"),
    ],
)
def test_a_damaged_card_is_an_error_of_the_file(golden_npz, tmp_path, text, message):
    with np.load(golden_npz) as archive:
        np.savez(tmp_path / "bad.npz", **archive, **{cards.KEY: np.frombuffer(text.encode(), np.uint8)})
    with pytest.raises(CheckpointError, match=rf"bad\.npz.*{message}"):
        BiT.from_preset(tmp_path / "bad.npz")


def test_names_that_do_not_fit_the_head_are_not_used(golden_npz, tmp_path, caplog):
    write_npz(read_weights(golden_npz), tmp_path / "mine.npz", dataclasses.replace(CARD, class_names=("a", "b")))
    assert BiT.from_preset(tmp_path / "mine.npz").class_names is None
    assert "mine.npz names 2 classes, but its head has 10 outputs; the names are not used" in caplog.text


def test_a_header_that_promises_another_size_allocates_nothing(tmp_path):
    text = CARD.to_json().encode()
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**60,)})
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr(f"{cards.KEY}.npy", header.getvalue() + text)
    assert read_card(tmp_path / "bad.npz") == CARD


def test_a_large_card_is_not_read(tmp_path):
    np.savez_compressed(tmp_path / "bad.npz", **{cards.KEY: np.zeros(cards.MAX_BYTES + 1, np.uint8)})
    with pytest.raises(CheckpointError, match="at most 8,388,608 bytes"):
        read_card(tmp_path / "bad.npz")


@pytest.mark.any_backend
def test_copies_of_a_network_keep_its_card(model):
    copy = BiT.from_config(model.get_config())
    assert copy.card == CARD
    copy.resolution = 64
    assert copy.card == dataclasses.replace(CARD, resolution=64)
    assert model.resolution == 48
