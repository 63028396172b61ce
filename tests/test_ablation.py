"""The ablation of normalization and standardization: its networks, its table, and a series to its end."""

import json

import keras
import numpy as np
import pytest

from benchmarks import ablation
from bit_keras import BiT, data
from bit_keras.layers import GroupNormalization, StandardizedConv2D

OPTIONS = {"model": "R17x0.5", "batch_size": 8, "resolution": 16, "min_area": 0.5, "flip": False}


@pytest.mark.parametrize(("normalization", "standardized"), ablation.PAPER)
def test_networks(normalization, standardized):
    network = ablation.make_network("R17x0.5", 3, normalization, standardized)
    kinds = {type(layer) for layer in network.layers}
    assert (GroupNormalization in kinds) == (normalization == "group")
    assert (keras.layers.BatchNormalization in kinds) == (normalization == "batch")
    assert (StandardizedConv2D in kinds) == standardized
    assert (keras.layers.Conv2D in kinds) == (not standardized)
    bit = BiT("R17x0.5", 3)
    shapes = [[tuple(variable.shape) for variable in model.trainable_variables] for model in (network, bit)]
    assert sorted(shapes[0]) == sorted(shapes[1])


def test_with_both_it_is_a_bit():
    bit, network = BiT("R17x0.5", 3), ablation.make_network("R17x0.5", 3, "group", True)
    random = np.random.default_rng(0)
    bit.set_weights([random.normal(size=weights.shape) for weights in bit.get_weights()])
    network.set_weights(bit.get_weights())
    images = random.uniform(-1, 1, (2, 24, 24, 3)).astype("float32")
    np.testing.assert_array_equal(network.predict_on_batch(images), bit.predict_on_batch(images))


def test_table():
    records = [
        {"normalization": "batch", "standardized": False, "seed": seed, "test_accuracy": accuracy}
        for seed, accuracy in enumerate((0.5, 0.7, 0.4))
    ]
    assert ablation.table(records).splitlines()[2:] == ["| batch | no | 50.0 (40.0 to 70.0) | 75.6 |"]


def test_a_series_goes_on_where_it_was(tmp_path, monkeypatch):
    source = data.load("digits")
    small = data.from_arrays(
        source.train.images[:64], source.train.labels[:64], source.test.images[:9], source.test.labels[:9]
    )
    monkeypatch.setattr(data, "load", lambda name: small)
    series = {"dataset": "digits", "workdir": tmp_path, "steps": 5, "seeds": 1, **OPTIONS}
    records = ablation.ablate(combinations=[("batch", False)], **series)
    assert [round(9 * record["test_accuracy"], 6) % 1 for record in records] == [0]
    assert json.loads((tmp_path / "ablation.json").read_text())["runs"] == records
    assert (tmp_path / "ablation.md").read_text() == ablation.table(records)
    monkeypatch.setattr(ablation, "_train", None)  # nothing is trained again
    assert ablation.ablate(combinations=[("batch", False)], **series) == records
    with pytest.raises(FileExistsError, match="steps"):
        ablation.ablate(**{**series, "steps": 6})
