import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from bit_keras import data
from bit_keras.finetune import FinetuneConfig

GOOD = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "model must be given"),
        ({"workdir": ""}, "workdir must be given"),
        ({"seed": -1}, "seed must lie in [0, 2**31), got -1"),
        ({"validation": 1.0}, "validation must lie in [0, 1), as a share of the training images, got 1.0"),
        ({"validation": -0.1}, "validation must lie in [0, 1), as a share of the training images, got -0.1"),
        ({"examples_per_class": 0}, "examples_per_class must be 1 or more, got 0"),
        ({"eval_every": 0}, "eval_every must be 1 or more, got 0"),
        ({"schedule": "cosine"}, "schedule must be one of hyperrule, upstream; got 'cosine'"),
        ({"accumulate": 3}, "accumulate must divide the batch size 512, got 3"),
        ({"accumulate": 0}, "accumulate must divide the batch size 512, got 0"),
        ({"loader": "torch"}, "loader must be one of tf.data, grain; got 'torch'"),
        ({"scale": "sqrt"}, "scale must be one of none, linear, schedule; got 'sqrt'"),
        ({"freeze": "block5"}, "freeze must be one of none, head_only, root_block, block1, block2, block3, block4"),
        ({"fit": "stretch"}, "fit must be one of squash, pad, crop, inner; got 'stretch'"),
        ({"precision": "int8"}, "precision must be one of float32, mixed_bfloat16, mixed_float16; got 'int8'"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(GOOD, **change)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flip": "False"}, TypeError, "flip must be True or False; got 'False'"),
        ({"remat": float("nan")}, TypeError, "remat must be True or False; got nan"),
        ({"steps": True}, TypeError, "steps must be an integer or None; got True"),
        ({"steps": 12.0}, TypeError, "steps must be an integer or None; got 12.0"),
        ({"seed": "0"}, TypeError, "seed must be an integer; got '0'"),
        ({"seed": None}, TypeError, "seed must be an integer; got None"),
        ({"resolution": (32, 48)}, TypeError, "resolution must be an integer or None; got (32, 48)"),
        ({"base_lr": "0.1"}, TypeError, "base_lr must be a number or None; got '0.1'"),
        ({"base_lr": float("inf")}, ValueError, "base_lr must be a finite number, got inf"),
        ({"validation": "0.1"}, TypeError, "validation must be a number or None; got '0.1'"),
        ({"data_dir": 3}, TypeError, "data_dir must be a string or None; got 3"),
    ],
)
def test_refuses_settings_of_another_type(change, error, message):
    with pytest.raises(error, match=re.escape(message)):
        dataclasses.replace(GOOD, **change)


@pytest.mark.parametrize("field", dataclasses.fields(FinetuneConfig), ids=lambda field: field.name)
def test_no_setting_takes_an_object_of_any_type(field):
    with pytest.raises(TypeError, match=f"^{field.name} must be .*; got a value of type object"):
        dataclasses.replace(GOOD, **{field.name: object()})


def test_numbers_of_numpy_and_paths_are_taken():
    changed = dataclasses.replace(GOOD, steps=np.int64(7), base_lr=np.float32(0.5), export_dir=Path("e"))
    assert (changed.steps, changed.base_lr, changed.export_dir) == (7, 0.5, "e")
    assert [type(value) for value in (changed.steps, changed.base_lr)] == [int, float], "JSON takes these"


def test_one_flag_for_the_official_small_batch():
    assert (GOOD.batch_size, GOOD.base_lr) == (512, 0.003)
    small = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w", small_batch=True)
    assert (small.batch_size, small.base_lr) == (128, 0.001)
    mine = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w", small_batch=True, base_lr=0.01)
    assert (mine.batch_size, mine.base_lr) == (128, 0.01)


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(FinetuneConfig))


def test_the_fit_identifies_a_run_unless_it_is_that_of_earlier_versions():
    source = data.load("digits")
    assert "fit" not in GOOD.identity(source)
    assert dataclasses.replace(GOOD, fit="pad").identity(source)["fit"] == "pad"
    assert "resize" not in GOOD.identity(source)
    assert dataclasses.replace(GOOD, resize=448).identity(source)["resize"] == 448
