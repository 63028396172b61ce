"""The sweep: its table, its plot, and a small complete one."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from bit_keras import BiT, data, few_shot, save_npz
from bit_keras.runs import program
from bit_keras.runs import run as training_run
from bit_keras.runs.names import display_names
from bit_keras.training import TrainingInterrupted

ROOT = Path(data.__file__).parents[2]
pytestmark = pytest.mark.usefixtures("tiny")


def _records():
    accuracies = {("tiny", "fine-tuned"): (0.2, 0.3, 0.1), ("zoo/weights.npz", "linear probe"): (0.5, 0.9, 0.6)}
    return [
        {"model": model, "dataset": "a/digits.npz", "method": method, "shots": shots, "seed": seed, "test_accuracy": x}
        for (model, method), values in accuracies.items()
        for shots in (1, 5)
        for seed, x in enumerate(np.array(values) * (1 if shots == 1 else 1.1))
    ]


def test_the_table_has_median_and_range():
    assert few_shot.table(_records()).splitlines() == [
        "| task | weights | method | 1 per class | 5 per class |",
        "|---|---|---|---|---|",
        "| digits | random tiny | fine-tuned | 20.0 (10.0 to 30.0) | 22.0 (11.0 to 33.0) |",
        "| digits | weights | linear probe | 60.0 (50.0 to 90.0) | 66.0 (55.0 to 99.0) |",
    ]


def test_published_accuracies_follow_the_measured_ones():
    of_ilsvrc = {"model": "BiT-M-R50x1", "dataset": "imagenet2012[:99%]", "method": "fine-tuned", "seed": 0}
    records = [{**of_ilsvrc, "shots": shots, "test_accuracy": 0.5} for shots in (1, 5, 10)]
    assert few_shot.table(records).splitlines()[3:] == [
        "| imagenet2012[:99%] | BiT-M-R50x1 | official README | 18.36 | 50.64 | - |"
    ]


def test_the_plot_has_a_line_for_each_row_of_the_table():
    (axes,) = few_shot.plot(_records()).axes
    assert axes.get_title() == "digits"
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    np.testing.assert_allclose(lines["random tiny, fine-tuned"], [0.2, 0.22])
    np.testing.assert_allclose(lines["weights, linear probe"], [0.6, 0.66])
    assert len(axes.collections) == 2  # the ranges


def test_a_sweep_goes_on_where_it_was(tiny_npz, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run.report, "write", lambda *arguments: None)  # figures of the runs, which are slow
    options = {"steps": 5, "batch_size": 8, "resolution": 16, "eval_every": 5}
    task, workdir = _arrays(tmp_path / "task.npz", 0), tmp_path / "sweep"
    sweep = {"models": [str(tiny_npz)], "datasets": [task], "workdir": workdir, "shots": [1, 2]}
    calls = []
    for name in ("finetune", "features_of"):
        function = getattr(few_shot, name)
        monkeypatch.setattr(
            few_shot, name, lambda *args, f=function, n=name, **kwargs: calls.append(n) or f(*args, **kwargs)
        )
    records = few_shot.sweep(**sweep, seeds=1, **options)
    assert len(records) == 4
    assert sorted(calls) == ["features_of"] * 3 + ["finetune"] * 2  # features of the test images: once
    assert all(0 <= record["test_accuracy"] <= 1 for record in records)
    assert json.loads((workdir / "few_shot.json").read_text())["runs"] == records
    assert few_shot.sweep(**sweep, seeds=1, **options) == records
    assert len(calls) == 5
    assert (workdir / "few_shot.md").read_text() == few_shot.table(records)
    assert (workdir / "few_shot.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileExistsError, match="steps"):
        few_shot.sweep(**sweep, seeds=1, **{**options, "steps": 6})


def test_workers_that_are_killed_change_no_number(tiny_npz, tmp_path):
    """Two workers share a sweep, of which four are killed; the files are those of one process."""
    settings = {
        "models": [str(tiny_npz)],
        "datasets": [_arrays(tmp_path / "task.npz", 0)],
        "shots": [1, 2],
        "seeds": 1,
        "deterministic": True,
        **{"steps": 12, "batch_size": 8, "resolution": 16, "eval_every": 6, "checkpoint_every": 3},
    }

    one, shared = tmp_path / "one", tmp_path / "shared"
    sweeps = [
        {**settings, "workdir": str(one), "workers": 1, "kills": 0, "pause": 0},
        {**settings, "workdir": str(shared), "workers": 2, "kills": 4, "pause": 5},
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "consumers" / "few_shot_forks.py")],
        input="\n".join(map(json.dumps, sweeps)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5_000:]
    print(f"{done.stdout.split()[-1]} kills")
    for name in ("few_shot.json", "few_shot.md"):
        assert (shared / name).read_text() == (one / name).read_text()
    begun = (shared / "runs.txt").read_text().splitlines()
    assert {line.split()[0] for line in begun} == {"begin"}, "no completed run is repeated"
    assert len(set(begun)) == 4
    assert len(begun) <= 4 + 4


@pytest.fixture
def weights(tmp_path, tiny_npz):
    """Two weight files with the same name and different weights."""
    paths = [tmp_path / name / "weights.npz" for name in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
    shutil.copy(tiny_npz, paths[0])
    save_npz(BiT("tiny", 10), paths[1])
    return [str(path) for path in paths]


@pytest.fixture
def _undrawn(monkeypatch):
    """Makes the sweep leave its figure empty: drawing is the slowest step where nothing is trained."""
    monkeypatch.setattr(few_shot.Figure, "savefig", lambda figure, path, **options: Path(path).touch())


@pytest.fixture
def measured(monkeypatch, _undrawn):
    """Replaces trainings: records the runs, and returns a different accuracy for each."""
    runs = []

    def measure(run, source, folder, options):
        runs.append((run.model, run.dataset))
        return len(runs) / 100

    _replace(monkeypatch, measure, measure)
    return runs


def _replace(monkeypatch, finetuned, probe):
    monkeypatch.setattr(few_shot, "_finetuned", finetuned)
    monkeypatch.setattr(few_shot, "_Probe", lambda *_: probe)


def _sweep(models, workdir, datasets=("digits",), shots=(1,), seeds=1, **options):
    return few_shot.sweep(models, datasets, workdir, shots=shots, seeds=seeds, **options)


def _arrays(path, seed):
    path.parent.mkdir(exist_ok=True)
    images = np.random.default_rng(seed).integers(0, 256, (4, 8, 8, 3), np.uint8)
    labels = np.array([0, 1, 0, 1])
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    return str(path)


@pytest.mark.usefixtures("_undrawn")
def test_a_validation_split_is_not_used(weights, tmp_path, monkeypatch):
    path = Path(_arrays(tmp_path / "task.npz", 0))
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **arrays, validation_images=arrays["test_images"], validation_labels=arrays["test_labels"])
    sources = []
    _replace(monkeypatch, lambda run, few, *_: sources.append(few) or 0.5, lambda *_: 0.5)
    few_shot.sweep(weights[:1], [str(path)], tmp_path / "sweep", shots=[1], seeds=1)
    (source,) = sources
    assert source.validation is None
    assert "validation" not in json.dumps(source.describe()), "sweeps of earlier versions resume"


def test_weights_of_one_name_are_measured_each(weights, measured, tmp_path):
    records = _sweep(weights, tmp_path / "sweep")
    assert measured == [(model, "digits") for model in weights for _ in few_shot.DEFAULT_METHODS]
    assert [record["test_accuracy"] for record in records] == [0.01, 0.02, 0.03, 0.04]
    table = (tmp_path / "sweep" / "few_shot.md").read_text()
    assert "| a/weights.npz | fine-tuned | 1.0 " in table
    assert "| b/weights.npz | fine-tuned | 3.0 " in table
    assert _sweep(weights, tmp_path / "sweep") == records
    assert len(measured) == 4


def test_data_sets_of_one_name_are_measured_each(measured, tmp_path):
    datasets = [_arrays(tmp_path / name / "task.npz", seed) for seed, name in enumerate("ab")]
    _sweep(["tiny"], tmp_path / "sweep", datasets)
    assert len(measured) == 4
    table = (tmp_path / "sweep" / "few_shot.md").read_text()
    assert "| a/task.npz | random tiny |" in table
    titles = [axes.get_title() for axes in few_shot.plot(_sweep(["tiny"], tmp_path / "sweep", datasets)).axes]
    assert titles == ["a/task.npz", "b/task.npz"]


def test_another_content_is_measured_anew(weights, measured, tmp_path):
    dataset = _arrays(tmp_path / "task.npz", 0)
    first = _sweep(weights[:1], tmp_path / "sweep", [dataset])
    shutil.copy(weights[1], weights[0])
    second = _sweep(weights[:1], tmp_path / "sweep", [dataset])
    _arrays(tmp_path / "task.npz", 1)
    third = _sweep(weights[:1], tmp_path / "sweep", [dataset])
    accuracies = [[record["test_accuracy"] for record in records] for records in (first, second, third)]
    assert accuracies == [[0.01, 0.02], [0.03, 0.04], [0.05, 0.06]]


def test_the_record_of_another_run_in_the_place_of_a_run_is_not_used(measured, tmp_path):
    (first, *_) = _sweep(["tiny"], tmp_path)
    for record in (tmp_path / "runs").glob("*/few_shot.json"):
        content = json.loads(record.read_text())
        content["identity"]["shots"] = 99
        record.write_text(json.dumps(content))
    assert _sweep(["tiny"], tmp_path)[0] != first


def test_each_method_is_measured_and_shown(measured, tmp_path):
    records = _sweep(["tiny"], tmp_path, methods=("lsr", "finetune"))
    assert [record["method"] for record in records] == ["least-squares probe", "fine-tuned"]
    assert len(measured) == 2
    rows = (tmp_path / "few_shot.md").read_text().splitlines()[2:]
    assert [row.split(" | ")[2] for row in rows] == ["least-squares probe", "fine-tuned"]
    assert len(few_shot.plot(records).axes[0].lines) == 2
    assert _sweep(["tiny"], tmp_path)[0] == records[1], "methods are added to a sweep"
    assert len(measured) == 3


def test_each_method_has_its_draws(monkeypatch, tmp_path):
    drawn, few_shot_of = [], data.Source.few_shot
    monkeypatch.setattr(
        data.Source, "few_shot", lambda self, *a, **k: drawn.append(a[2:]) or few_shot_of(self, *a, **k)
    )
    _replace(monkeypatch, lambda *_: 0.5, lambda *_: 0.5)
    _sweep(["tiny"], tmp_path / "own", methods=tuple(few_shot.METHODS))
    _sweep(["tiny"], tmp_path / "all", methods=tuple(few_shot.METHODS), draw="official")
    expected = ["nested", "nested", "big_vision", "official", "official", "official"]
    assert [names[0] for names in drawn if names] == expected
    with pytest.raises(FileExistsError, match="options"):
        _sweep(["tiny"], tmp_path / "all")


@pytest.mark.any_backend
def test_the_least_squares_probe_of_a_network_is_that_of_big_vision(tiny_npz, tmp_path):
    """Compared with another solver, on features that the network computes from images of TensorFlow's operations."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (30, 12, 12, 3), np.uint8), np.arange(30) % 3
    images[labels == 1] //= 2
    images[labels == 2, ..., 0] //= 3
    np.savez(
        tmp_path / "task.npz",
        train_images=images[:18],
        train_labels=labels[:18],
        test_images=images[18:],
        test_labels=labels[18:],
    )
    (record,) = few_shot.sweep(
        [str(tiny_npz)],
        [str(tmp_path / "task.npz")],
        tmp_path / "sweep",
        shots=[4],
        seeds=1,
        methods=["lsr"],
        resolution=28,
    )

    order = np.random.default_rng(0)
    chosen = np.concatenate([order.permutation(np.where(labels[:18] == c)[0])[:4] for c in range(3)])
    resized = tf.cast(tf.image.resize(images, (32, 32)), tf.uint8)  # 28 * 256 / 224
    pixels = tf.image.crop_to_bounding_box(resized, 2, 2, 28, 28).numpy()
    features = BiT.from_preset(str(tiny_npz)).backbone.predict(pixels / 127.5 - 1, verbose=0).astype(np.float64)
    mean, deviation = features[chosen].mean(axis=0), features[chosen].std(axis=0) + 1e-5
    x = np.column_stack([(features - mean) / deviation, np.full(30, 100.0)])
    # Ridge regression as ordinary least squares: the penalty is a row per weight.
    rows = np.concatenate([x[chosen], 32 * np.eye(x.shape[1])])
    targets = np.concatenate([2.0 * np.eye(3)[labels[chosen]] - 1, np.zeros((x.shape[1], 3))])
    weights = np.linalg.lstsq(rows, targets, rcond=None)[0]
    expected = np.mean((x[18:] @ weights).argmax(axis=1) == labels[18:])
    assert record["test_accuracy"] == pytest.approx(expected)
    assert expected > 0.5


