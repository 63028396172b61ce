"""The table of modules, compared with the names of Google's modules and the table of published weights."""

import dataclasses

import pytest

from bit_keras.zoo import modules, presets
from bit_keras.zoo.modules import MODULES, get_module

IN_PAPER = ["r50x1", "r101x1", "r50x3", "r101x3", "r152x4"]
KAGGLE = "kaggle://google/bit/tensorFlow2/"


def test_every_official_module_has_a_row_of_its_name():
    official = {name for v in IN_PAPER for name in (f"s-{v}", f"s-{v}-ilsvrc2012-classification", f"m-{v}")}
    official |= {f"m-{v}-{data}-classification" for v in IN_PAPER for data in ("imagenet21k", "ilsvrc2012")}
    assert len(official) == 25
    urls = {module.official: name for name, module in MODULES.items() if module.vtab_task is None and module.official}
    assert urls == {f"{KAGGLE}{name}": name for name in official}


def test_every_preset_is_a_classifier_and_those_of_the_upstream_training_are_features():
    classifiers = [module.preset for module in MODULES.values() if module.kind == "classification"]
    assert classifiers == list(presets.PRESETS)
    features = {module.preset for module in MODULES.values() if module.kind == "feature-vector"}
    assert features == {
        "BiT-mini-R17x0.5",
        *(f"BiT-{size}-R{v}" for size in "SM" for v in ("50x1", "101x1", "50x3", "101x3", "152x2", "152x4")),
    }
    assert len(MODULES) == 312 + 13


def test_names_and_handles_are_unique():
    assert all(name == module.name for name, module in MODULES.items())
    assert len({module.handle for module in MODULES.values()}) == len(MODULES)
    assert MODULES["m-r50x1"].handle == "bit-keras/m-r50x1/1"


def test_vtab():
    module = MODULES["m-r101x3-run2-smallnorb-azimuth-classification"]
    assert (module.vtab_task, module.page) == ("smallnorb-azimuth", "m-r101x3-vtab")
    assert module.official == f"{presets.BUCKET}/vtab/BiT-M-R101x3-run2-smallnorb-azimuth.tfhub"
    assert MODULES["m-r50x1"].vtab_task is None


def test_get_module():
    assert get_module("m-r50x1") is MODULES["m-r50x1"]
    with pytest.raises(ValueError, match=r"unknown module 'M-R50x1'; closest: m-r50x1, .* lists all 325"):
        get_module("M-R50x1")
    with pytest.raises(ValueError, match="closest: none"):
        get_module("0")


def test_new_weights_get_a_row():
    row = dataclasses.replace(presets.PRESETS["BiT-distilled-R50x1-224"], name="BiT-distilled-R50x1-320")
    (module,) = modules._modules([row]).values()
    assert module.name == module.page == "distilled-r50x1-320-ilsvrc2012-classification"
