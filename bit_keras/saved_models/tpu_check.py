"""Program: checks a SavedModel for TPUs, as far as possible on a CPU; imports NumPy and TensorFlow only.

    python tpu_check.py SAVED_MODEL EXPECTED.npz FACTS.json

EXPECTED.npz contains, for each batch size N of the TPU, "images/N" uint8 [N, R, R, 3] and "logits/N" [N, K]. Without
faults the program writes FACTS.json, with the "max_difference" relative to the scale of the logits and the number of
"convolutions", and exits with status 0; otherwise it prints the faults and exits with status 1.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.core.framework.node_def_pb2 import NodeDef
from tensorflow.core.framework.types_pb2 import DT_INT32, DT_STRING
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

ALIAS = "tpu_func"
# The same graph on the same processor; only the order of additions may differ.
TOLERANCE = 1e-6
_TPU_OPS = ("TPUOrdinalSelector", "TPUPartitionedCall", "TPUReplicateMetadata", "TPUReplicatedInput")
_TPU_OPS += ("TPUReplicatedOutput", "TPUCompilationResult")
# Operations of the host, which the TPU's function must not contain. Others that XLA cannot compile make it fail below.
_HOST_OP = re.compile("Decode|Encode|String|Dataset|Iterator|PyFunc|ReadFile|Lookup|HashTable|Assert|Print")


def check(directory: Path, expected: dict[str, np.ndarray]) -> dict:
    """Returns the contents of FACTS.json; raises ValueError with a list of the faults."""
    saved_model = SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    (meta_graph,) = saved_model.meta_graphs
    if faults := graph_faults(meta_graph):
        raise ValueError("\n".join(faults))
    # Next to the original, so that the variables can be hard links.
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        copy = Path(shutil.copytree(directory, Path(scratch, "copy"), copy_function=os.link))
        replace_tpu_ops(meta_graph.graph_def)
        (copy / "saved_model.pb").unlink()
        (copy / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        loaded = tf.saved_model.load(str(copy), tags=list(meta_graph.meta_info_def.tags))
        return _run(loaded, expected)


def graph_faults(meta_graph: MetaGraphDef) -> list[str]:
    """Returns the faults of the operations in a SavedModel."""
    library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    calls = {name: set(_functions_in(function.node_def)) for name, function in library.items()}
    names, faults = tpu_functions(meta_graph), []
    if len(names) != 1 or names[0] not in library:
        return [f"one function must be for the TPU, got {names}"]
    (name,) = names
    if not any(name in called for called in calls.values()):
        faults.append(f"nothing calls {name}")
    if "tpu" in meta_graph.meta_info_def.tags:
        missing = set(_TPU_OPS) - {node.op for function in library.values() for node in function.node_def}
        faults += [f"the operation {op} is missing" for op in sorted(missing)]
    inside, waiting = set(), {name}
    while waiting:
        inside |= waiting
        waiting = set().union(*(calls[function] for function in waiting)) - inside
    for function in sorted(inside):
        for node in library[function].node_def:
            is_string = any(value.type == DT_STRING for value in node.attr.values())
            if node.op not in _TPU_OPS and (is_string or _HOST_OP.search(node.op)):
                faults.append(f"{node.op} is for the host, but is in {function} as {node.name}")
    return faults


def tpu_functions(meta_graph: MetaGraphDef) -> list[str]:
    """Returns the names of the functions for the TPU: those with the alias, or those called by a TPU operation."""
    if "tpu" not in meta_graph.meta_info_def.tags:
        return [name for name, alias in meta_graph.meta_info_def.function_aliases.items() if alias == ALIAS]
    nodes = (node for function in meta_graph.graph_def.library.function for node in function.node_def)
    return sorted({node.attr["f"].func.name for node in nodes if node.op == "TPUPartitionedCall"})


def _functions_in(nodes) -> Iterator[str]:
    for node in nodes:
        for value in node.attr.values():
            yield from (f.name for f in (value.func, *value.list.func) if f.name)


def replace_tpu_ops(graph: GraphDef) -> None:
    """Replaces TPU operations, in place, with their equivalents on a CPU: calls, identities and constants."""
    for function in graph.library.function:
        outputs = {}  # {old name: new name}: the single output of each replacement is called "output"
        for node in function.node_def:
            if node.op == "TPUReplicatedOutput":
                outputs[f"{node.name}:outputs:0"] = f"{node.name}:output:0"
            if node.op == "TPUOrdinalSelector":
                outputs[f"{node.name}:device_ordinals:0"] = f"{node.name}:output:0"
            _replace(node)
        for node in function.node_def:
            node.input[:] = [outputs.get(name, name) for name in node.input]
        for key, name in function.ret.items():
            function.ret[key] = outputs.get(name, name)


def _replace(node: NodeDef) -> None:
    if node.op == "TPUPartitionedCall":
        node.op = "StatefulPartitionedCall"
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[len(data) - 1]  # the device ordinal
        _keep_attributes(node, "Tin", "Tout", "f")
    elif node.op in ("TPUReplicatedInput", "TPUReplicatedOutput"):
        node.op = "Identity"
        _keep_attributes(node, "T")
    elif node.op == "TPUOrdinalSelector":
        node.op = "Const"
        _keep_attributes(node)
        node.attr["dtype"].type = DT_INT32
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(0, tf.int32))
    elif node.op in ("TPUReplicateMetadata", "TPUCompilationResult"):
        node.op = "NoOp"
        _keep_attributes(node)
    _keep_attributes(node, *(name for name in node.attr if not name.startswith("_tpu_")))


def _keep_attributes(node: NodeDef, *names: str) -> None:
    for name in set(node.attr) - set(names):
        del node.attr[name]


def _run(loaded, expected: dict[str, np.ndarray]) -> dict:
    serve, differences, convolutions = loaded.signatures["serving_default"], [], set()
    for name in expected:
        kind, _, size = name.partition("/")
        if kind != "images":
            continue
        images, logits = expected[name], expected[f"logits/{size}"]
        files = tf.stack([tf.io.encode_png(image) for image in images])
        found = serve(image_bytes=files)["logits"].numpy()
        if found.shape != logits.shape:
            raise ValueError(f"batch size {size}: the logits must be {logits.shape}, got {found.shape}")
        differences.append(float(np.abs(found - logits).max() / max(np.abs(logits).max(), 1e-30)))
        if not differences[-1] <= TOLERANCE:  # also for NaN
            raise ValueError(f"batch size {size}: the logits differ by {differences[-1]:.2g}, allowed is {TOLERANCE}")
        convolutions.add(_check_hlo(_hlo(loaded, images.shape), size))
    return {"max_difference": max(differences), "convolutions": min(convolutions)}


def _hlo(loaded, shape: tuple[int, ...]) -> str:
    """Returns the HLO that XLA compiles the TPU's function to, for images of one shape."""

    @tf.function(jit_compile=True, autograph=False)
    def compiled(images):
        return getattr(loaded, ALIAS)(images)

    return compiled.experimental_get_compiler_ir(tf.TensorSpec(shape))(stage="hlo")


def _check_hlo(hlo: str, size: str) -> int:
    """Returns the number of convolutions; raises ValueError unless all are bf16 and all dimensions static."""
    types = re.findall(r"= (\w+)\[[^ ]* convolution\(", hlo)
    wrong = sorted({kind for kind in types if kind != "bf16"})
    if wrong or not types:
        raise ValueError(f"batch size {size}: every convolution must be bf16, got {', '.join(wrong) or 'none'}")
    if re.search(r"\[[^\]]*<=|[sg]et-dimension-size", hlo):
        raise ValueError(f"batch size {size}: the compiled HLO must have no dynamic dimension")
    return len(types)


def main(directory: str, expected_file: str, facts_file: str) -> str | None:
    with np.load(expected_file, allow_pickle=False) as archive:
        expected = dict(archive)
    try:
        facts = check(Path(directory), expected)
    except (ValueError, tf.errors.OpError) as error:
        return str(error)
    Path(facts_file).write_text(json.dumps(facts))
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