def test_labels_are_as_short_as_they_can_be():
    names = ["BiT-M-R50x1", "x/BiT-M-R50x1.npz", "a/c/w.npz", "b/c/w.npz", "w.h5", "z.npz", "R50x1", "mnist:3.0.2"]
    labels = display_names(names)
    expected = [
        "BiT-M-R50x1",
        "BiT-M-R50x1.npz",
        "a/c/w.npz",
        "b/c/w.npz",
        "w.h5",
        "z",
        "random R50x1",
        "mnist:3.0.2",
    ]
    assert list(labels.values()) == expected
    paths = ["a/w.npz", "a/./w.npz", "/w.npz"]
    assert list(display_names(paths).values()) == paths


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": 2}, ValueError, "steps must be 5 or more"),
        ({"shots": (0,)}, ValueError, "shots must be 1 or more, got 0"),
        ({"shots": ("1",)}, ValueError, "shots must be an integer, 1 or more, got '1'"),
        ({"shots": ()}, ValueError, "shots must be a list of one or more"),
        ({"shots": (100_000,)}, data.DataError, "100,000"),
        ({"seeds": 0}, ValueError, "seeds must be 1 or more, got 0"),
        ({"methods": ("lsq",)}, ValueError, "methods must be one of finetune, ridge, lsr; got 'lsq'"),
        ({"methods": ()}, ValueError, "methods must be a list of one or more"),
        ({"draw": "first"}, ValueError, "draw must be one of nested, official, big_vision; got 'first'"),
        ({"models": ["nosuch"]}, ValueError, "no file is called 'nosuch'"),
        ({"models": "tiny"}, ValueError, "models must be a list of one or more, got 'tiny'"),
        ({"datasets": ["/nosuch"]}, data.DataError, "nosuch"),
        ({"lr": 0.1}, TypeError, "no argument 'lr'; did you mean base_lr"),
        ({"seed": 1}, TypeError, "no argument 'seed'; did you mean seeds"),
        ({"export_dir": "e"}, TypeError, "no argument 'export_dir'"),
        ({"validation": 0.1}, TypeError, "no argument 'validation'"),
        ({"batch_size": 0}, ValueError, "batch_size must be 1 or more"),
    ],
)
def test_settings_are_checked_before_the_folder_is_claimed(change, error, message, measured, tmp_path):
    with pytest.raises(error, match=message):
        _sweep(**{"models": ["tiny"], "workdir": tmp_path / "sweep", **change})
    assert not (tmp_path / "sweep").exists()
    _sweep(["tiny"], tmp_path / "sweep")


