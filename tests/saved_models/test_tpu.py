"""SavedModels for TPUs, as far as they can be tested without one."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

import bit_keras
from bit_keras.export import tpu as program_module
from bit_keras.network.folding import folded
from bit_keras.saved_models import tpu, tpu_check
from bit_keras.saved_models.tpu import FORMS, export_tpu
from bit_keras.system import command_line
from tests import kernels

SIZE = 32
BATCH_SIZES = (1, 3)
CONVOLUTIONS = 20  # of R17x0.5


@pytest.fixture(scope="module")
def weights() -> Path:
    return Path(__file__).parents[1] / "fixtures" / "golden_r_small.npz"


@pytest.fixture(scope="module")
def model(weights) -> bit_keras.BiT:
    return bit_keras.BiT.from_preset(weights)


@pytest.fixture(scope="module")
def program(run_program, weights, tmp_path_factory) -> tuple[Path, str]:
    """The directory that the program wrote, and its output."""
    output = tmp_path_factory.mktemp("tpu") / "new" / "tpu"
    sizes = f"--batch_sizes={','.join(map(str, BATCH_SIZES))}"
    flags = [f"--model={weights}", f"--output={output}", sizes, f"--resolution={SIZE}"]
    result = run_program("export.tpu", *flags, environment={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"})
    assert result.returncode == 0, result.stderr
    return output, result.stdout


@pytest.fixture(scope="module")
def exported(program) -> dict[str, Path]:
    folder, _ = program
    return {form: folder / form for form in FORMS}


@pytest.fixture(scope="module")
def expected(model) -> dict[str, np.ndarray]:
    """The expected outputs of the check, recomputed from the folded network as a graph."""
    network = folded(model, "bfloat16")
    serve = tpu._signature(lambda images: tf.cast(network(images, training=False), tf.float32), SIZE, "squash")
    images = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    logits = serve(image_bytes=tf.stack([tf.io.encode_png(image) for image in images]))["logits"].numpy()
    return {"images/3": images, "logits/3": logits}


def meta_graph(path: Path) -> MetaGraphDef:
    (found,) = SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    return found


def function_for_tpu(graph: MetaGraphDef):
    (name,) = tpu_check.tpu_functions(graph)
    (function,) = (f for f in graph.graph_def.library.function if f.signature.name == name)
    return function


def test_what_is_written(program):
    folder, output = program
    assert os.listdir(folder.parent) == ["tpu"]
    assert sorted(os.listdir(folder)) == ["converter", "direct", "summary.json"]
    rows = json.loads((folder / "summary.json").read_text())["artefacts"]
    assert [row["name"] for row in rows] == list(FORMS)
    for row in rows:
        assert row["path"] == str(folder / row["name"])
        assert 1e-4 < row["max_difference"] < 0.1  # of bfloat16 from float32
        assert row["extra"]["from bfloat16"] <= tpu_check.TOLERANCE
        assert row["extra"]["convolutions in bf16"] == str(CONVOLUTIONS)
        assert row["extra"]["batch sizes"] == "1, 3"
        assert row["extra"]["run on a TPU"] == "never"
    header, *lines, where, last = output.splitlines()
    assert where.startswith("SavedModels in ")
    assert header.startswith("artefact   bytes")
    assert [line.split()[0] for line in lines] == list(FORMS)
    assert "Never run on a TPU" in last


def test_the_converter_form(exported):
    graph = meta_graph(exported["converter"])
    assert list(graph.meta_info_def.tags) == ["serve"]
    function = function_for_tpu(graph)
    assert graph.meta_info_def.function_aliases[function.signature.name] == "tpu_func"
    operations = [node.op for function in graph.graph_def.library.function for node in function.node_def]
    assert not any(operation.startswith("TPU") for operation in operations)
    assert "DecodeImage" in operations
    assert [node.op for node in function.node_def].count("Conv2D") == CONVOLUTIONS


@pytest.mark.parametrize("form", FORMS)
def test_xla_has_a_kernel_for_every_operation_on_the_tpu(exported, form):
    graph = meta_graph(exported[form])
    part = GraphDef(node=function_for_tpu(graph).node_def, library=graph.graph_def.library)
    nodes = [node for node in kernels.reached(part) if node.op not in tpu_check._TPU_OPS]
    assert [node.op for node in nodes].count("Conv2D") == CONVOLUTIONS
    assert kernels.missing(nodes, "XLA") == set()


def test_the_direct_form(exported):
    graph = meta_graph(exported["direct"])
    assert list(graph.meta_info_def.tags) == ["serve", "tpu"]
    nodes = [node for function in graph.graph_def.library.function for node in function.node_def]
    (call,) = (node for node in nodes if node.op == "TPUPartitionedCall")
    assert call.input[-1].startswith("TPUOrdinalSelector")
    (batch,) = (node for node in nodes if node.op == "BatchFunction")
    assert list(batch.attr["allowed_batch_sizes"].list.i) == [1, 3]
    assert batch.attr["max_batch_size"].i == 3
    inside = [node for node in function_for_tpu(graph).node_def if "_tpu_replicate" in node.attr]
    assert [node.op for node in inside].count("Conv2D") == CONVOLUTIONS


@pytest.mark.parametrize("form", FORMS)
def test_the_variables_are_stored_once(exported, model, form):
    stored = sum(path.stat().st_size for path in (exported[form] / "variables").iterdir())
    assert 1.0 <= stored / (2 * model.count_params()) <= 1.05


def test_a_consumer_needs_only_tensorflow(exported, model, tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    contents = [tf.io.encode_png(image).numpy(), b"no image", tf.io.encode_jpeg(image[:20]).numpy()]
    paths = [tmp_path / f"{k}.image" for k in range(3)]
    for path, content in zip(paths, contents):
        path.write_bytes(content)
    consumer = Path(__file__).parents[1] / "consumers" / "tpu_load.py"
    result = subprocess.run(
        [sys.executable, consumer, exported["converter"], exported["direct"], *paths],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    facts = json.loads(result.stdout.splitlines()[-1])
    logits = np.array(facts["logits"])
    expected = keras.ops.convert_to_numpy(model(image[np.newaxis] / np.float32(127.5) - 1))
    assert np.abs(logits[0] - expected).max() / np.abs(expected).max() < 0.1
    assert facts["valid"] == [True, False, True]
    assert facts["error"] == ["", "the image is not JPEG, PNG, GIF or BMP", ""]
    assert not logits[1].any()
    assert logits[2].any()
    assert facts["inputs"] == {"image_bytes": "<dtype: 'string'>"}
    assert facts["outputs"] == {"logits": ["float32", None, 10], "valid": ["bool", None], "error": ["string", None]}
    assert "TPU" in facts["refusal"]  # this machine has none
    assert not facts["library_imported"]


@pytest.mark.parametrize("form", FORMS)
def test_with_plain_calls_it_is_the_network(exported, expected, form):
    facts = tpu_check.check(exported[form], expected)
    assert facts["max_difference"] <= tpu_check.TOLERANCE
    assert facts["convolutions"] == CONVOLUTIONS
    assert sorted(os.listdir(exported[form].parent)) == ["converter", "direct", "summary.json"]


def test_other_numbers_are_refused(exported, expected):
    wrong = {**expected, "logits/3": expected["logits/3"] * np.float32(1.0001)}
    with pytest.raises(ValueError, match=r"batch size 3: the logits differ by .* allowed is 1e-06"):
        tpu_check.check(exported["direct"], wrong)


def test_replacing_leaves_no_tpu_operation(exported):
    graph = meta_graph(exported["direct"]).graph_def
    tpu_check.replace_tpu_ops(graph)
    nodes = [node for function in graph.library.function for node in function.node_def]
    assert not [node.op for node in nodes if "TPU" in node.op]
    assert not [name for node in nodes for name in node.attr if name.startswith("_tpu")]


def _add_decoder(graph: MetaGraphDef) -> None:
    function_for_tpu(graph).node_def.add(name="decoder", op="DecodeJpeg", input=["files"])


def _add_string(graph: MetaGraphDef) -> None:
    function_for_tpu(graph).node_def.add(name="text", op="Const").attr["dtype"].type = tf.string.as_datatype_enum


def _add_call(graph: MetaGraphDef) -> None:
    """Makes the function for the TPU call the signature, which decodes files."""
    names = [function.signature.name for function in graph.graph_def.library.function]
    (name,) = (name for name in names if name.startswith("__inference_serve"))
    function_for_tpu(graph).node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = name


def _replace_call(graph: MetaGraphDef) -> None:
    name = function_for_tpu(graph).signature.name
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.attr["f"].func.name == name:
                node.attr["f"].func.name = "another"


@pytest.mark.parametrize(
    ("form", "damage", "message"),
    [
        ("converter", _add_decoder, "DecodeJpeg is for the host, but is in .* as decoder"),
        ("direct", _add_decoder, "DecodeJpeg is for the host, but is in .* as decoder"),
        ("direct", _add_string, "Const is for the host, but is in .* as text"),
        ("converter", _add_call, "is for the host, but is in __inference_serve"),
        ("converter", _replace_call, "nothing calls __inference_tpu_func"),
        ("converter", lambda graph: graph.meta_info_def.function_aliases.clear(), r"for the TPU, got \[\]"),
        ("direct", _replace_call, r"for the TPU, got \['another'\]"),
        ("direct", lambda graph: tpu_check.replace_tpu_ops(graph.graph_def), r"for the TPU, got \[\]"),
    ],
)
def test_wrong_graphs_are_refused(exported, form, damage, message):
    graph = meta_graph(exported[form])
    assert tpu_check.graph_faults(graph) == []
    damage(graph)
    faults = "\n".join(tpu_check.graph_faults(graph))
    assert re.search(message, faults), faults


@pytest.mark.parametrize(
    ("hlo", "message"),
    [
        ("%a = f32[8,4,4,32]{3,2,1,0} convolution(f32[8,4,4,3] %b, f32[1,1,3,32] %c)", "must be bf16, got f32"),
        ("%a = bf16[8,4]{1,0} dot(bf16[8,4] %b, bf16[4,4] %c)", "must be bf16, got none"),
        ("%a = bf16[<=8,4,4,32]{3,2,1,0} convolution(%b, %c)", "must have no dynamic dimension"),
        ("%a = bf16[8,4,4,32]{3,2,1,0} convolution(%b, %c)\n%d = s32[] get-dimension-size(%a)", "no dynamic dimension"),
    ],
)
def test_wrong_hlo_is_refused(hlo, message):
    with pytest.raises(ValueError, match=f"batch size 8: .*{message}"):
        tpu_check._check_hlo(hlo, "8")


@pytest.mark.parametrize(("known", "served"), [(40, 40), (None, 224)])
def test_the_resolution_is_that_of_the_weights(weights, tmp_path, monkeypatch, known, served):
    class _Expected(Exception):
        pass

    def expect(model, call, batch_sizes, resolution, path):
        raise _Expected(resolution)

    model = bit_keras.BiT.from_preset(weights)
    model.resolution = known
    monkeypatch.setattr(tpu, "_write_expected", expect)
    with pytest.raises(_Expected, match=f"^{served}$"):
        export_tpu(model, tmp_path / "tpu")


def test_a_failed_check_leaves_nothing_behind(model, tmp_path, monkeypatch):
    monkeypatch.setattr(tpu, "folded", lambda model, dtype: folded(model, "float32"))
    monkeypatch.setattr(tpu, "measure", lambda run, size: {1: 1.0, 8: 1.0})

    def check_here(fault: str, program: Path, *arguments) -> None:
        """Checks in this process: the program of `program` does so in others, which import TensorFlow for seconds."""
        assert program == Path(tpu_check.__file__)
        if faults := tpu_check.main(*map(str, arguments)):
            raise RuntimeError(f"{fault} ({faults})")

    monkeypatch.setattr(tpu, "run_python", check_here)
    with pytest.raises(RuntimeError, match=r"the converter form is faulty (.|\n)*must be bf16, got f32"):
        export_tpu(model, tmp_path / "tpu", (1,), SIZE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_sizes": []}, r"numbers of 1 or more, ascending, got \[\]"),
        ({"batch_sizes": [8, 1]}, r"ascending, got \[8, 1\]"),
        ({"batch_sizes": [1, 1]}, r"ascending, got \[1, 1\]"),
        ({"batch_sizes": [0, 1]}, r"ascending, got \[0, 1\]"),
        ({"resolution": 0}, "resolution must be 1 or more, got 0"),
    ],
)
def test_arguments_are_refused(model, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        export_tpu(model, tmp_path / "tpu", **arguments)
    assert os.listdir(tmp_path) == []


def test_the_program_fails_with_a_status(weights, tmp_path, monkeypatch):
    values = types.SimpleNamespace(model=weights, output=tmp_path, batch_sizes=["1"], resolution=SIZE)
    monkeypatch.setattr(program_module.flags, "FLAGS", values)
    monkeypatch.setattr("sys.argv", ["tpu"])
    monkeypatch.setattr(command_line, "_parse", lambda *_: [])
    with pytest.raises(SystemExit) as error:
        command_line.run(program_module.main)
    assert error.value.code == 1
    assert os.listdir(tmp_path) == []


def test_an_existing_directory_is_refused(model, tmp_path):
    with pytest.raises(FileExistsError, match=f"a directory that does not exist yet, got {tmp_path}"):
        export_tpu(model, tmp_path)
    assert os.listdir(tmp_path) == []
