"""Imports go downwards only, and the network runs if TensorFlow cannot be imported."""

import ast
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bit_keras

ROOT = Path(bit_keras.__file__).parent

# The rows of docs/architecture.md, from the lowest up. A package or module imports only from lower rows and itself.
FLOORS = (
    ("system",),
    ("distribution", "metrics", "rules", "zoo"),
    ("checkpoints", "data", "figures", "training"),
    ("network",),
    ("saved_models",),
    ("edge", "inference", "runs"),
    (
        "bulk",
        "convert",
        "detection",
        "distill",
        "evaluate",
        "export",
        "few_shot",
        "finetune",
        "predict",
        "pretrain",
        "protocols",
    ),
)
RANKS = {f"bit_keras.{name}": rank for rank, names in enumerate(FLOORS) for name in names}
RANKS["bit_keras"] = len(FLOORS)  # the public names

# Likewise inside `detection`.
ROOMS = (("data", "network"), ("inference",), ("evaluation", "export"), ("training",), ("programs",))

# A program that calls the function of another program.
EXCEPTIONS = {
    ("bit_keras.few_shot", "bit_keras.finetune"),
    ("bit_keras.protocols.settings", "bit_keras.finetune"),
    ("bit_keras.protocols.evaluation", "bit_keras.evaluate"),
}

# Plain records, tables and helpers, which import only the standard library, absl and rich.
PURE = {"bit_keras.system", "bit_keras.zoo", "bit_keras.rules.hyperrule", "bit_keras.rules.schedules"}

# Only in a checkout, not installed.
NOT_INSTALLED = {"benchmarks", "docs", "examples", "export", "hub_modules", "pretraining", "tests", "tools"}

TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tensorflow_hub", "tf_keras"}
# The module from which those that load data import TensorFlow.
FOR_DATA = "bit_keras.data.tensorflow_for_data"
TFDS = "bit_keras.data.sources.tfds"  # opens all data of TFDS, which uses TensorFlow where it is installed
MAY_IMPORT_TENSORFLOW = {
    "bit_keras.bulk.parts",
    "bit_keras.checkpoints.reference",
    "bit_keras.data.loaders.bytes_tf",
    "bit_keras.data.loaders.decoded",
    "bit_keras.data.loaders.exif_tf",
    "bit_keras.data.loaders.gif_tf",
    "bit_keras.data.loaders.preprocessing",
    "bit_keras.data.loaders.single_tf",
    "bit_keras.data.loaders.streams",
    "bit_keras.data.loaders.tf_data",
    "bit_keras.data.prepare",
    "bit_keras.data.sources.task_labels",
    "bit_keras.data.sources.tfds",
    "bit_keras.data.sources.tfds_errors",
    "bit_keras.data.sources.tfds_records",
    "bit_keras.data.sources.tfds_stream",
    "bit_keras.data.sources.tfds_task",
    "bit_keras.data.sources.tfrecords",
    FOR_DATA,
    "bit_keras.detection.data.batches_tf",
    "bit_keras.detection.export.comparison",
    "bit_keras.detection.export.convert",
    "bit_keras.detection.export.run_exported",
    "bit_keras.detection.export.serving",
    "bit_keras.detection.data.sources.tfds",
    "bit_keras.distribution.engine_tf",
    "bit_keras.edge.convert",
    "bit_keras.inference.classifier",
    "bit_keras.network.convolution_tf",
    "bit_keras.network.execution",
    "bit_keras.network.gradient_tf",
    "bit_keras.network.program_tf",
    "bit_keras.rules.loss_scale",
    "bit_keras.rules.mixup",
    "bit_keras.rules.sgd",
    "bit_keras.protocols.check",
    "bit_keras.saved_models",
    "bit_keras.training.determinism",
}


def _modules() -> dict[str, Path]:
    modules = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


MODULES = _modules()