def test_scikit_learn_is_asked_for_before_anything_is_measured(measured, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[few-shot\]'"):
        _sweep(["tiny"], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("verbose", [True, False])
def test_messages_are_shown_unless_they_are_not_wanted(verbose, measured, tmp_path, capsys):
    _sweep(["tiny"], tmp_path, verbose=verbose)
    assert ("tiny-digits-fine-tuned-1-0" in capsys.readouterr().out) == verbose


def test_a_head_that_was_trained_for_the_task_is_not_kept(tmp_path, monkeypatch):
    options, result = [], SimpleNamespace(test_accuracy=0.5)
    monkeypatch.setattr(few_shot, "finetune", lambda *args, **given: options.append(given) or result)
    run = few_shot.Run("tiny", "digits", "fine-tuned", 1, 0)
    few_shot._finetuned(run, data.load("digits"), tmp_path, {"steps": 5})
    assert options[0]["new_head"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--datasets=/nosuch", "--shots=1"], "error: no such folder"),
        (["--datasets=digits", "--shots=a"], "error: shots must be integers, 1 or more, got 'a'"),
        (["--datasets=digits", "--steps=2"], "error: steps must be 5 or more"),
        (["--datasets=digits", f"--workdir={__file__}"], "error: workdir must be a new or empty folder"),
    ],
)
def test_the_program_says_what_is_wrong_without_a_traceback(run_program, flags, message, tmp_path):
    done = run_program("bit_keras.few_shot", "--models=tiny", f"--workdir={tmp_path / 'run'}", *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_flags", "_undrawn")
@pytest.mark.parametrize(
    ("interruption", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C; to resume:"),
        (TrainingInterrupted(signal.SIGTERM), 143, "stopped by SIGTERM; the state is saved; to resume:"),
    ],
)
def test_an_interrupted_sweep_says_how_to_resume_and_does(interruption, status, said, tmp_path, monkeypatch, capsys):
    calls = []

    def finetune(*arguments, seed, **options):
        calls.append(seed)
        if len(calls) == 2:
            raise interruption
        return SimpleNamespace(test_accuracy=seed / 10)

    monkeypatch.setattr(few_shot, "finetune", finetune)
    monkeypatch.setattr(few_shot, "_Probe", lambda *_: lambda *_: 0.5)
    monkeypatch.setattr(sys, "argv", ["few_shot.py"])
    with pytest.raises(SystemExit) as end:
        program.run("bit_keras.few_shot", lambda: _sweep(["tiny"], tmp_path, seeds=2))
    assert end.value.code == status
    err = capsys.readouterr().err
    assert said in err
    assert err.endswith("\n  python -m bit_keras.few_shot\n")
    assert not (tmp_path / "few_shot.json").exists()
    records = _sweep(["tiny"], tmp_path, seeds=2)
    assert calls == [0, 1, 1], "the first one was measured once"
    assert [record["test_accuracy"] for record in records] == [0, 0.1, 0.5, 0.5]


def test_the_program_ends_with_its_table_and_the_places_of_its_results(measured, tmp_path, monkeypatch, capsys):
    given = {"models": ["tiny"], "datasets": ["digits"], "workdir": str(tmp_path), "shots": ["1"], "seeds": 1}
    monkeypatch.setattr(few_shot.flags, "FLAGS", SimpleNamespace(**given, methods=["finetune"], draw=None))
    monkeypatch.setattr(program, "values", lambda *_: {})
    few_shot.main()
    out = capsys.readouterr().out
    assert (tmp_path / "few_shot.md").read_text() in out
    assert out.endswith(f"results in {tmp_path}: few_shot.json, few_shot.md, few_shot.png\n")


@pytest.mark.usefixtures("_undrawn")
def test_the_settings_of_the_data_reach_data_and_batches(tmp_path, monkeypatch):
    loaded, batches, tuned = [], [], []
    load, test_batches = data.load, data.test_batches
    monkeypatch.setattr(data, "load", lambda name, **given: loaded.append(given) or load(name))
    monkeypatch.setattr(
        data, "test_batches", lambda *source, **given: batches.append(given["loader"]) or test_batches(*source, **given)
    )

    result = SimpleNamespace(test_accuracy=0.5)
    monkeypatch.setattr(few_shot, "finetune", lambda *arguments, **given: tuned.append(given) or result)
    places = {"data_dir": str(tmp_path / "one"), "manual_dir": str(tmp_path / "two")}
    options = {"loader": "grain", "skip_unreadable": True, "resolution": 16}
    records = _sweep(["tiny"], tmp_path / "sweep", **places, **options)
    assert loaded == [{**places, "skip_unreadable": True, "image_column": None, "label_column": None}]
    assert batches == ["grain", "grain"]
    assert tuned[0].items() >= {**places, **options}.items()
    elsewhere = _sweep(["tiny"], tmp_path / "sweep", data_dir=str(tmp_path / "moved"), **options)
    assert elsewhere == records
    assert len(tuned) == 1, "a moved folder makes no other run"


def test_the_record_of_an_earlier_version_is_found(measured, tmp_path):
    identity = {"model": "tiny", "dataset": "digits", "method": "fine-tuned", "shots": 1, "seed": 0, "weights": None}
    identity |= {"data": data.load("digits").describe(), "options": {"steps": 5}, "backend": keras.backend.backend()}
    name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    place = tmp_path / "runs" / f"tiny-digits-fine-tuned-1-0-{name}"
    place.mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps({"options": {"steps": 5}}))
    record = {"model": "tiny", "dataset": "digits", "method": "fine-tuned", "shots": 1, "seed": 0, "test_accuracy": 0.7}
    (place / "few_shot.json").write_text(json.dumps({**record, "identity": identity}))
    assert _sweep(["tiny"], tmp_path, methods=["finetune"], steps=5) == [record]
    assert not measured


def test_a_sweep_of_an_earlier_version_resumes(measured, tmp_path):
    given = {
        "steps": 5,
        "data_dir": None,
        "manual_dir": None,
        "loader": None,
        "skip_unreadable": False,
        "small_batch": False,
    }
    records = _sweep(["tiny"], tmp_path, steps=5)
    assert _sweep(["tiny"], tmp_path, **given) == records
    assert len(measured) == 2
