"""Files that the program writes for TF Serving, and responses to clients in C, gRPC, REST and saved_model_cli.

The server itself is not run: `serving_stand_in` serves the clients.
"""

import importlib.util
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from bit_keras import BiT
from bit_keras.data.loaders import preprocessing
from bit_keras.saved_models import tf_serving, warmup, writer
from tests.saved_models import serving_stand_in

CONSUMERS = Path(__file__).parents[1] / "consumers"
CLIENTS = Path(__file__).parents[2] / "export" / "serving"
NAME, VERSION, RESOLUTION = "digits", 3, 64
FROZEN_WEIGHTS = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}
CLASS_NAMES = [f"digit {k}" for k in range(10)]


@pytest.fixture(scope="module")
def model(golden_npz) -> BiT:
    return BiT.from_preset(golden_npz)


@pytest.fixture(scope="module")
def program(run_program, golden_npz, tmp_path_factory) -> tuple[Path, str]:
    """The directory that the program wrote, and its output."""
    folder = tmp_path_factory.mktemp("published")
    names = folder / "names.txt"
    names.write_text("\n".join(CLASS_NAMES) + "\n")
    settings = {"model": golden_npz, "output": folder / "models", "name": NAME, "version": VERSION}
    settings |= {"resolution": RESOLUTION, "class_names": names}
    result = run_program("export.serving", *flags_of(**settings))
    assert result.returncode == 0, result.stderr
    return folder / "models", result.stdout


@pytest.fixture(scope="module")
def published(program) -> Path:
    return program[0]


@pytest.fixture(scope="module")
def version_path(published) -> Path:
    return published / NAME / str(VERSION)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[Path]:
    """A JPEG, a file that is not an image, and a PNG."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    paths = [folder / name for name in ("cat.jpg", "notes.txt", "dog.png")]
    for path in paths[::2]:
        Image.fromarray(random.integers(0, 256, (90, 70, 3), np.uint8)).resize((140, 180)).save(path)
    paths[1].write_text("no image")
    return paths


@pytest.fixture(scope="module")
def expected(model, files) -> np.ndarray:
    """The Keras model's logits for the valid ones, [2, 10]."""
    images = [preprocessing.test_image(tf.constant(path.read_bytes()), crop=RESOLUTION) for path in files[::2]]
    return logits_of(model, np.stack(images))


def flags_of(**settings) -> list[str]:
    return [f"--{name}={value}" for name, value in settings.items()]


def logits_of(model, images: np.ndarray) -> np.ndarray:
    """Returns the expected outputs for images in [-1, 1]."""
    return keras.ops.convert_to_numpy(model(images))


def relative_difference(found, expected: np.ndarray) -> float:
    return np.max(np.abs(found - expected)) / np.max(np.abs(expected))


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype("float64"))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# Files


def test_layout(program):
    published, output = program
    paths = {str(path.relative_to(published)) for path in published.rglob("*") if path.is_file()}
    saved_model = ["saved_model.pb", "fingerprint.pb", "variables/variables.index"]
    saved_model += ["variables/variables.data-00000-of-00001", "assets.extra/tf_serving_warmup_requests"]
    saved_model += ["assets/bit_keras_card.json"]
    assert paths == {
        *tf_serving.CONFIGURATION_FILES,
        "models.config",
        f"{NAME}/summary.json",
        *(f"{NAME}/{VERSION}/{name}" for name in saved_model),
    }
    (row,) = json.loads((published / NAME / "summary.json").read_text())["artefacts"]
    assert row["path"] == str(published / NAME / str(VERSION))
    assert row["max_difference"] <= 1e-5
    assert min(row["images_per_second"].values()) > 0
    heading, line = output.splitlines()[-3:-1]
    assert heading.split()[:2] == ["artefact", "bytes"]
    assert line.startswith(f"serving, float32  {row['bytes']:,}  ")
    assert line.endswith("8")  # warm-up requests


