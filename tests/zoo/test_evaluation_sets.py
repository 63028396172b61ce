"""The table of evaluation sets, and the names that users write."""

import pytest

from bit_keras.zoo.evaluation_sets import EVALUATION_SETS, find_set
from bit_keras.zoo.results import MEASURES, RESULTS


@pytest.mark.parametrize(
    ("name", "row", "path"),
    [
        ("imagenet_v2", "imagenet_v2/matched-frequency", ""),
        ("imagenet_v2:3.0.0", "imagenet_v2/matched-frequency", ""),
        ("imagenet_v2/topimages:3.*.*", "imagenet_v2/topimages", ""),
        ("imagenet_v2/threshold-0.7:/data/v2:b", "imagenet_v2/threshold-0.7", "/data/v2:b"),
        ("objectnet:objectnet-1.0.zip", "objectnet", "objectnet-1.0.zip"),
        ("objectnet:", "objectnet", ""),
    ],
)
def test_names_with_and_without_a_path(name, row, path):
    found, found_path = find_set(name)
    assert (found.name, found_path) == (row, path)


@pytest.mark.parametrize("name", ["imagenet2012[:80%]", "cifar10:3.0.2", "/data/objectnet", "objectnets:/a", ""])
def test_other_data(name):
    assert find_set(name) == (None, "")


def test_the_names_and_sizes_are_those_of_tensorflow_datasets():
    tfds = pytest.importorskip("tensorflow_datasets")
    for row in EVALUATION_SETS.values():
        assert row.preparation.note or row.preparation.gigabytes
        if row.builder:
            builder = tfds.builder_cls(row.builder.partition("/")[0])
            config = row.builder.partition("/")[2]
            assert config in ("", *(each.name for each in builder.BUILDER_CONFIGS))
    assert tfds.builder_cls("imagenet_v2").BUILDER_CONFIGS[0].name == "matched-frequency"


def test_published_numbers_are_of_sets_in_the_table():
    found = [row for row in RESULTS if row.is_of_preset]
    assert {row.dataset for row in found} <= set(EVALUATION_SETS)
    assert {row.measure for row in RESULTS} <= set(MEASURES)
    keys = [(row.model, row.dataset, row.measure, row.source, row.examples_per_class) for row in RESULTS]
    assert len(keys) == len(set(keys))
    numbers = {(row.model, row.measure): row.accuracy for row in found if row.dataset == "objectnet"}
    assert numbers["BiT-M-R152x4-ILSVRC2012", "top-1"] == 47.0
    assert numbers["BiT-M-R152x4-ILSVRC2012", "top-5"] == 69.0
    assert numbers["BiT-M-R152x4", MEASURES[2]] == 32.46