def _imports(source: str) -> Iterator[tuple[str, bool]]:
    """Yields each imported module and whether a function imports it."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lazy = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in lazy
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            for alias in node.names:
                name = f"{module}.{alias.name}"
                yield (name if name in MODULES else module), id(node) in lazy


def _package(module: str) -> str | None:
    """Returns the key of RANKS that a module belongs to; `bit_keras` itself is only the public names."""
    while module not in RANKS and module.count(".") > 1:
        module = module.rpartition(".")[0]
    return module if module in RANKS else None


def _loads_data(module: str) -> bool:
    """Whether a module may use TensorFlow beside another backend, to load data, and so must hide GPUs from it."""
    return module.startswith(("bit_keras.data.", "bit_keras.detection.data.")) and module != FOR_DATA


def _faults(module: str, source: str) -> list[str]:
    package = _package(module)
    if package is None:
        return [f"{module} has no rank: give it one"]
    faults = []
    for imported, _ in _imports(source):
        top = imported.partition(".")[0]
        if not top:
            faults.append(f"{module} imports {imported} by a relative name")
        elif top in NOT_INSTALLED:
            faults.append(f"{module} imports {imported}, which is not installed")
        elif imported.endswith(".__main__"):
            faults.append(f"{module} imports {imported}, a program")
        elif (top in TENSORFLOW or imported == FOR_DATA) and not {module, package} & MAY_IMPORT_TENSORFLOW:
            faults.append(f"{module} imports {imported}")
        elif _loads_data(module) and top == "tensorflow":
            faults.append(f"{module} imports {imported}, without hiding GPUs: take `tf` from {FOR_DATA}")
        elif module == TFDS and top in TENSORFLOW and FOR_DATA not in {name for name, _ in _imports(source)}:
            faults.append(f"{module} imports {imported}, but not {FOR_DATA}, which hides GPUs")
        elif top == "bit_keras":
            other = _package(imported)
            if other is None:
                faults.append(f"{module} imports {imported}, which has no rank")
            elif (module, other) in EXCEPTIONS:
                continue
            elif RANKS[other] >= RANKS[package] and other != package:
                faults.append(f"{module} (rank {RANKS[package]}) imports {imported} (rank {RANKS[other]})")
        elif {module, package} & PURE and top not in sys.stdlib_module_names | {"absl", "rich"}:
            faults.append(f"{module} imports {imported}, and should need the standard library alone")
    return faults


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way(module):
    assert not _faults(module, MODULES[module].read_text())


def test_imports_inside_detection_run_one_way():
    ranks = {f"bit_keras.detection.{name}": rank for rank, names in enumerate(ROOMS) for name in names}

    def room(module: str) -> str:
        return ".".join(module.split(".")[:3])

    rooms = {room(module) for module in MODULES if module.startswith("bit_keras.detection.")}
    assert rooms - {"bit_keras.detection.__main__"} == ranks.keys()
    faults = []
    for module, path in MODULES.items():
        here = room(module)
        for imported in {room(name) for name, _ in _imports(path.read_text())} & ranks.keys() - {here}:
            if here in ranks and ranks[imported] >= ranks[here]:
                faults.append(f"{module} imports {imported}")
    assert not faults


def _bound_names(source: str) -> Iterator[tuple[str, str]]:
    """Yields each name that a module binds at its top, and the module that it is imported from, or ""."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom):
            yield from ((alias.asname or alias.name, node.module or "") for alias in node.names)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name, ""
        elif isinstance(node, ast.Assign):
            yield from ((target.id, "") for target in node.targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("package", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_no_name_of_a_package_hides_a_module(package):
    bound = _bound_names(MODULES[package].read_text())
    assert not [name for name, module in bound if f"{package}.{name}" in MODULES and module != package]


def test_the_function_finetune_is_the_package():
    import bit_keras.finetune.plan as plan
    import bit_keras.rules.callbacks as callbacks

    assert inspect.ismodule(plan)
    assert inspect.ismodule(callbacks)
    assert callable(bit_keras.finetune)
    assert list(inspect.signature(bit_keras.finetune).parameters)[:3] == ["model", "dataset", "workdir"]
    assert inspect.signature(bit_keras.finetune).return_annotation is bit_keras.FinetuneResult


def test_no_modules_import_each_other_in_a_circle():
    """Except for `rules`: the methods of the HyperRule make Keras objects."""
    needs = {module: {name for name, _ in _imports(path.read_text())} for module, path in MODULES.items()}
    for module in needs:
        if module.startswith("bit_keras.rules"):
            continue
        reached, ahead = set(), [module]
        while ahead:
            new = needs.get(ahead.pop(), set()) - reached
            reached |= new
            ahead += new
        assert module not in reached


def test_the_table_of_packages_in_the_docs():
    page = (ROOT.parent / "docs" / "architecture.md").read_text()
    table = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| ", page, re.MULTILINE)
    assert [tuple(re.findall(r"\w+", row)) for row in table] == [("bit_keras",), *reversed(FLOORS)]


def test_exceptions_are_in_use():
    for module, imported in EXCEPTIONS:
        assert imported in {_package(name) for name, _ in _imports(MODULES[module].read_text())}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("bit_keras.new", ""),
        ("bit_keras.new_package.module", ""),
        ("bit_keras.data.source", "from bit_keras.network import model"),
        ("bit_keras.data.source", "from bit_keras.network.model import BiT"),
        ("bit_keras.data.source", "import bit_keras.network.model"),
        ("bit_keras.network.layers", "from bit_keras import BiT"),
        ("bit_keras.network.layers", "from bit_keras.new import x"),
        ("bit_keras.network.layers", "from . import variants"),
        ("bit_keras.network.layers", "def f():\n    from bit_keras import model"),
        ("bit_keras.checkpoints.readers.npz", "from bit_keras.network.model import BiT"),
        ("bit_keras.data.source", "from bit_keras.training import MixUp"),
        ("bit_keras.data.source", "import tensorflow as tf"),
        ("bit_keras.data.source", "from bit_keras.data.tensorflow_for_data import tf"),
        ("bit_keras.data.loaders.streams", "import tensorflow as tf"),
        ("bit_keras.data.sources.tfds", "def f():\n    import tensorflow_datasets as tfds"),
        ("bit_keras.detection.data.batches_tf", "from tensorflow import data"),
        ("bit_keras.finetune.finetuner", "from bit_keras.finetune.__main__ import run"),
        ("bit_keras.finetune.finetuner", "from examples import demo"),
        ("bit_keras.finetune.finetuner", "import export.tfhub"),
        ("bit_keras.rules.hyperrule", "import tensorflow as tf"),
        ("bit_keras.network.model", "def f():\n    from tensorflow.keras import layers"),
        ("bit_keras.rules.hyperrule", "def f():\n    from bit_keras import training"),
        ("bit_keras.zoo.variants", "import numpy as np"),
    ],
)
def test_the_rule_sees_faults(module, source):
    assert len(_faults(module, source)) == 1