def test_warm_up_requests(published, version_path):
    logs = [
        PredictionLog.FromString(record).predict_log.request
        for record in tf.data.TFRecordDataset(str(version_path / warmup.PATH)).as_numpy_iterator()
    ]
    found = {}
    for request in logs:
        assert request.model_spec.name == NAME
        ((name, tensor),) = request.inputs.items()
        found.setdefault((request.model_spec.signature_name, name), []).append(tf.make_ndarray(tensor))
    assert set(found) == {("serving_default", "images"), ("serve_bytes", "image_bytes")}
    sizes = batching("gpu")["allowed_batch_sizes"]
    for images, size in zip(found["serving_default", "images"], sizes, strict=True):
        assert (images.shape, images.dtype) == ((size, RESOLUTION, RESOLUTION, 3), np.float32)
    for images, size in zip(found["serve_bytes", "image_bytes"], sizes, strict=True):
        assert [Image.open(io.BytesIO(data)).format for data in images] == (["JPEG", "PNG"] * 4)[:size]
    assert (version_path / warmup.PATH).stat().st_size < 20_000


def test_a_failed_warm_up_is_reported(tmp_path):
    class Loaded:
        signatures = {  # noqa: RUF012
            "serving_default": lambda images: {"scores": tf.fill([len(images)], np.float32("nan"))},
            "serve_bytes": lambda image_bytes: {"valid": tf.fill([len(image_bytes)], False)},
        }

    warmup.write_warmup(tmp_path, NAME, 8)
    with pytest.raises(RuntimeError, match="warm-up of serving_default with 1 images gave wrong scores"):
        warmup.replay_warmup(tmp_path, Loaded)
    Loaded.signatures["serving_default"] = lambda images: {"scores": tf.zeros([len(images)])}
    with pytest.raises(RuntimeError, match="warm-up of serve_bytes with 1 images gave wrong valid"):
        warmup.replay_warmup(tmp_path, Loaded)
    Loaded.signatures["serve_bytes"] = lambda image_bytes: {"valid": tf.fill([1], True)}
    with pytest.raises(RuntimeError, match="warm-up of serve_bytes with 2 images gave wrong valid"):
        warmup.replay_warmup(tmp_path, Loaded)


def test_exports_at_the_same_time_all_add_their_model(tmp_path):
    names = [f"model{number}" for number in range(6)]
    threads = [threading.Thread(target=tf_serving.write_configuration, args=(tmp_path, name)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    written = tf_serving.read_models_config(tmp_path).model_config_list.config
    assert sorted(model.name for model in written) == names
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_models_config_grows_and_keeps_its_entries(tmp_path):
    tf_serving.write_configuration(tmp_path, "cats")
    (tmp_path / "batching-cpu.config").write_text("max_batch_size { value: 1 }")
    config = tmp_path / "models.config"
    config.write_text(config.read_text().replace("config {", 'config { version_labels { key: "stable" value: 1 }', 1))
    for name in ("dogs", "cats"):
        tf_serving.write_configuration(tmp_path, name)
    cats, dogs = text_format.Parse(config.read_text(), ModelServerConfig()).model_config_list.config
    assert (cats.name, cats.base_path, cats.version_labels["stable"]) == ("cats", "/models/cats", 1)
    assert (dogs.name, dogs.base_path, dogs.model_platform) == ("dogs", "/models/dogs", "tensorflow")
    assert (tmp_path / "batching-cpu.config").read_text() == "max_batch_size { value: 1 }"
    assert "/v1/models/cats/metadata" in (tmp_path / "compose.yaml").read_text()


# Messages that the package tensorflow-serving-api lacks, from session_bundle_config.proto and monitoring_config.proto.
_INT64, _STRING = descriptor_pb2.FieldDescriptorProto.TYPE_INT64, descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "allowed_batch_sizes": [_INT64],
        "pad_variable_length_inputs": _BOOL,
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
    },
    "PrometheusConfig": {"enable": _BOOL, "path": _STRING},
    "MonitoringConfig": {"prometheus_config": ".stand_in.PrometheusConfig"},
}


