"""Imports run one way, and the network runs where TensorFlow cannot be imported."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import bit_keras

ROOT = Path(bit_keras.__file__).parent

# Tables -> layers, model -> checkpoints, training, data -> evaluation, export -> fine-tuning -> programs. A module
# imports what has a smaller rank than its own, or lies in its own package. A package's rank is that of its modules.
RANKS = {
    "bit_keras.system": 0,
    "bit_keras.distribution": 1,
    "bit_keras.metrics": 1,
    "bit_keras.rules": 1,
    "bit_keras.zoo": 1,
    "bit_keras.checkpoints": 2,
    "bit_keras.data": 2,
    "bit_keras.figures": 2,
    "bit_keras.peers": 2,
    "bit_keras.provenance": 2,
    "bit_keras.training": 2,
    "bit_keras.network": 3,
    "bit_keras.saved_models": 4,
    "bit_keras.runs": 5,
    "bit_keras.convert": 6,
    "bit_keras.distill": 6,
    "bit_keras.evaluate": 6,
    "bit_keras.few_shot": 6,
    "bit_keras.finetune": 6,
    "bit_keras.pretrain": 6,
    "bit_keras": 7,  # the public names
}

# A program calls another program's function.
EXCEPTIONS = {("bit_keras.few_shot", "bit_keras.finetune")}

# Records of numbers and tables, and what all others stand on.
PURE = {"bit_keras.system", "bit_keras.zoo", "bit_keras.rules.hyperrule", "bit_keras.rules.schedules"}

# Run from a checkout, and are not installed.
NOT_INSTALLED = {"benchmarks", "docs", "examples", "export", "hub_modules", "pretraining", "tests", "tools"}

TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tensorflow_hub", "tf_keras"}
MAY_IMPORT_TENSORFLOW = (
    *("bit_keras.data.examples_tf", "bit_keras.data.pipeline", "bit_keras.data.preprocessing", "bit_keras.data.tfds"),
    *("bit_keras.data.decoded", "bit_keras.data.tfds_errors", "bit_keras.data.tfrecords"),
    *("bit_keras.saved_models.export", "bit_keras.saved_models.check"),
    *("bit_keras.evaluate.classifier", "bit_keras.saved_models.layer", "bit_keras.saved_models.serving"),
    *("bit_keras.network.convolution_tf", "bit_keras.network.arithmetic", "bit_keras.rules.sgd"),
    *("bit_keras.checkpoints.hub_module", "bit_keras.peers", "bit_keras.network.prediction"),
    "bit_keras.training.determinism",
    *("bit_keras.distribution.base", "bit_keras.distribution.engine_tf"),
)


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
    """The row of RANKS that a module belongs to; the public names are no parent of the modules below them."""
    while module not in RANKS and module.count(".") > 1:
        module = module.rpartition(".")[0]
    return module if module in RANKS else None


def _faults(module: str, source: str) -> list[str]:
    package = _package(module)
    if package is None:
        return [f"{module} has no rank: give it one"]
    faults = []
    for imported, is_lazy in _imports(source):
        top = imported.partition(".")[0]
        if not top:
            faults.append(f"{module} imports {imported} by a relative name")
        elif top in NOT_INSTALLED:
            faults.append(f"{module} imports {imported}, which is not installed")
        elif imported.endswith(".__main__"):
            faults.append(f"{module} imports {imported}, a program")
        elif top in TENSORFLOW and not {module, package} & set(MAY_IMPORT_TENSORFLOW):
            faults.append(f"{module} imports {imported}")
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


def test_exceptions_are_in_use():
    for module, imported in EXCEPTIONS:
        assert imported in dict(_imports(MODULES[module].read_text()))


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
        ("bit_keras.checkpoints.npz", "from bit_keras.network.model import BiT"),
        ("bit_keras.data.source", "from bit_keras.training import MixUp"),
        ("bit_keras.data.source", "import tensorflow as tf"),
        ("bit_keras.finetune.finetuner", "from bit_keras.finetune.__main__ import run"),
        ("bit_keras.finetune.finetuner", "from examples import demo"),
        ("bit_keras.finetune.finetuner", "import export.tfhub"),
        ("bit_keras.rules.mixup", "import tensorflow as tf"),
        ("bit_keras.network.model", "def f():\n    from tensorflow.keras import layers"),
        ("bit_keras.rules.hyperrule", "def f():\n    from bit_keras import training"),
        ("bit_keras.zoo.variants", "import numpy as np"),
    ],
)
def test_the_rule_sees_faults(module, source):
    assert len(_faults(module, source)) == 1


def _run(program: str) -> str:
    # An optimized compilation of JAX's random numbers takes half a minute.
    variables = {"KERAS_BACKEND": "jax", "XLA_FLAGS": "--xla_backend_optimization_level=0"}
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
"""
    of_keras, of_both = _run(program).splitlines()
    assert of_keras == of_both == "[]"
