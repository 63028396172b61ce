"""Shapes of the weights, and the architecture inferred from shapes."""

import math

import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError, head_size, resolve_variant
from bit_keras.checkpoints.architecture import infer_variant, weight_shapes
from bit_keras.zoo.variants import VARIANTS, Variant

STEM = "resnet/root_block/standardized_conv2d/kernel"


def test_shapes_are_those_of_the_official_file_in_its_order(golden_npz):
    shapes = weight_shapes(VARIANTS["R17x0.5"], 10)
    with np.load(golden_npz) as archive:
        assert shapes == {key: archive[key].shape for key in archive.files}


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_shapes_have_as_many_parameters_as_the_table_says(row):
    assert sum(map(math.prod, weight_shapes(row, 1000).values())) == row.parameters


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_every_variant_is_known_by_its_shapes(row):
    assert infer_variant(weight_shapes(row, 7)) == infer_variant(weight_shapes(row)) == row
    assert resolve_variant("file", weight_shapes(row), None) == row.name
    assert resolve_variant("file", weight_shapes(row), row.name) == row.name
    assert head_size("file", weight_shapes(row, 7)) == 7


def test_another_architecture_is_named():
    shapes = weight_shapes(VARIANTS["R152x4"], 1000)
    with pytest.raises(CheckpointError, match=r"^file holds R152x4, not R101x1$"):
        resolve_variant("file", shapes, "R101x1")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (Variant("deep", 1, (3, 4, 7, 3), 0), r"units \(3, 4, 7, 3\), stem \(7, 7, 3, 64\)"),
        (Variant("wide", 1.5, (3, 4, 6, 3), 0), r"units \(3, 4, 6, 3\), stem \(7, 7, 3, 96\)"),
    ],
)
def test_unknown_architectures(row, words):
    with pytest.raises(CheckpointError, match=f"holds no known architecture: {words}; known: R17x0.5, R50x1"):
        resolve_variant("file", weight_shapes(row), None)


def test_files_of_other_networks():
    with pytest.raises(CheckpointError, match="stem missing"):
        resolve_variant("file", {}, None)
    with pytest.raises(CheckpointError, match=r"stem \(\)"):
        resolve_variant("file", {STEM: ()}, None)


def test_an_incomplete_file_of_the_requested_variant_is_left_to_the_strict_merge():
    shapes = weight_shapes(VARIANTS["R50x1"])
    del shapes["resnet/block3/unit06/a/group_norm/gamma"]
    assert infer_variant(shapes) is None
    assert resolve_variant("file", shapes, "R50x1") == "R50x1"


@pytest.mark.parametrize("shapes", [{}, {"resnet/head/conv2d/bias": ()}, {"resnet/head/conv2d/bias": (3, 4)}])
def test_no_head(shapes):
    with pytest.raises(CheckpointError, match="holds no head: give num_classes="):
        head_size("file", shapes)
