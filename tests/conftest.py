"""Fixtures shared by the tests."""

import atexit
import contextlib
import gc
import http.server
import json
import os
import random
import runpy
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before the first import of TensorFlow
if os.environ.get("KERAS_BACKEND") == "jax":
    # Tests have many shapes and little arithmetic. Level 0 compiles faster still, but runs ten times slower.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=1")
    # Many tests compile the same programs. Workers and programs inherit the folder from the process that makes it.
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="bit_keras_jax")
        atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
if os.environ.get("KERAS_BACKEND") == "torch":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the threads of two workers would only wait for each other

import keras
import numpy as np
import pytest
from absl import flags

gc.set_threshold(10_000)  # a graph is many objects: look for garbage less often

FIXTURES = Path(__file__).parent / "fixtures"
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def _programs_start_in_half_the_time() -> Iterator[None]:
    """Spares the programs that tests start imports of Keras that they do not need; see tests/consumers/lean."""
    folder = str(ROOT / "tests" / "consumers" / "lean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
        patch.setattr(sys, "path", [*sys.path, folder])  # from which many tests compose PYTHONPATH
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_garbage_among_the_modules():
    """Spares every collection in a file's tests the objects, a million, of the libraries that are imported by then."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_random_numbers_in_every_order():
    with pytest.MonkeyPatch.context() as patch:
        # Given a seed, TensorFlow forgets its kernels, and optimizes each function anew at its next call, for seconds.
        if "tensorflow" in sys.modules and _is_as_seeded():
            patch.setattr("tensorflow.random.set_seed", lambda seed: None)
        keras.utils.set_random_seed(0)


def _is_as_seeded() -> bool:
    """Whether TensorFlow has drawn no number since it was given the seed 0."""
    from tensorflow.python.eager import context

    state = context.context()
    return state._seed == 0 and state._rng.getstate() == random.Random(0).getstate()


@pytest.fixture(autouse=True)
def _no_determinism_for_the_next_test():
    """Ends what the setting `deterministic` starts: on tensorflow it would turn XLA off for the rest of the process."""
    yield
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config  # the public API has no way back

        config.disable_op_determinism()
    if "torch" in sys.modules:
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture(scope="session", autouse=True)
def _no_power_failures():
    """Spares the tests the wait for the disk after every written file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session")
def golden_npz() -> Path:
    """Random weights of the official TF2 network with the units of R17x0.5 and 10 classes, under official keys."""
    return FIXTURES / "golden_r_small.npz"


@contextlib.contextmanager
def _tiny() -> Iterator[None]:
    from bit_keras.zoo.variants import VARIANTS

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VARIANTS, "tiny", None)  # restores the table
        runpy.run_path(str(ROOT / "tests" / "consumers" / "tiny.py"))
        yield


@pytest.fixture(scope="module")
def tiny() -> Iterator[None]:
    """Adds the variant "tiny" of tests/consumers/tiny.py, for tests that need no particular network."""
    with _tiny():
        yield


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory) -> Path:
    """Random weights of the variant "tiny" with 10 classes."""
    import bit_keras

    keras.utils.set_random_seed(0)
    with _tiny():
        model = bit_keras.BiT("tiny", 10)
    head = model.get_layer("head")
    random = np.random.default_rng(0)
    head.set_weights([random.normal(0, 0.2, weight.shape) for weight in head.weights])
    path = tmp_path_factory.mktemp("tiny") / "tiny.npz"
    bit_keras.save_npz(model, path)
    return path


@pytest.fixture(scope="session")
def golden_h5() -> Path:
    """The same weights as Keras 2 saved that network."""
    return FIXTURES / "golden_r_small.h5"


