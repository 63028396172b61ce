import re

import numpy as np
import pytest

from bit_keras.distill import DistillConfig
from bit_keras.finetune import FinetuneConfig
from bit_keras.pretrain import PretrainConfig
from bit_keras.system import checks
from bit_keras.system.checks import check_choice, check_names, did_you_mean


@checks.known_arguments
def train(model, *, base_lr=0.1, steps: int = 5):
    """Trains."""
    return model, base_lr, steps


def test_a_function_proposes_the_argument_that_is_meant():
    assert train("a", steps=6) == ("a", 0.1, 6)
    assert (train.__name__, train.__doc__) == ("train", "Trains.")
    for name, meant in (("lr", "base_lr"), ("epochs", "steps"), ("step", "steps")):
        with pytest.raises(TypeError, match=rf"^train\(\) has no argument '{name}'; did you mean {meant}\?$"):
            train("a", **{name: 1})
    with pytest.raises(TypeError, match=r"^train\(\) has no argument 'xyz'$"):
        train("a", xyz=1)


def test_what_to_do_instead_stands_before_what_is_like_it():
    with pytest.raises(TypeError, match=r"has no argument 'lr': the schedule has it$"):
        checks.check_names("f", ["lr"], ["base_lr"], {"lr": "the schedule has it"})


@pytest.mark.parametrize("value", [True, False, 2.0, "2", None, float("nan"), [2]])
def test_what_is_no_integer(value):
    with pytest.raises(ValueError, match=re.escape(f"n must be an integer, 1 or more, got {value!r}")):
        checks.check_integer("n", value)


def test_integers():
    assert checks.check_integer("n", np.int32(3)) == 3
    assert type(checks.check_integer("n", np.int32(3))) is int
    with pytest.raises(ValueError, match="n must be 5 or more, got 4"):
        checks.check_integer("n", 4, minimum=5)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (1, bool),
        (True, int),
        (True, float),
        ("1", float),
        (b"a", str),
        (None, str),
        (1j, float),
    ],
)
def test_another_kind_is_refused(value, annotation):
    with pytest.raises(TypeError, match=r"^x must be "):
        checks.check_kind("x", value, annotation)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf")])
def test_numbers_are_finite(value):
    with pytest.raises(ValueError, match="x must be a finite number"):
        checks.check_kind("x", value, float | None)


FIELDS = {config: set(config.__dataclass_fields__) for config in (FinetuneConfig, PretrainConfig, DistillConfig)}


@pytest.mark.parametrize(
    ("config", "name", "meant"),
    [
        (FinetuneConfig, "lr", "base_lr"),
        (FinetuneConfig, "learning_rate", "base_lr"),
        (FinetuneConfig, "epochs", "steps"),
        (FinetuneConfig, "batchsize", "batch_size"),
        (FinetuneConfig, "output_dir", "workdir"),
        (FinetuneConfig, "num_epochs", "steps"),
        (PretrainConfig, "num_epochs", "epochs"),
        (PretrainConfig, "weightdecay", "weight_decay"),
        (DistillConfig, "lr", "base_lr"),
    ],
)
def test_the_setting_that_is_meant_is_proposed(config, name, meant):
    assert did_you_mean(name, FIELDS[config]) == f"; did you mean {meant}?"


def test_nothing_is_proposed_where_nothing_comes_close():
    assert did_you_mean("zzz", FIELDS[FinetuneConfig]) == ""
    assert did_you_mean("lr", ["classes"]) == ""


def test_unknown_arguments_are_refused():
    check_names("f", ["steps"], {"steps"})
    with pytest.raises(TypeError, match=r"f\(\) has no argument 'step'; did you mean steps\?"):
        check_names("f", ["step"], {"steps"})


def test_the_options_of_a_function_are_known():
    @checks.known_arguments(name for name in ("steps", "flip"))
    def f(model, *, seeds=1, **options):
        return model, seeds, options

    assert f("a", seeds=2, steps=3) == ("a", 2, {"steps": 3})
    for name in ("step", "options"):
        with pytest.raises(TypeError, match=rf"f\(\) has no argument '{name}'"):
            f("a", **{name: 1})


def test_choices():
    check_choice("scale", "none", ("none", "linear"))
    check_choice("loader", None, (None, "grain"))
    with pytest.raises(ValueError, match="scale must be one of none, linear; got 'big'"):
        check_choice("scale", "big", ("none", "linear"))
