import os

import pytest

from bit_keras.system import processes

_run = processes._run  # as users run it: the fixtures of the tests replace it

pytestmark = pytest.mark.any_backend


@pytest.fixture
def fresh(monkeypatch):
    monkeypatch.setattr(processes, "_run", _run)


def test_a_module_runs_on_tensorflow_without_gpus_and_with_the_same_modules(fresh, tmp_path, monkeypatch):
    (tmp_path / "some_module.py").write_text(
        "import os, sys, bit_keras.system.version\n"
        "print(os.environ['KERAS_BACKEND'], os.environ['CUDA_VISIBLE_DEVICES'], sys.argv[1:], 'keras' in sys.modules)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert processes.run_python("it failed", "-m", "some_module", 1, tmp_path).split() == [
        *("tensorflow", "-1", "['1',", f"'{tmp_path}']", "True"),
    ]


def test_modules_beside_the_program_hide_none(fresh, tmp_path):
    (tmp_path / "json.py").write_text("raise ImportError('the wrong module')")
    (tmp_path / "program.py").write_text("import json, os\nprint(json.dumps(os.getpid()))")
    assert int(processes.run_python("it failed", tmp_path / "program.py")) != os.getpid()


def test_an_error_shows_status_and_standard_error(fresh, tmp_path):
    (tmp_path / "program.py").write_text("import sys\nprint('out')\nprint('the reason', file=sys.stderr)\nsys.exit(3)")
    with pytest.raises(RuntimeError, match=r"^it failed \(exit status 3\):\nthe reason\n$"):
        processes.run_python("it failed", tmp_path / "program.py")
