"""Values of a wrong type, in every argument of the public functions: refused by the argument's name."""

import dataclasses
import functools
import inspect
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import convert, data, distill, few_shot, pretrain
from bit_keras.distill import DistillConfig
from bit_keras.evaluate.evaluator import evaluate
from bit_keras.finetune import FinetuneConfig
from bit_keras.network.memory import estimate_memory
from bit_keras.pretrain import PretrainConfig
from bit_keras.protocols.published import published
from bit_keras.protocols.standard import standard
from bit_keras.protocols.vtab import vtab
from bit_keras.rules.mixup import MixUp
from bit_keras.rules.schedules import CosineSchedule, Schedule, upstream_schedule
from bit_keras.rules.sgd import SGDWithL2
from bit_keras.system.checks import check_kind, describe
from bit_keras.zoo.variants import get_variant

IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2
MODEL = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
NETWORK = bit_keras.BiT("R17x0.5", 2)
SOURCE = data.from_arrays(IMAGES, LABELS, IMAGES, LABELS)
RULE = bit_keras.HyperRule(100, (32, 32))

# Of no type that any argument has.
NONSENSE = (3 + 4j, b"x", object(), {"a": 1}, {1}, len)
FLAGS = ("False", "no", "nan", "0", "", 0, 1, float("nan"), None, [])
NUMBERS = ("0", "nan", float("nan"), float("inf"), -float("inf"), np.float32("nan"), True, (1, 2), [], 10**400)

