"""Modules for TF Hub, used by a consumer in a separate process without the library."""

import functools
import http.server
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import keras
import numpy as np
import pytest

import bit_keras
from bit_keras.checkpoints.formats import read_card
from bit_keras.export import hub as program
from bit_keras.saved_models import hub, reusable, writer
from bit_keras.saved_models.hub import export_module, write_archive
from bit_keras.system import files
from bit_keras.zoo import modules, presets
from bit_keras.zoo.modules import Module
from bit_keras.zoo.presets import BUCKET, Preset, WeightFile

ROOT = Path(bit_keras.__file__).parents[1]
TESTS = ROOT / "tests"
CLASS_NAMES = [f"digit {k}" for k in range(10)]
STAGES = ["root_block", "block1", "block2", "block3", "block4"]


def build(golden_npz: Path) -> bit_keras.BiT:
    model = bit_keras.BiT("R17x0.5", 10)
    bit_keras.load_weights(model, golden_npz)
    return model


@pytest.fixture(scope="module")
def model(golden_npz) -> bit_keras.BiT:
    return build(golden_npz)


@pytest.fixture(scope="module")
def classifier(run_program, golden_npz, tmp_path_factory) -> Path:
    """Folder that the program wrote, moved afterwards."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "names.txt").write_text("".join(f"{name}\n" for name in CLASS_NAMES))
    written = folder / "new" / "written"
    names = f"--class_names={folder / 'names.txt'}"
    result = run_program("export.tfhub", f"--model={golden_npz}", names, f"--output={written}")
    assert result.returncode == 0, result.stderr
    heading, row, last = result.stdout.splitlines()
    assert heading.startswith("artefact                bytes      max difference  img/s, batch 1")
    assert row.startswith("module, classification  ")
    assert last == f"module in {written / 'module'}, archive and summary.json beside it"
    assert os.listdir(folder / "new") == ["written"]
    return written.rename(folder / "moved")


@pytest.fixture(scope="module")
def features(check_here, golden_npz, tmp_path_factory) -> Path:
    """Folder of a feature vector module with a regularizer, whose stem and first two blocks are frozen."""
    model = build(golden_npz)
    for layer in model.backbone.layers:
        layer.trainable = not layer.name.startswith(("root_block", "block1", "block2"))
    model.backbone.get_layer("group_norm").gamma.regularizer = keras.regularizers.L2(0.01)
    folder = tmp_path_factory.mktemp("features") / "written"
    with check_here(), pytest.MonkeyPatch.context() as patch:
        # Small images: the program measures on large ones.
        patch.setattr(hub, "measure", functools.partial(hub.measure, size=32))
        artefact = export_module(model, folder, "feature-vector", name="features")
    assert artefact.path == folder / "features"
    assert artefact.max_difference < 1e-5
    assert min(artefact.images_per_second.values()) > 0
    return folder


def test_modules_in_use(classifier, features, golden_activations, tmp_path, serve):
    """The outputs equal those of the official network."""
    expected = {**golden_activations, "images": (golden_activations["image"] + 1) / 2}
    del expected["image"]
    np.savez(tmp_path / "data.npz", **expected)
    archive = (classifier / "module.tar.gz").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(archive)))
            self.end_headers()
            self.wfile.write(archive)

        def log_message(self, *_):
            pass

    consumer = TESTS / "consumers" / "tfhub_module.py"
    directories = [classifier / "module", features / "features"]
    environment = {**os.environ, "TFHUB_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, consumer, *directories, tmp_path / "data.npz", serve(Handler)]
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])

    endpoints = {name.removeprefix("endpoint ") for name in facts["differences"] if name.startswith("endpoint ")}
    assert endpoints == {*STAGES, "features", "logits"}
    assert len(facts["differences"]) == 6 + 7
    assert max(facts["differences"].values()) < 1e-4, facts
    assert facts["variables"] == [54, 54]
    # 1 kernel in the stem, 10 weights in a unit with projection, 9 in another.
    assert facts["gradients"] == 1 + 10 + 19 + 10
    assert sorted(facts["task_adaptation"], reverse=True) == facts["task_adaptation"]
    assert facts["task_adaptation"][-1] < facts["task_adaptation"][0]
    layer = facts["keras_layer"]
    assert layer["difference"] < 1e-4
    assert (layer["trainable"], layer["regularization_losses"], layer["not_moved"]) == (22, 1, 0)
    assert layer["losses"][-1] < layer["losses"][0]
    assert layer["endpoints_follow"] < 1e-5 < layer["moved"]
    assert not facts["library_imported"]


def test_a_feature_vector_has_no_logits(features):
    import tensorflow as tf  # not at the top: this file is collected on every backend, but runs on one

    module = tf.saved_model.load(str(features / "features"))
    assert module.endpoints.concrete_functions[0].structured_outputs.keys() == {*STAGES, "features"}
    assert (len(module.variables), len(module.trainable_variables)) == (52, 22)
    assert list(module.signatures["serving_default"].structured_outputs) == ["features"]
    with pytest.raises(AttributeError):
        module.class_names  # noqa: B018
    card = read_card(features / "features")
    assert (card.variant, card.class_names, card.accuracy) == ("R17x0.5", None, None)


def test_what_is_written(classifier, model):
    assert sorted(os.listdir(classifier)) == ["module", "module.tar.gz", "summary.json"]
    (row,) = json.loads((classifier / "summary.json").read_text())["artefacts"]
    assert row["name"] == "module, classification"
    assert row["images_per_second"].keys() == {"1", "8"}
    assert row["extra"]["archive bytes"] == f"{(classifier / 'module.tar.gz').stat().st_size:,}"
    assert (classifier / "module/assets/class_names.txt").read_text().splitlines() == CLASS_NAMES
    card = read_card(classifier / "module")
    assert (card.variant, card.class_names) == ("R17x0.5", tuple(CLASS_NAMES))
    stored = sum(path.stat().st_size for path in (classifier / "module/variables").iterdir())
    assert 1 <= stored / (4 * model.count_params()) < 1.05


def test_a_module_is_a_weight_file(classifier, model):
    found = bit_keras.BiT.from_preset(classifier / "module")
    for variable, wanted in zip(found.variables, model.variables):
        np.testing.assert_array_equal(variable.numpy(), wanted.numpy())


def test_archive(classifier, tmp_path):
    with tarfile.open(classifier / "module.tar.gz") as archive:
        members = archive.getmembers()
        files.extract(archive, tmp_path / "extracted")
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {name.partition("/")[0] for name in names} == {"saved_model.pb", "fingerprint.pb", "assets", "variables"}
    for member in members:
        assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
        assert member.mode == (0o755 if member.isdir() else 0o644)
        if member.isdir():
            continue
        assert (tmp_path / "extracted" / member.name).read_bytes() == (classifier / "module" / member.name).read_bytes()
    for path in (tmp_path / "extracted").rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    write_archive(tmp_path / "extracted", tmp_path / "again.tar.gz")
    assert (tmp_path / "again.tar.gz").read_bytes() == (classifier / "module.tar.gz").read_bytes()


def test_archives_that_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got nothing in"):
        write_archive(tmp_path / "none", tmp_path / "a.tar.gz")
    directory = tmp_path / "directory"
    directory.mkdir()
    (directory / "README.md").touch()
    with pytest.raises(ValueError, match=r"with saved_model.pb and nothing but .*, got README.md in"):
        write_archive(directory, tmp_path / "a.tar.gz")
    (directory / "saved_model.pb").touch()
    with pytest.raises(ValueError, match=r"got README.md, saved_model.pb in"):
        write_archive(directory, tmp_path / "a.tar.gz")
    (directory / "README.md").unlink()
    (tmp_path / "a.tar.gz").touch()
    with pytest.raises(FileExistsError, match=r"that does not exist yet, got .*a.tar.gz"):
        write_archive(directory, tmp_path / "a.tar.gz")
    assert sorted(os.listdir(tmp_path)) == ["a.tar.gz", "directory"]


@pytest.mark.parametrize(
    ("kind", "class_names", "message"),
    [
        ("backbone", None, "kind must be one of classification, feature-vector, got 'backbone'"),
        ("feature-vector", CLASS_NAMES, "class names are for a classifier, got 10"),
        ("classification", CLASS_NAMES[1:], "got 9 names for 10 outputs"),
        ("classification", [*CLASS_NAMES[1:], "a\nb"], r"one line that is not empty, got \['a\\nb'\]"),
    ],
)
def test_arguments_are_refused(model, kind, class_names, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export_module(model, tmp_path / "output", kind, class_names)
    assert os.listdir(tmp_path) == []


def test_another_backend_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND must be tensorflow to write a module, got jax"):
        export_module(model, tmp_path / "output")


def test_an_existing_output_is_refused(model, tmp_path):
    with pytest.raises(FileExistsError, match=f"that does not exist yet, got {tmp_path}"):
        export_module(model, tmp_path)


def test_a_mismatch_is_reported(tmp_path, monkeypatch):
    images = keras.Input((None, None, 3))
    model = keras.Model(images, keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(2, 3, name="conv")(images)))

    def endpoints(inputs, training):
        outputs = keras.ops.stop_gradient(model(inputs, training=training))
        return {"block1": 2.0 * outputs, "features": outputs}

    monkeypatch.setattr(reusable, "_network", lambda *_: ("features", endpoints))
    reusable.write(model, tmp_path / "module", endpoints=True)
    (tmp_path / "module" / "variables" / "again").write_bytes(bytes(300_000))
    expected = reusable.expected(model, writer._check_images(), endpoints=True)
    del expected["1/False/block1"]
    for name in ("0/False/block1", "1/True/features", "trainable_variables", "regularization_loss"):
        expected[name] = expected[name] + 1
    np.savez(tmp_path / "expected.npz", **expected)

    with pytest.raises(RuntimeError, match=r"the SavedModel differs from the model \(exit status 1\)") as error:
        writer._check("reusable", tmp_path / "module", tmp_path / "expected.npz", 1e-5)
    for fault in (
        "trainable_variables: must be 3, got 2",
        "no gradient reaches conv/kernel:0, conv/bias:0",
        "variables/ takes ",
        "regularization_loss: differs by",
        "0/False/endpoints/block1: differs by",
        "1/False/endpoints/block1: differs by inf",
        "1/True/endpoints/features: differs by",
        "1/True/call: differs by",
    ):
        assert f"\n{fault}" in str(error.value), error.value
    assert str(error.value).count("differs by") == 5


STEPS = [(writer, "_write"), (writer, "_check"), (hub, "write_archive"), (hub, "_measure")]


@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
def test_a_fault_leaves_nothing_behind(model, tmp_path, monkeypatch, step):
    def fail(*_):
        raise RuntimeError("no disk")

    monkeypatch.setitem(writer._EXPECTED, "reusable", lambda *_: {})
    for module, name in STEPS:
        monkeypatch.setattr(module, name, fail if (module, name) == step else lambda *_: {})
    with pytest.raises(RuntimeError, match="no disk"):
        export_module(model, tmp_path / "output")
    assert os.listdir(tmp_path) == []


@pytest.fixture
def catalogue(golden_npz, monkeypatch):
    """Adds a small module to the catalogue, with weights from a mirror."""
    file = WeightFile(f"{BUCKET}/{golden_npz.name}")
    monkeypatch.setitem(presets.PRESETS, "BiT-S-R17x0.5", Preset("BiT-S-R17x0.5", "R17x0.5", "digits", 10, (file,)))
    monkeypatch.setitem(modules.MODULES, "small", Module("small", "BiT-S-R17x0.5", "feature-vector", "small"))
    monkeypatch.setenv("BIT_KERAS_MIRROR", str(golden_npz.parent))


class Values:
    """Flags."""

    def __init__(self, output: Path, **values):
        self.__dict__ |= {"module": None, "model": None, "kind": "classification", "class_names": None, "labels": False}
        self.__dict__ |= {"output": str(output), **values}


@pytest.fixture
def _without_network(tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("catalogue", "_without_network")
def test_a_module_of_the_catalogue(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(program, "export_module", lambda *arguments: called.append(arguments))
    program._export(Values(tmp_path / "output", module="small"))
    ((model, output, *rest),) = called
    assert (model.variant_name, model.num_classes, output) == ("R17x0.5", 10, str(tmp_path / "output"))
    assert rest == ["feature-vector", None, "small"]


@pytest.mark.usefixtures("catalogue", "_without_network")
def test_settings_that_are_refused(tmp_path, monkeypatch, golden_npz):
    with pytest.raises(ValueError, match="unknown module 'm-r50x2'; closest: m-r50x"):
        program._export(Values(tmp_path / "output", module="m-r50x2"))
    with pytest.raises(ValueError, match=r"no list of classes was published for .*; give --class_names"):
        program._export(Values(tmp_path / "output", model="BiT-S-R17x0.5", labels=True))
    with pytest.raises(FileExistsError, match="output must not exist yet"):
        program._export(Values(tmp_path, model="BiT-S-R17x0.5"))
    monkeypatch.setitem(
        presets.PRESETS,
        "BiT-S-R17x0.5",
        Preset("BiT-S-R17x0.5", "R17x0.5", "digits", 11, presets.PRESETS["BiT-S-R17x0.5"].files),
    )
    with pytest.raises(ValueError, match=r"the weights of .* must have 11 classes, got 10"):
        program._export(Values(tmp_path / "output", module="small"))
    assert not (tmp_path / "output").exists()


def test_published_labels(monkeypatch, tmp_path):
    monkeypatch.setattr(program, "class_names", lambda labels: [(f"n{k:08}", f"{labels}, b") for k in range(2)])
    found = program._class_names(Values(tmp_path, labels=True), "BiT-M-R50x1")
    assert found == ["n00000000 imagenet21k, b", "n00000001 imagenet21k, b"]


def test_program_that_fails_writes_nothing(run_program, golden_npz, tmp_path):
    (tmp_path / "names.txt").write_text("one\ntwo\n")
    names = f"--class_names={tmp_path / 'names.txt'}"
    result = run_program("bit_keras.export", "hub", f"--model={golden_npz}", names, f"--output={tmp_path / 'output'}")
    assert result.returncode == 1
    assert "got 2 names for 10 outputs" in result.stderr
    assert "Traceback" not in result.stderr
    assert os.listdir(tmp_path) == ["names.txt"]
