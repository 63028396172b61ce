"""The table of published weights."""

import pytest

from bit_keras import list_presets
from bit_keras.variants import VARIANTS
from bit_keras.zoo import PRESETS

PUBLISHED_VARIANTS = ["R50x1", "R101x1", "R50x3", "R101x3", "R152x2", "R152x4"]
PUBLISHED = [
    pattern.format(variant)
    for pattern in ("BiT-S-{}", "BiT-M-{}", "BiT-M-{}-ILSVRC2012")
    for variant in PUBLISHED_VARIANTS
]


def test_the_18_published_files_are_there_once_each():
    assert sorted(PRESETS) == sorted(PUBLISHED)
    assert len({row.url for row in PRESETS.values()}) == len(PRESETS) == 18


@pytest.mark.parametrize("row", PRESETS.values(), ids=PRESETS)
def test_rows(row):
    assert PRESETS[row.name] is row
    assert row.variant in VARIANTS
    assert f"-{row.variant}-" in f"{row.name}-"
    assert row.url == f"https://storage.googleapis.com/bit_models/{row.name}.npz"
    assert row.num_classes == (21_843 if row.name == f"BiT-M-{row.variant}" else 1000)
    assert row.licence == "Apache-2.0"
    assert row.input_range == (-1, 1)


def test_list_presets():
    assert list_presets() == list(PRESETS)
    assert list_presets("BiT-S-*") == [f"BiT-S-{variant}" for variant in PUBLISHED_VARIANTS]
    assert list_presets("*R152x4*") == ["BiT-S-R152x4", "BiT-M-R152x4", "BiT-M-R152x4-ILSVRC2012"]
    assert list_presets("bit-s-*") == list_presets("nothing") == []
