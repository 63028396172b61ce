import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from bit_keras.system import startup

ROOT = Path(startup.__file__).parents[2]


def _run(program: str, **variables) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TF_CPP", "KERAS"))}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "KERAS_BACKEND": "tensorflow", **variables}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_keras_and_tensorflow_start_without_noise():
    done = _run("import bit_keras, tensorflow as tf; print(len(tf.config.list_physical_devices('CPU')))")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    assert [line for line in done.stderr.splitlines() if "importing Keras" not in line] == []


QUIET = """
import importlib.util, os, sys
sys.path.insert(0, {root!r})
spec = importlib.util.spec_from_file_location("startup", {file!r})
startup = importlib.util.module_from_spec(spec)
spec.loader.exec_module(startup)
startup._SILENCE = 0.2
with startup.quiet("starting"):
"""
NOISE = 'os.write(2, b"I0000 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will not be used.\\n")'


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ([NOISE, r'os.write(2, b"E0000 libcudnn is missing\n")'], ["E0000 libcudnn is missing"]),
        ([NOISE, r'os.write(2, b"compiled to use AVX\n")', "os.abort()"], ["compiled to use AVX"]),
        ([NOISE, "raise ImportError('none')"], ["Traceback", "ImportError: none"]),
    ],
)
def test_anything_but_noise_is_passed_on(block, expected):
    lines = "".join(f"    {line}\n" for line in block)
    done = _run(QUIET.format(root=str(ROOT), file=startup.__file__) + lines)
    assert (done.returncode == 0) == (len(block) == 2 and "raise" not in block[1])
    assert "cudart_stub" not in done.stderr
    for line in expected:
        assert line in done.stderr


def test_level_0_shows_everything():
    program = QUIET.format(root=str(ROOT), file=startup.__file__) + f"    {NOISE}\n"
    assert "cudart_stub" in _run(program, TF_CPP_MIN_LOG_LEVEL="0").stderr


def test_a_slow_import_says_what_takes_long():
    program = QUIET.format(root=str(ROOT), file=startup.__file__) + "    import time; time.sleep(0.7)\n"
    lines = _run(program).stderr.splitlines()
    assert 2 <= len(lines) <= 3
    assert all(line.startswith("starting: ") and line.endswith(" s so far") for line in lines)


@pytest.mark.parametrize(("driver", "level"), [("/dev/null", "1"), ("/dev/none", "3")])
def test_errors_of_a_missing_gpu_are_hidden_only_where_there_is_none(driver, level, monkeypatch):
    monkeypatch.setattr(startup, "_GPU_DRIVERS", (driver,))
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    with startup.quiet("starting"):
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == level
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")


@pytest.mark.parametrize(
    ("backend", "missing", "lines"),
    [
        (
            "tensorflow",
            ["tensorflow"],
            [
                "ImportError: the backend of Keras is tensorflow here, which is not installed. Set KERAS_BACKEND to "
                "jax, which is installed, or install tensorflow: pip install 'bit-keras[tensorflow]'"
            ],
        ),
        (
            "jax",
            ["tensorflow", "jax"],
            [
                "ImportError: the backend of Keras is jax here, which is not installed. Set KERAS_BACKEND to "
                "torch, which is installed, or install jax: pip install 'bit-keras[jax]'"
            ],
        ),
        (
            "",  # Keras's default
            ["tensorflow", "jax", "torch"],
            [
                "ImportError: Keras needs one of three backends, and none is installed:",
                "  pip install 'bit-keras[tensorflow]'   and set KERAS_BACKEND=tensorflow",
                "  pip install 'bit-keras[jax]'          and set KERAS_BACKEND=jax",
                "  pip install 'bit-keras[torch]'        and set KERAS_BACKEND=torch",
            ],
        ),
    ],
)
def test_a_missing_backend(backend, missing, lines, tmp_path):
    program = f"import sys; sys.modules.update(dict.fromkeys({missing})); import bit_keras"
    done = _run(program, KERAS_BACKEND=backend, KERAS_HOME=str(tmp_path))
    assert done.returncode == 1
    printed = [line for line in done.stderr.splitlines() if not line.startswith("importing Keras")]
    assert printed[-len(lines) :] == lines
    assert not [line for line in printed if "site-packages/keras" in line]