@pytest.fixture
def golden_activations() -> dict[str, np.ndarray]:
    """Activations of that network for "image": "root_block", "block1" to "block4", "features", "logits", all NHWC."""
    with np.load(FIXTURES / "golden_r_small_activations.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="session")
def regularized(tiny_npz) -> Callable[[], keras.Model]:
    """Returns a function that makes a BiT with these weights and two regularizers."""
    import bit_keras

    def make() -> bit_keras.BiT:
        with _tiny():
            model = bit_keras.BiT("tiny", 10)
            bit_keras.load_weights(model, tiny_npz)
        model.get_layer("head").kernel.regularizer = keras.regularizers.L2(0.01)
        model.backbone.get_layer("root_block_standardized_conv2d").kernel.regularizer = keras.regularizers.L1(0.001)
        return model

    return make


@pytest.fixture(scope="session")
def check_here() -> Callable[[], contextlib.AbstractContextManager]:
    """Context in which SavedModels are checked in this process: another one imports TensorFlow, for seconds.

    The tests of the programs that export check in another process, as users do.
    """

    @contextlib.contextmanager
    def context() -> Iterator[None]:
        import tensorflow as tf

        from bit_keras.saved_models import check, writer

        def compare_here(kind: str, path: Path, expected: Path, tolerance: float) -> float:
            with tf.device("/CPU:0"):
                largest, faults = check.check(kind, str(path), str(expected), tolerance)
            if faults:
                raise RuntimeError("the SavedModel differs from the model:\n" + "\n".join(faults))
            return largest

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(writer, "_check", compare_here)
            yield

    return context


@pytest.fixture(scope="session")
def reusable_saved_model(regularized, check_here, tmp_path_factory) -> Path:
    """The model of `regularized` as a reusable SavedModel with the class names "digit 0" to "digit 9", moved after
    writing.
    """
    import bit_keras

    folder = tmp_path_factory.mktemp("reusable")
    names = [f"digit {k}" for k in range(10)]
    with check_here():
        written = bit_keras.export_saved_model(regularized(), folder / "new" / "written", class_names=names)
    assert [path.name for path in (folder / "new").iterdir()] == ["written"]
    return written.rename(folder / "moved")


@pytest.fixture
def serve() -> Iterator[Callable[[type], str]]:
    """Starts a local server for a class of request handler and returns its address."""
    servers = []

    def start(handler: type[http.server.BaseHTTPRequestHandler]) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def mock_tfds(tmp_path):
    """Returns a function that mocks a TFDS data set of a name, {split: size} and a number of examples to generate."""
    import tensorflow_datasets as tfds

    def mock(name: str, splits: dict[str, int], num_examples: int):
        builder = tfds.builder(name, data_dir=tmp_path / "tfds")
        infos = [
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[count],
                num_bytes=1_000 * count,
                filename_template=tfds.core.ShardedFileTemplate(
                    dataset_name=name, data_dir=builder.data_dir, split=split, filetype_suffix="tfrecord"
                ),
            )
            for split, count in splits.items()
        ]
        builder.info.set_splits(tfds.core.SplitDict(infos))
        builder.data_path.mkdir(parents=True)
        builder.info.write_to_directory(builder.data_path)
        return tfds.testing.mock_data(num_examples, data_dir=str(tmp_path / "tfds"))

    return mock


@pytest.fixture
def no_flags(monkeypatch) -> None:
    """Hides the flags, some of them required, that modules imported by other tests have defined."""
    monkeypatch.setattr(flags, "FLAGS", flags.FlagValues())


class _Forks:
    """Runs Python programs in forks of a process that has imported some modules; see tests/consumers/command_lines.py.

    The process starts when it is first used. `backend` is that of Keras, which the modules may import.
    """

    def __init__(self, *modules: str, backend: str):
        self._modules, self._backend, self._server, self._lock = modules, backend, None, threading.Lock()

    def run(self, program: str, arguments, environment=None, folder=None) -> subprocess.CompletedProcess:
        request = {"program": program, "arguments": [*map(str, arguments)], "environment": environment}
        with self._lock:
            self._server = self._server or self._start()
            self._server.stdin.write(json.dumps(request | {"folder": folder and str(folder)}) + "\n")
            self._server.stdin.flush()
            status, out, err = json.loads(self._server.stdout.readline())
        return subprocess.CompletedProcess(["python", "-m", program, *request["arguments"]], status, out, err)

    def _start(self) -> subprocess.Popen:
        variables = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "KERAS_BACKEND": self._backend}
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", ROOT / "tests" / "consumers" / "command_lines.py", *self._modules],
            cwd=ROOT,
            env=os.environ | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        if self._server:
            self._server.communicate()


@pytest.fixture(scope="session")
def run_program() -> Iterator[Callable[..., subprocess.CompletedProcess]]:
    """Function that runs a program of the checkout as `python -m` does, without another import of Keras.

    Its arguments are the module, those of the program, and `environment` and `folder` of the process.
    """
    forks = _Forks("tiny", "bit_keras", backend=keras.backend.backend())

    def run(module: str, *arguments, environment: dict[str, str] | None = None, folder: Path | None = None):
        return forks.run(module, arguments, environment, folder)

    yield run
    forks.end()


@pytest.fixture(scope="session", autouse=True)
def _checks_of_exports_in_forks() -> Iterator[None]:
    """Runs the programs that exporters start without another import of TensorFlow.

    tests/system/test_processes.py tests how users run them.
    """
    from bit_keras.system import processes

    forks, run_fresh = _Forks("tensorflow", backend="tensorflow"), processes._run

    def run(arguments: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess:
        if arguments[0] == "-c":
            return run_fresh(arguments, environment)
        program, *rest = arguments[1:] if arguments[0] == "-m" else arguments
        return forks.run(program, rest, environment, os.getcwd())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "_run", run)
        yield
    forks.end()
