"""Official names and the layers of the network."""

import numpy as np
import pytest

from bit_keras.checkpoints import names
from bit_keras.zoo.variants import VARIANTS


def test_backbone_paths_are_those_of_the_official_file(golden_npz):
    with np.load(golden_npz) as archive:
        official = {key.removeprefix("resnet/").rsplit("/", 1)[0] for key in archive.files if "/head/" not in key}
    paths = list(names.backbone_paths(VARIANTS["R17x0.5"]))
    assert len(paths) == len(set(paths))
    assert set(paths) == official


@pytest.mark.parametrize("row", VARIANTS.values(), ids=VARIANTS)
def test_each_variant_has_as_many_layers_as_its_units_need(row):
    paths = list(names.backbone_paths(row))
    # Stem, last norm, three norms and three convolutions per unit, and one projection per block.
    assert len(paths) == len(set(paths)) == 2 + 6 * sum(row.units) + 4
    assert len({names.layer_name(path) for path in paths}) == len(paths)
    assert sum("/proj/" in path for path in paths) == 4
    assert f"block3/unit{row.units[2]:02d}/c/group_norm" in paths


def test_layer_name():
    path = "block2/unit01/a/proj/standardized_conv2d"
    assert names.layer_name(path) == "block2_unit01_a_proj_standardized_conv2d"
    assert names.weight_key(path, "kernel") == "resnet/block2/unit01/a/proj/standardized_conv2d/kernel"


@pytest.mark.parametrize(
    ("key", "is_head"),
    [
        ("resnet/head/conv2d/kernel", True),
        ("resnet/head/conv2d/bias", True),
        ("resnet/group_norm/gamma", False),
        ("resnet/header/conv2d/kernel", False),
        ("resnet/block1/unit01/head/conv2d/kernel", False),
        ("head/conv2d/kernel", False),
    ],
)
def test_is_head(key, is_head):
    assert names.is_head(key) is is_head


@pytest.mark.parametrize(
    ("key", "normal"),
    [
        ("resnet/block1/unit01/a/standardized_conv2d_17/kernel", "resnet/block1/unit01/a/standardized_conv2d/kernel"),
        ("resnet/root_block/standardized_conv2d_1/kernel", "resnet/root_block/standardized_conv2d/kernel"),
        ("resnet/group_norm_3/gamma", "resnet/group_norm/gamma"),
        ("resnet/head/conv2d_2/bias", "resnet/head/conv2d/bias"),
        ("resnet/block1/unit01/a/group_norm/beta", "resnet/block1/unit01/a/group_norm/beta"),
        # Not layers of ours: unchanged here, and rejected later.
        ("resnet/block1/unit_1/a/group_norm/gamma", "resnet/block1/unit_1/a/group_norm/gamma"),
        ("resnet/group_norm/gamma_1", "resnet/group_norm/gamma_1"),
    ],
)
def test_normalize_key(key, normal):
    assert names.normalize_key(key) == normal
