"""The table of architectures, compared with the networks."""

import dataclasses
import functools
import math

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.zoo import variants
from bit_keras.zoo.variants import VARIANTS, Variant, get_variant

# arXiv 1912.11370: millions of parameters with 1000 classes.
PUBLISHED_MILLIONS = {
    "R50x1": 25.55,
    "R101x1": 44.54,
    "R50x3": 217.32,
    "R101x3": 387.93,
    "R152x2": 236.34,
    "R152x4": 936.53,
}

PUBLISHED_UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

# ResNet, arXiv 1512.03385, table 1, R50 of width 1, block after block: units, strides of the first one, filters of the
# 1x1, 3x3 and 1x1 convolutions.
R50 = [(3, 1, (64, 64, 256)), (4, 2, (128, 128, 512)), (6, 2, (256, 256, 1024)), (3, 2, (512, 512, 2048))]


@functools.cache
def _declare(name: str) -> bit_keras.BiT:
    """Builds a network without allocating its weights: those of R152x4 would need 3.7 GB."""
    with keras.StatelessScope(initialize_variables=False):
        model = bit_keras.BiT(name, num_classes=1000)
    keras.utils.clear_session(free_memory=False)  # forgets that the weights of this network are not initialized
    return model


def _depth(name: str) -> int:
    """Returns the depth, the first number of a name such as "R50x1": convolutions and head, without projections."""
    return int(name.removeprefix("R").partition("x")[0])


def _count_official_keys(row: Variant, num_classes: int) -> int:
    """Returns the number of weights by the shapes in the official files, without building a network."""
    stem = round(64 * row.width)
    count = 7 * 7 * 3 * stem
    channels = stem
    for block, units in enumerate(row.units):
        mid = stem * 2**block
        for unit in range(units):
            count += 2 * channels + channels * mid  # a: gamma, beta, 1x1
            count += 2 * mid + 9 * mid * mid  # b: gamma, beta, 3x3
            count += 2 * mid + mid * 4 * mid  # c: gamma, beta, 1x1
            count += channels * 4 * mid if unit == 0 else 0  # projection
            channels = 4 * mid
    return count + 2 * channels + channels * num_classes + num_classes


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_network_has_the_parameters_of_the_table(row):
    model = _declare(row.name)
    assert model.count_params() == row.parameters
    assert sum(math.prod(weight.shape) for weight in model.weights) == row.parameters
    assert _count_official_keys(row, 1000) == row.parameters


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_network_has_the_depth_features_and_groups_of_the_table(row):
    backbone = _declare(row.name).backbone
    convolutions = [layer for layer in backbone.layers if "conv2d" in layer.name and "proj" not in layer.name]
    assert len(convolutions) + 1 == _depth(row.name) == 3 * sum(row.units) + 2
    assert backbone.output.shape == (None, row.num_features)
    norms = [layer for layer in backbone.layers if "group_norm" in layer.name]
    assert len(norms) == 3 * sum(row.units) + 1
    assert {layer.groups for layer in norms} == {32}
    assert all(layer.gamma.shape[0] % 32 == 0 for layer in norms)
    assert [row.bottleneck_filters(block) for block in (1, 2, 3, 4)] == [
        backbone.get_layer(f"block{block}_unit01_b_standardized_conv2d").filters for block in (1, 2, 3, 4)
    ]


def test_a_network_with_values_has_as_many_parameters_as_one_without():
    model = bit_keras.BiT("R17x0.5", num_classes=1000)
    assert sum(np.asarray(weight).size for weight in model.get_weights()) == VARIANTS["R17x0.5"].parameters


def test_published_sizes():
    assert {name: round(VARIANTS[name].parameters / 1e6, 2) for name in PUBLISHED_MILLIONS} == PUBLISHED_MILLIONS


def test_rows():
    assert set(VARIANTS) == {"R17x0.5", *PUBLISHED_MILLIONS}
    assert len({(row.units, row.width) for row in VARIANTS.values()}) == len(VARIANTS)
    for name, row in VARIANTS.items():
        assert row.name == name == f"R{_depth(name)}x{row.width:g}"
        assert row.units == PUBLISHED_UNITS.get(_depth(name), (1, 2, 1, 1))


@pytest.mark.parametrize(("name", "width"), [("R50x1", 1), ("R50x3", 3)])
def test_unit_rows_are_those_of_the_resnet_paper(name, width):
    expected, inputs = [], 64 * width
    for block, (units, strides, filters) in enumerate(R50, start=1):
        reduce, convolve, expand = (width * count for count in filters)
        assert reduce == convolve
        expected.append((block, 1, strides, inputs, convolve, expand, True))
        expected += [(block, unit, 1, expand, convolve, expand, False) for unit in range(2, units + 1)]
        inputs = expand
    assert [dataclasses.astuple(row) for row in VARIANTS[name].unit_rows()] == expected


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_unit_rows_have_the_parameters_of_the_table(row):
    rows = list(row.unit_rows())
    assert [sum(unit.block == block for unit in rows) for block in (1, 2, 3, 4)] == list(row.units)
    assert [unit.inputs for unit in rows] == [round(64 * row.width), *(unit.outputs for unit in rows[:-1])]
    count = 7 * 7 * 3 * rows[0].inputs
    for unit in rows:
        count += 2 * (unit.inputs + 2 * unit.filters)  # scale and shift of three normalizations
        count += unit.inputs * unit.filters + 9 * unit.filters**2 + unit.filters * unit.outputs
        count += unit.inputs * unit.outputs if unit.has_projection else 0
    assert count + 2 * rows[-1].outputs + (rows[-1].outputs + 1) * 1000 == row.parameters


def test_a_duplicate_name_raises():
    row = VARIANTS["R50x1"]
    with pytest.raises(ValueError, match="must be unique"):
        variants._table(row, row)


def test_unknown_variant_lists_all_names():
    with pytest.raises(ValueError, match="unknown variant 'R50x2'") as caught:
        get_variant("R50x2")
    assert all(name in str(caught.value) for name in VARIANTS)
    with pytest.raises(ValueError, match="known variants"):
        bit_keras.BiT("R50", num_classes=10)