def _run(program: str) -> str:
    # With optimization, compiling JAX's random numbers takes half a minute.
    variables = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=1"}
    path = os.pathsep.join([str(ROOT.parent), *sys.path])
    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_library_runs_where_tensorflow_cannot_be_imported(golden_npz, tmp_path):
    program = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(TENSORFLOW)}))  # None makes an import fail
import bit_keras
import numpy as np
model = bit_keras.BiT.from_preset({str(golden_npz)!r}, variant="R17x0.5")
print(model.predict(np.zeros((2, 33, 40, 3), "float32"), verbose=0).shape)
bit_keras.save_npz(model, {str(tmp_path / "weights.npz")!r})
rule = bit_keras.HyperRule(50_000, (32, 32))
print(type(rule.optimizer()).__name__, len(rule.callbacks()))
"""
    assert _run(program).splitlines()[-2:] == ["(2, 10)", "SGD 2"]
    assert (tmp_path / "weights.npz").read_bytes()[:2] == b"PK"


def test_the_library_leaves_tensorflow_alone_where_it_could_be_imported():
    program = f"""
import sys
import keras
print(sorted({TENSORFLOW} & set(sys.modules)))
import bit_keras
bit_keras.HyperRule(50_000, (32, 32)).callbacks()
print(sorted({TENSORFLOW} & set(sys.modules)))
print(sorted({{"bit_keras.figures", "bit_keras.runs.run", "bit_keras.training"}} & set(sys.modules)))
"""
    of_keras, of_both, of_training = _run(program).splitlines()
    assert of_keras == of_both == "[]"
    assert of_training == "[]", "the public names need nothing that trains or plots"
