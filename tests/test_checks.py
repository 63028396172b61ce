import pytest

from bit_keras.checks import check_choice, check_names, did_you_mean
from bit_keras.distill import DistillConfig
from bit_keras.finetune import FinetuneConfig
from bit_keras.pretrain import PretrainConfig

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


def test_choices():
    check_choice("scale", "none", ("none", "linear"))
    check_choice("loader", None, (None, "grain"))
    with pytest.raises(ValueError, match="scale must be one of none, linear; got 'big'"):
        check_choice("scale", "big", ("none", "linear"))
