"""Errors that a run raises before it does anything."""

import re

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras import data
from bit_keras.distill import DistillConfig, distill
from bit_keras.finetune import FinetuneConfig, finetune
from bit_keras.network.model import BiT
from bit_keras.pretrain import PretrainConfig, pretrain
from bit_keras.runs import opening
from bit_keras.runs.opening import load_data, make_config
from bit_keras.runs.run import Run
from bit_keras.runs.workdir import claim


@pytest.mark.parametrize(
    ("function", "arguments"),
    [(finetune, ("R17x0.5",)), (pretrain, ("R17x0.5",)), (distill, ("R17x0.5", "BiT-mini-R17x0.5"))],
)
@pytest.mark.parametrize(
    ("option", "meant"),
    [("lr", "base_lr"), ("learning_rate", "base_lr"), ("epochs", "steps"), ("dataste", None), ("flipp", "flip")],
)
def test_an_unknown_option_is_answered_with_the_one_that_is_meant(function, arguments, option, meant, tmp_path):
    name = function.__name__
    if (name, option) in {("pretrain", "epochs"), ("distill", "epochs")}:
        return  # they have it
    hint = f"; did you mean {meant}?" if meant and not (name == "pretrain" and meant == "base_lr") else ""
    with pytest.raises(TypeError, match=re.escape(f"{name}() has no argument '{option}'{hint}")):
        function(*arguments, "digits", tmp_path / "run", **{option: 1})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", [FinetuneConfig, PretrainConfig, DistillConfig])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"dataset": (np.zeros((2, 8, 8, 3)), [0, 1])},
            "dataset must be a name, a path, or a source such as bit_keras.",
        ),
        ({"dataset": None}, "dataset must be a name, a path, or a source such as bit_keras.data.from_arrays("),
        ({"model": keras.Sequential()}, "model must be a preset, a variant, or a path or an address of weights, which"),
        ({"workdir": 3}, "workdir must be a path; got 3"),
    ],
)
def test_arguments_of_another_type_are_refused_by_name(kind, change, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        make_config(kind, **{"model": "R17x0.5", "dataset": "digits", "workdir": "w", "options": {}, **change})


FUNCTIONS = [(finetune, ("tiny",)), (pretrain, ("tiny",)), (distill, ("tiny", "labels"))]


@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (keras.callbacks.TerminateOnNaN(), "got <keras"),
        ([print], "got <built-in function print> in it"),
        ([keras.callbacks.TerminateOnNaN], "in it; make one: TerminateOnNaN(...)"),
        ("early", "got 'e' in it"),
        (None, "got None, without a list"),
    ],
)
def test_callbacks_are_a_list_of_keras_callbacks(function, arguments, callbacks, message, tmp_path):
    pattern = f"callbacks must be a list of keras.callbacks.Callback; .*{re.escape(message)}"
    with pytest.raises(TypeError, match=pattern):
        function(*arguments, "digits", tmp_path / "run", callbacks=callbacks)
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
def test_a_workdir_in_use_is_refused_before_data_and_weights_are_read(function, arguments, tmp_path, monkeypatch):
    def read(*arguments, **options):
        raise AssertionError("must not be read")

    def files():
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}

    monkeypatch.setattr(opening, "load_data", read)
    kind = {finetune: FinetuneConfig, pretrain: PretrainConfig, distill: DistillConfig}[function]
    options = {"batch_size": 10} | ({"teacher": "labels"} if function is distill else {})
    settings = {"batch_size": 10, "verbose": False}
    with claim(tmp_path / "run", make_config(kind, "tiny", "digits", tmp_path / "run", options).settings()):
        before = files()
        with pytest.raises(BlockingIOError, match="run is in use by process"):
            function(*arguments, "digits", tmp_path / "run", **settings)
        assert files() == before
    with pytest.raises(FileExistsError, match="batch_size: 10 there, 20 asked for"):
        function(*arguments, "digits", tmp_path / "run", **{**settings, "batch_size": 20})


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
def test_a_start_that_loses_the_workdir_to_another_one_loads_no_weights(function, arguments, tmp_path, monkeypatch):
    """The other one claims it while this one opens its data."""
    held = []
    load = opening.load_data

    def load_and_lose(*arguments, **options):
        held.append(claim(tmp_path / "run", {}))
        (tmp_path / "run" / "config.json").unlink()
        return load(*arguments, **options)

    monkeypatch.setattr(opening, "load_data", load_and_lose)
    monkeypatch.setattr(BiT, "__init__", None)
    with pytest.raises(BlockingIOError, match="run is in use by process"):
        function(*arguments, "digits", tmp_path / "run", batch_size=100, verbose=False)


@pytest.mark.parametrize("function", [finetune, distill])
def test_weights_that_cannot_be_read_leave_no_workdir(function, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"no weights")
    arguments = ("labels",) if function is distill else ()
    for name, message in (("bad.npz", "bad.npz"), ("missing.npz", "no file is called")):
        with pytest.raises(ValueError, match=message):
            function(str(tmp_path / name), *arguments, "digits", tmp_path / "run" / "deep", verbose=False)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("function", "arguments"), FUNCTIONS)
def test_all_trainings_pass_callbacks_on(function, arguments, tmp_path, monkeypatch):
    class Passed(Exception):
        pass

    def fit(run, network, **options):
        raise Passed(*options["callbacks"])

    monkeypatch.setattr(Run, "fit", fit)
    callback = keras.callbacks.TerminateOnNaN()
    with pytest.raises(Passed) as passed:
        function(*arguments, "digits", tmp_path / "run", callbacks=[callback], batch_size=8, resolution=8)
    assert passed.value.args == (callback,)


def test_a_keras_model_is_named_by_its_type():
    with pytest.raises(TypeError, match="got a value of type BiT"):
        bit_keras.finetune(bit_keras.BiT("R17x0.5", 2), "digits", "w")


def test_data_with_an_unreadable_image_state_the_way_out(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"no image")
    with pytest.raises(data.DataError, match=r"4 of 4 images [\s\S]*\n--skip_unreadable leaves them out$") as caught:
        load_data(tmp_path / "data")
    assert len(caught.value.files) == 4
    with pytest.raises(data.DataError, match=r"\nall of them: .*bad\.txt; --skip_unreadable leaves them out$"):
        load_data(tmp_path / "data", tmp_path / "bad.txt")
    assert (tmp_path / "bad.txt").read_text().splitlines() == list(caught.value.files)

    def load(name):
        raise data.DataError("a.png: no such file\nskip_unreadable leaves it out", files=["a.png"])

    with pytest.raises(data.DataError, match=r"^a\.png: no such file\nskip_unreadable leaves it out$"):
        load_data("boxes.csv", load=load)
    with pytest.raises(data.DataError, match=r"\nskip_unreadable leaves it out\nall of them: .*bad\.txt$"):
        load_data("boxes.csv", tmp_path / "bad.txt", load)