NOWHERE = f"{tempfile.gettempdir()}/nowhere"
RUN = {"workdir": f"{NOWHERE}/run"}
CASES = {
    # function: (arguments, those with flags, those with numbers, those with names or paths)
    bit_keras.finetune: (
        {"model": "R50x1", "dataset": SOURCE, **RUN},
        ("verbose", "remat", "new_head", "skip_unreadable", "flip", "random_crop", "deterministic", "small_batch"),
        ("steps", "resolution", "base_lr", "batch_size", "accumulate", "seed", "validation", "eval_every"),
        ("model", "workdir", "dataset", "variant", "fit", "scale", "freeze", "precision", "loader", "export_dir"),
    ),
    FinetuneConfig: (
        {"model": "R50x1", "dataset": "digits", **RUN},
        [field.name for field in dataclasses.fields(FinetuneConfig) if field.type is bool],
        [field.name for field in dataclasses.fields(FinetuneConfig) if field.type in (int, int | None, float | None)],
        [field.name for field in dataclasses.fields(FinetuneConfig) if field.type in (str, str | None)],
    ),
    PretrainConfig: (
        {"model": "R50x1", "dataset": "digits", **RUN},
        ("flip",),
        ("epochs", "resolution", "min_area", "weight_decay", "batch_size"),
        ("model", "loss"),
    ),
    DistillConfig: (
        {"model": "R50x1", "teacher": "labels", "dataset": "digits", **RUN},
        ("remat",),
        ("epochs", "temperature", "mixup_alpha", "base_lr", "batch_size"),
        ("teacher",),
    ),
    pretrain.pretrain: ({"model": "R50x1", "dataset": SOURCE, **RUN}, ("verbose",), ("epochs",), ("model", "dataset")),
    distill.distill: (
        {"student": "R50x1", "teacher": "labels", "dataset": SOURCE, **RUN},
        ("verbose",),
        ("temperature",),
        ("student", "teacher"),
    ),
    few_shot.sweep: (
        {"models": ["R50x1"], "datasets": ["digits"], **RUN},
        ("verbose",),
        ("seeds",),
        ("models", "datasets", "shots", "workdir", "methods", "draw"),
    ),
    standard: (
        {"models": ["R50x1"], "datasets": ["digits"], **RUN},
        ("verbose",),
        ("runs",),
        ("models", "datasets", "workdir", "splits", "metric", "resolution_rule"),
    ),
    vtab: (
        {"models": ["R50x1"], "tasks": ["digits"], **RUN},
        ("verbose",),
        ("runs",),
        ("models", "tasks", "workdir", "resolution_rule", "shard"),
    ),
    published: ({"models": ["BiT-M-R50x1"], **RUN}, ("verbose",), ("runs",), ("models", "tasks", "workdir", "shard")),
    evaluate: (
        {"model": "R50x1", "source": SOURCE},
        ("skip_unreadable", "verbose"),
        ("batch_size", "resolution"),
        ("model", "source", "output", "split", "fit", "precision", "variant", "match_classes", "loader"),
    ),
    bit_keras.predict: (
        {"model": MODEL, "images": IMAGES},
        ("verbose",),
        ("top", "batch_size", "resolution"),
        ("class_names", "precision", "loader", "value_range", "model", "images"),
    ),
    bit_keras.HyperRule: (
        {"num_examples": 100, "image_size": (32, 32)},
        (),
        ("num_examples", "batch_size", "base_lr", "steps", "resolution", "momentum"),
        ("image_size",),
    ),
    RULE.scaled: ({}, (), (), ("how",)),
    RULE.learning_rate: ({}, (), ("step",), ()),
    RULE.callbacks: ({}, (), ("seed",), ()),
    bit_keras.BiT: ({"variant": "R50x1", "num_classes": 2}, ("remat",), ("num_classes",), ("variant", "name", "dtype")),
    bit_keras.BiT.from_preset: (
        {"preset": "BiT-M-R50x1"},
        ("remat",),
        ("num_classes",),
        ("preset", "variant", "file_format"),
    ),
    bit_keras.folded: ({"model": NETWORK}, (), (), ("model", "dtype")),
    bit_keras.save_npz: ({"model": NETWORK, "path": "a.npz"}, (), (), ("model", "path")),
    bit_keras.load_weights: ({"model": NETWORK, "path": "a.npz"}, ("skip_head",), (), ("model", "path")),
    bit_keras.export_saved_model: (
        {"model": MODEL, "path": f"{NOWHERE}/saved"},
        ("verbose",),
        (),
        ("model", "path", "kind", "class_names"),
    ),
    bit_keras.SavedModelLayer: ({"handle": NOWHERE}, ("embed",), (), ("signature", "output_key", "tags")),
    bit_keras.decode_predictions: ({"logits": np.zeros((1, 1000))}, (), ("top",), ("logits", "activation")),
    bit_keras.class_names: ({}, (), (), ("labels",)),
    bit_keras.list_presets: ({}, (), (), ("pattern",)),
    bit_keras.list_tasks: ({}, (), (), ("pattern",)),
    convert.convert: (
        {"source": "R50x1", "destination": f"{NOWHERE}/a.npz"},
        ("overwrite",),
        ("num_classes",),
        ("source", "destination", "variant", "file_format"),
    ),
    data.load: (
        {"name": "digits"},
        ("skip_unreadable", "divide", "verbose"),
        ("seed",),
        ("name", "data_dir", "manual_dir"),
    ),
    SOURCE.few_shot: ({"examples_per_class": 1, "seed": 0}, (), ("examples_per_class", "seed"), ()),
    SOURCE.hold_out: ({"share": 0.5}, (), ("share", "seed"), ()),
    SOURCE.tested_on: ({}, (), (), ("split",)),
    data.train_names: ({"source": SOURCE, "batch_size": 2, "seed": 0, "step": 0}, (), ("batch_size", "step"), ()),
    MixUp: ({"alpha": 0.1}, (), ("alpha", "seed"), ()),
    SGDWithL2: ({}, (), ("l2",), ()),
    Schedule: (
        {"base_lr": 0.1, "warmup_steps": 1, "drop_steps": (2, 3), "total_steps": 5},
        (),
        ("base_lr", "warmup_steps", "total_steps"),
        ("drop_steps",),
    ),
    CosineSchedule: (
        {"base_lr": 0.1, "warmup_steps": 1, "total_steps": 5},
        (),
        ("base_lr", "warmup_steps", "total_steps"),
        (),
    ),
    upstream_schedule: ({"total_steps": 100, "batch_size": 8}, (), ("total_steps", "batch_size"), ()),
    data.from_arrays: (
        {"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES, "test_labels": LABELS},
        (),
        (),
        ("train_images", "test_labels", "class_names", "name"),
    ),
    data.train_batches: (
        {"source": SOURCE, "batch_size": 2, "resize": 8, "crop": 8, "seed": 0},
        ("random_crop", "flip", "keep"),
        ("batch_size", "resize", "crop", "seed", "start_step", "min_area"),
        ("source", "shard", "fit", "loader"),
    ),
    data.test_batches: (
        {"source": SOURCE, "batch_size": 2, "crop": 8},
        ("keep",),
        ("batch_size", "crop"),
        ("source", "fit", "loader"),
    ),
}


def _name(function: Callable) -> str:
    return getattr(function, "__qualname__", function.__class__.__name__)


@pytest.mark.parametrize("function", CASES, ids=_name)
def test_values_of_a_wrong_type_are_refused_by_name(function, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, *groups = CASES[function]
    faults = []
    for names, values in zip(groups, (FLAGS, NUMBERS, ())):
        for name in names:
            for value in (*values, *NONSENSE):
                try:
                    function(**{**arguments, name: value})
                except (TypeError, ValueError) as error:
                    if name not in str(error):
                        faults.append(f"{name}={describe(value)}: {error}")
                else:
                    faults.append(f"{name}={describe(value)} was accepted")
    assert not faults, "\n".join(faults)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", bit_keras.__all__)
def test_every_public_function_is_tried(name):
    public = getattr(bit_keras, name)
    is_result = inspect.isclass(public) and name.endswith("Result")
    assert is_result or public in CASES or getattr(public, name, None) in CASES


@pytest.mark.parametrize("value", ["", " ", "a\0b", "a" * 5000])
def test_what_can_be_no_name_or_path_is_refused_by_the_name_of_its_argument(value):
    for function, name in (
        (bit_keras.BiT.from_preset, "preset"),
        (functools.partial(bit_keras.load_weights, NETWORK), "path"),
        (functools.partial(bit_keras.predict, images=IMAGES), "model"),
        (data.load, "name"),
        (functools.partial(convert.convert, destination="a.npz"), "source"),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must (be given|have at most 4,096)"):
            function(value)
    with pytest.raises(ValueError, match=r"no file is called 'aaa"):
        bit_keras.BiT.from_preset("a" * 300)


def test_values_out_of_their_range_are_refused_by_name():
    for function, name, value in (
        (functools.partial(SOURCE.few_shot, seed=0), "examples_per_class", 0),
        (functools.partial(SOURCE.few_shot, 1), "seed", -1),
        (functools.partial(SOURCE.hold_out, 0.5), "seed", 2**32),
        (SOURCE.tested_on, "split", "test"),
        (RULE.scaled, "how", "twice"),
        (MixUp, "alpha", 0.0),
        (functools.partial(upstream_schedule, 100), "batch_size", 0),
        (functools.partial(estimate_memory, get_variant("R50x1"), 2, 8, 8), "precision", "int8"),
        (functools.partial(estimate_memory, get_variant("R50x1"), 2, 8, 8), "accumulate", 0),
    ):
        with pytest.raises(ValueError, match=rf"^{name} must "):
            function(**{name: value})
    for handle in ((1,), np.zeros(2), 1.0, None):
        with pytest.raises(TypeError, match=r"^handle must be the directory or address of a SavedModel"):
            bit_keras.SavedModelLayer(handle)


def test_networks_in_place_of_names_are_told_what_to_do():
    for refused in (
        functools.partial(bit_keras.BiT.from_preset, MODEL),
        functools.partial(bit_keras.finetune, MODEL, SOURCE, "run"),
        functools.partial(distill.distill, "R50x1", MODEL, SOURCE, "run"),
        functools.partial(evaluate, MODEL, SOURCE),
    ):
        with pytest.raises(TypeError, match=r"(?=.*bit_keras\.save_npz).*got a value of type Sequential"):
            refused()


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (np.int64(3), int, 3),
        (np.float32(0.5), float, 0.5),
        (3, float | None, 3.0),
        (np.bool_(True), bool, True),
        (Path("a"), str, "a"),
        (Path("a"), str | None, "a"),
        (None, int | None, None),
        ([1, 2], tuple[int, int], (1, 2)),
        (np.array([1, 2]), tuple[int, int], (1, 2)),
    ],
)
def test_numbers_of_numpy_and_paths_are_accepted(value, annotation, expected):
    converted = check_kind("x", value, annotation)
    assert converted == expected
    assert type(converted) is type(expected)
