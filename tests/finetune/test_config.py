import dataclasses
import re

import pytest

from bit_keras.finetune import FinetuneConfig

GOOD = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": ""}, "model must be given"),
        ({"workdir": ""}, "workdir must be given"),
        ({"seed": -1}, "seed must lie in [0, 2**31), got -1"),
        ({"examples_per_class": 0}, "examples_per_class must be 1 or more, got 0"),
        ({"eval_every": 0}, "eval_every must be 1 or more, got 0"),
        ({"schedule": "cosine"}, "schedule must be one of hyperrule, upstream; got 'cosine'"),
        ({"accumulate": 3}, "accumulate must divide the batch size 512, got 3"),
        ({"accumulate": 0}, "accumulate must divide the batch size 512, got 0"),
        ({"loader": "torch"}, "loader must be one of tf.data, grain; got 'torch'"),
        ({"scale": "sqrt"}, "scale must be one of none, linear, schedule; got 'sqrt'"),
        ({"freeze": "block5"}, "freeze must be one of none, head_only, root_block, block1, block2, block3, block4"),
        ({"precision": "int8"}, "precision must be one of float32, mixed_bfloat16, mixed_float16; got 'int8'"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(GOOD, **change)


def test_one_flag_for_the_official_small_batch():
    assert (GOOD.batch_size, GOOD.base_lr) == (512, 0.003)
    small = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w", small_batch=True)
    assert (small.batch_size, small.base_lr) == (128, 0.001)
    mine = FinetuneConfig(model="R17x0.5", dataset="digits", workdir="w", small_batch=True, base_lr=0.01)
    assert (mine.batch_size, mine.base_lr) == (128, 0.01)


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(FinetuneConfig))