def parse(name: str, text: str):
    """Parses a message of MESSAGES in text format; unknown fields are errors."""
    file = descriptor_pb2.FileDescriptorProto(name="stand_in.proto", package="stand_in", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message_name, fields in MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for number, (field_name, kind) in enumerate(fields.items(), start=1):
            field = message.field.add(name=field_name, number=number, label="LABEL_OPTIONAL")
            if isinstance(kind, list):
                field.label, (kind,) = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED, kind
            if isinstance(kind, str):
                field.type, field.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, kind
            else:
                field.type = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    message_class = message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stand_in.{name}"))
    return text_format.Parse(text, message_class())


def batching(kind: str) -> dict:
    message = parse("BatchingParameters", (tf_serving.CONFIGURATION / f"batching-{kind}.config").read_text())
    return {field.name: getattr(value, "value", value) for field, value in message.ListFields()}


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_batching_config(kind):
    values = batching(kind)
    sizes = tuple(values["allowed_batch_sizes"])
    assert values["max_batch_size"] == warmup.BATCH_SIZES[-1] == 8
    # The server requires the last size to be the largest batch that it runs.
    together = values["max_execution_batch_size"] if kind == "cpu" else values["max_batch_size"]
    assert sizes == tuple(size for size in warmup.BATCH_SIZES if size <= together)
    assert values.get("enable_large_batch_splitting", False) == (kind == "cpu")
    assert together * values["num_batch_threads"] >= values["max_batch_size"]


def test_another_field_in_a_batching_config():
    with pytest.raises(text_format.ParseError, match='no field named "max_batches"'):
        parse("BatchingParameters", "max_batches { value: 8 }")


def test_monitoring_config():
    message = parse("MonitoringConfig", (tf_serving.CONFIGURATION / "monitoring.config").read_text())
    assert message.prometheus_config.enable
    for file in ("kubernetes-cpu.yaml", "kubernetes-gpu.yaml"):
        assert message.prometheus_config.path in (tf_serving.CONFIGURATION / file).read_text()


def check_server_arguments(published: Path, arguments: list[str], kind: str) -> None:
    files = dict(argument.lstrip("-").split("=", 1) for argument in arguments if "_file=" in argument)
    assert set(files) == {"model_config_file", "batching_parameters_file", "monitoring_config_file"}
    for path in files.values():
        assert (published / Path(path).relative_to("/models")).is_file()
    assert files["batching_parameters_file"] == f"/models/batching-{kind}.config"
    assert "--enable_batching" in arguments


def test_compose(published):
    services = yaml.safe_load((published / "compose.yaml").read_text())["services"]
    assert set(services) == {"cpu", "gpu"}
    for name, service in services.items():
        check_server_arguments(published, service["command"], name)
        assert service["image"].startswith("tensorflow/serving:2.")
        assert service["image"].endswith("-gpu") == (name == "gpu") == ("deploy" in service)
        assert service["ports"] == ["8500:8500", "8501:8501"]
        assert service["volumes"] == [".:/models:ro"]
        assert service.get("environment", {}) == (FROZEN_WEIGHTS if name == "cpu" else {})
        assert service["healthcheck"]["test"][:3] == ["CMD", "bash", "-c"]


def test_the_health_check_of_compose(published, version_path):
    service = yaml.safe_load((published / "compose.yaml").read_text())["services"]["cpu"]
    *_, script = service["healthcheck"]["test"]
    with serving_stand_in.serve_rest(serving_stand_in.Models(published)) as address:
        script = script.replace("8501", address.rpartition(":")[2])
        assert subprocess.run(["bash", "-c", script], check=False).returncode == 0
        absent = script.replace(f"/{NAME}/", "/another/")
        assert subprocess.run(["bash", "-c", absent], check=False).returncode != 0


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_kubernetes(published, kind):
    deployment, service = yaml.safe_load_all((published / f"kubernetes-{kind}.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in container.get("env", [])}
    assert environment == (FROZEN_WEIGHTS if kind == "cpu" else {})
    check_server_arguments(published, container["args"], kind)
    assert container["image"].endswith("-gpu") == (kind == "gpu")
    assert container["image"].startswith("tensorflow/serving:2.")
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (kind == "gpu")
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": f"/v1/models/{NAME}/metadata", "port": "rest"}
    assert {port["name"]: port["containerPort"] for port in container["ports"]} == {"grpc": 8500, "rest": 8501}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert labels == deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"]
    assert {port["targetPort"] for port in service["spec"]["ports"]} == {"grpc", "rest"}
    (mount,) = container["volumeMounts"]
    assert mount == {"name": "models", "mountPath": "/models", "readOnly": True}


# Clients


def test_c_program(model, version_path, files, expected, tmp_path):
    """Uses the C++ loader of SavedModels, as the server does."""
    binary = tmp_path / "serving_client"
    library = Path(tf.sysconfig.get_lib())
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-isystem", tf.sysconfig.get_include(), f"-L{library}"]
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2", f"-Wl,-rpath,{library}"]
    subprocess.run(["cc", *flags, CONSUMERS / "serving_client.c", "-o", binary, *libraries], check=True)

    def call(signature: str, output: str, *arguments) -> np.ndarray:
        command = [binary, version_path, signature, output, tmp_path / "result", *arguments]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        return np.fromfile(tmp_path / "result", np.float32)

    images = np.random.default_rng(2).uniform(size=(2, 48, 80, 3)).astype(np.float32)
    images.tofile(tmp_path / "images")
    logits = call("serving_default", "logits", "images", tmp_path / "images", *images.shape[:3])
    assert relative_difference(logits.reshape(2, 10), logits_of(model, 2 * images - 1)) < 1e-5
    logits = call("serve_bytes", "logits", "image_bytes", *files).reshape(3, 10)
    assert relative_difference(logits[::2], expected) < 1e-5
    assert not logits[1].any()
    scores = call("serve_bytes", "scores", "image_bytes", *files).reshape(3, 5)
    np.testing.assert_allclose(scores[::2], -np.sort(-softmax(expected))[:, :5], rtol=1e-5)


_CALLS = """
import json
import sys
import numpy as np
import tensorflow as tf

serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
images = np.load(sys.argv[2])
results = [serve(images=images[:count, :side, :side])["logits"].numpy() for count, side in json.loads(sys.argv[3])]
np.savez(sys.argv[4], *results)
"""


def test_cached_kernels_serve_every_size(model, version_path, tmp_path):
    """With the environment variable for servers on CPUs, calls with other sizes use the cached kernels of the first."""
    sizes = [(1, 64), (3, 64), (3, 33), (1, 33), (1, 64)]
    images = np.random.default_rng(3).uniform(size=(3, 64, 64, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    arguments = (version_path, tmp_path / "images.npy", json.dumps(sizes), tmp_path / "logits.npz")
    environment = {**os.environ, **FROZEN_WEIGHTS, "TF_ENABLE_ONEDNN_OPTS": "1"}
    subprocess.run([sys.executable, "-c", _CALLS, *map(str, arguments)], check=True, env=environment)
    with np.load(tmp_path / "logits.npz") as logits:
        for (count, side), found in zip(sizes, logits.values(), strict=True):
            expected = logits_of(model, 2 * images[:count, :side, :side] - 1)
            assert relative_difference(found, expected) < 1e-5


@pytest.fixture(scope="module")
def models(published) -> serving_stand_in.Models:
    return serving_stand_in.Models(published)


@pytest.fixture(scope="module")
def rest(models) -> Iterator[str]:
    with serving_stand_in.serve_rest(models) as address:
        yield address


@pytest.fixture(scope="module")
def grpc_address(models) -> Iterator[str]:
    with serving_stand_in.serve_grpc(models) as address:
        yield address


def client(name: str):
    spec = importlib.util.spec_from_file_location(name, CLIENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_client(name: str, server: str, paths: list[Path], monkeypatch, capsys) -> tuple[int, list[str]]:
    """Runs a client as a program; returns its exit status and lines."""
    monkeypatch.setattr(sys, "argv", [name, f"--server={server}", f"--model={NAME}", *map(str, paths)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(CLIENTS / f"{name}.py"), run_name="__main__")
    return end.value.code, capsys.readouterr().out.splitlines()


def lines(files: list[Path], expected: np.ndarray) -> list[str]:
    """Returns the expected output of a client."""
    expected_lines = []
    for path, logits in zip(files[::2], expected):
        order = np.argsort(-logits)[:5]
        expected_lines.append(f"{path}: " + ", ".join(f"{CLASS_NAMES[k]} {softmax(logits)[k]:.4f}" for k in order))
    expected_lines.insert(1, f"{files[1]}: the image is not JPEG, PNG, GIF or BMP")
    return expected_lines


def test_rest_client(rest, files, expected, monkeypatch, capsys):
    status, found = run_client("client_rest", rest, files, monkeypatch, capsys)
    assert found == lines(files, expected)
    assert status == 1
    assert run_client("client_rest", rest, files[::2], monkeypatch, capsys)[0] == 0

    module = client("client_rest")
    answers = module.classify(rest, NAME, [path.read_bytes() for path in files])
    assert relative_difference([answers[0]["logits"], answers[2]["logits"]], expected) < 1e-5
    with pytest.raises(RuntimeError, match=r"another:predict answered 404: .*Servable not found"):
        module.classify(rest, "another", [b""])


def test_float_images_over_rest(rest, model):
    images = np.random.default_rng(3).uniform(size=(2, 32, 40, 3)).astype(np.float32)
    body = json.dumps({"inputs": {"images": images.tolist()}}).encode()
    with urllib.request.urlopen(f"{rest}/v1/models/{NAME}/versions/{VERSION}:predict", body) as response:
        outputs = json.load(response)["outputs"]
    assert relative_difference(np.array(outputs["logits"]), logits_of(model, 2 * images - 1)) < 1e-5


def test_readiness_over_rest(rest):
    with urllib.request.urlopen(f"{rest}/v1/models/{NAME}/metadata") as response:
        metadata = json.load(response)["metadata"]["signature_def"]["signature_def"]
    assert set(metadata) == {"serving_default", "serve_bytes", "features"}
    assert set(metadata["serve_bytes"]["outputs"]) == {"scores", "classes", "logits", "valid", "error"}
    with urllib.request.urlopen(f"{rest}/v1/models/{NAME}") as response:
        (status,) = json.load(response)["model_version_status"]
    assert (status["version"], status["state"]) == (str(VERSION), "AVAILABLE")


def test_grpc_client(grpc_address, files, expected, monkeypatch, capsys):
    status, found = run_client("client_grpc", grpc_address, files, monkeypatch, capsys)
    assert found == lines(files, expected)
    assert status == 1

    module = client("client_grpc")
    answer = module.classify(grpc_address, NAME, [path.read_bytes() for path in files])
    assert set(answer) == {"valid", "error", "classes", "scores"}
    assert answer["valid"].tolist() == [True, False, True]
    with pytest.raises(grpc.RpcError) as error:
        module.classify(grpc_address, "another", [b""])
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


def test_saved_model_cli(run_program, version_path, files, expected, tmp_path):
    signature = ["--dir", version_path, "--tag_set", "serve", "--signature_def", "serve_bytes"]
    np.save(tmp_path / "files.npy", np.array([path.read_bytes() for path in files]))
    inputs = ["--inputs", f"image_bytes={tmp_path / 'files.npy'}", "--outdir", tmp_path]
    commands = [list(map(str, command)) for command in (["show", *signature], ["run", *signature, *inputs])]
    result = run_program("tests.consumers.serving_cli", json.dumps(commands))
    assert result.returncode == 0, result.stderr
    shown = result.stdout
    assert "inputs['image_bytes'] tensor_info:\n      dtype: DT_STRING\n      shape: (-1)" in shown
    assert "outputs['classes'] tensor_info:\n      dtype: DT_STRING\n      shape: (-1, 5)" in shown
    assert "outputs['valid'] tensor_info:\n      dtype: DT_BOOL\n      shape: (-1)" in shown
    logits = np.load(tmp_path / "logits.npy")
    assert relative_difference(logits[::2], expected) < 1e-5
    assert np.load(tmp_path / "valid.npy").tolist() == [True, False, True]


# Errors


def test_the_program_serves_at_the_resolution_of_the_weights(golden_npz, tmp_path, monkeypatch):
    class _Written(Exception):
        pass

    def write(model, path, kind, class_names, options, destination):
        raise _Written(options["resolution"])

    shutil.copy(golden_npz, tmp_path / "weights.npz")
    (tmp_path / "config.json").write_text('{"resolution": 64, "data": {}, "backend": "jax"}')
    monkeypatch.setattr(tf_serving, "write_checked", write)
    model = BiT.from_preset(tmp_path / "weights.npz")
    for asked, served in ((None, 64), (96, 96)):
        with pytest.raises(_Written, match=f"^{served}$"):
            tf_serving.export_serving(model, tmp_path / "models", resolution=asked)


def test_an_existing_version_is_refused(published, model):
    before = sorted(published.rglob("*"))
    with pytest.raises(FileExistsError, match=r"version 3 of digits exists, in .*; take another one"):
        tf_serving.export_serving(model, published, NAME, VERSION)
    assert sorted(published.rglob("*")) == before


def test_a_damaged_models_config_is_refused(model, tmp_path):
    (tmp_path / "models.config").write_text("models {")
    with pytest.raises(ValueError, match=r"models\.config must be a ModelServerConfig in text form: 1:1"):
        tf_serving.export_serving(model, tmp_path)
    assert os.listdir(tmp_path) == ["models.config"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "name must be letters, digits,.* got 'a/b'"),
        ({"name": ".hidden"}, "name must be letters, digits,.* got '.hidden'"),
        ({"version": 0}, "version must be 1 or more, got 0"),
        ({"class_names": ["a"]}, "got 1 names for 10 outputs"),
        ({"precision": "int8"}, "precision must be one of"),
    ],
)
def test_arguments_are_refused(model, arguments, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        tf_serving.export_serving(model, tmp_path / "new" / "models", **arguments)
    assert os.listdir(tmp_path) == []


def test_another_backend_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ValueError, match="KERAS_BACKEND must be tensorflow to export for TF Serving, got jax"):
        tf_serving.export_serving(model, tmp_path)


def test_a_failed_check_leaves_nothing(check_here, model, version_path, tmp_path, monkeypatch):
    monkeypatch.setitem(writer._WRITERS, "serving", lambda _, path, *rest: shutil.copytree(version_path, path))
    output, head = tmp_path / "new" / "models", model.get_layer("head")
    weights = head.get_weights()
    head.set_weights([weight * 1.001 for weight in weights])
    try:
        with check_here(), pytest.raises(RuntimeError, match=r"\n0/logits: differs by .*allowed is 1e-05"):
            tf_serving.export_serving(model, output, class_names=CLASS_NAMES, resolution=RESOLUTION)
    finally:
        head.set_weights(weights)
    assert os.listdir(tmp_path) == []


def test_the_program_reports_errors(run_program, tmp_path):
    flags = flags_of(model=tmp_path / "none.npz", output=tmp_path / "models")
    result = run_program("bit_keras.export", "serving", *flags)
    assert result.returncode == 1
    assert "none.npz" in result.stderr
    assert os.listdir(tmp_path) == []
