"""Ctrl-C while a program starts."""

import os
import signal
import subprocess
import sys
import time

import pytest

from bit_keras.system import interrupts


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "-m", "bit_keras.finetune", "--steps=5"], True),
        (["python", "-W", "error", "-X", "dev", "-m", "bit_keras.convert"], True),
        (["python", "-um", "bit_keras.predict"], False),
        (["python", "-m", "examples.demo"], True),
        (["python", "-m", "examples.mine"], False),
        (["python", "-m", "pytest", "bit_keras"], False),
        (["python", "train.py", "-m", "bit_keras.finetune"], False),
        (["python", "-c", "import bit_keras", "-m", "bit_keras.finetune"], False),
        (["python"], False),
    ],
)
def test_programs_of_this_project_are_known(command, expected, monkeypatch, tmp_path):
    (tmp_path / "examples").mkdir()
    for path in ("pyproject.toml", "examples/demo.py"):  # a checkout
        (tmp_path / path).touch()
    monkeypatch.setattr(interrupts, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "orig_argv", command)
    monkeypatch.setattr(sys, "argv", ["-m"])
    assert interrupts.is_program() is expected
    (tmp_path / "pyproject.toml").unlink()  # installed: a folder "examples" is not this project's
    assert interrupts.is_program() is (expected and "examples.demo" not in command)


def test_console_scripts_are_programs(monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python", "/usr/bin/bit-finetune", "--help"])
    monkeypatch.setattr(sys, "argv", ["/usr/bin/bit-finetune", "--help"])
    assert interrupts.is_program()


def test_ctrl_c_in_the_import_of_keras_is_one_line(tmp_path):
    # In place of Keras, a module that takes long and turns the exception into another one, as C extensions do.
    # Short sleeps: a signal that reached another thread does not wake the main thread.
    code = """
import pathlib, time
pathlib.Path("imported").touch()
try:
    for _ in range(600):
        time.sleep(0.1)
except KeyboardInterrupt:
    raise ImportError("numpy failed to import")
"""
    (tmp_path / "keras.py").write_text(code)
    path = os.pathsep.join([str(tmp_path), str(interrupts._ROOT), *sys.path])
    command = [sys.executable, "-m", "bit_keras.finetune", "--steps=5"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    signal.signal(signal.SIGINT, before)
    while not (tmp_path / "imported").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert (process.returncode, error) == (130, "stopped by Ctrl-C\n")


def test_a_missing_backend_is_one_message():
    path = os.pathsep.join([str(interrupts._ROOT), *sys.path])
    command = [sys.executable, "-m", "bit_keras.convert", "--help"]
    environment = {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": "nothing"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "nothing" in done.stderr
    assert "Traceback" not in done.stderr
