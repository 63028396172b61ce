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
        ({"precision": "int8"}, "precision must be one of float32, mixed_bfloat16, mixed_float16; got 'int8'"),
    ],
)
def test_refuses_settings_out_of_range(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(GOOD, **change)


def test_every_setting_has_a_help_text():
    assert all(field.metadata["help"].endswith(".") for field in dataclasses.fields(FinetuneConfig))
