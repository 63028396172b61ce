"""Values of a wrong type, in every argument of the public functions: refused by the argument's name."""

import dataclasses
import functools
import inspect
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
from bit_keras.pretrain import PretrainConfig
from bit_keras.protocols.published import published
from bit_keras.protocols.standard import standard
from bit_keras.protocols.vtab import vtab
from bit_keras.system.checks import check_kind, describe

IMAGES, LABELS = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4) % 2
MODEL = keras.Sequential([keras.Input((None, None, 3)), keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(2)])
NETWORK = bit_keras.BiT("R17x0.5", 2)
SOURCE = data.from_arrays(IMAGES, LABELS, IMAGES, LABELS)
RULE = bit_keras.HyperRule(100, (32, 32))

# Of no type that any argument has.
NONSENSE = (3 + 4j, b"x", object(), {"a": 1}, {1}, len)
FLAGS = ("False", "no", "nan", "0", "", 0, 1, float("nan"), None, [])
NUMBERS = ("0", "nan", float("nan"), float("inf"), -float("inf"), np.float32("nan"), True, (1, 2), [], 10**400)

RUN = {"workdir": "/nowhere/run"}
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
        {"model": MODEL, "path": "/nowhere/saved"},
        ("verbose",),
        (),
        ("model", "path", "kind", "class_names"),
    ),
    bit_keras.SavedModelLayer: ({"handle": "/nowhere"}, ("embed",), (), ("signature", "output_key", "tags")),
    bit_keras.decode_predictions: ({"logits": np.zeros((1, 1000))}, (), ("top",), ("logits", "activation")),
    bit_keras.class_names: ({}, (), (), ("labels",)),
    bit_keras.list_presets: ({}, (), (), ("pattern",)),
    bit_keras.list_tasks: ({}, (), (), ("pattern",)),
    convert.convert: (
        {"source": "R50x1", "destination": "/nowhere/a.npz"},
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
