"""Optional packages and their extras."""

import importlib
import sys

import pytest

from bit_keras.system.optional import EXTRAS, install_command, is_installed, require


def test_what_is_installed(monkeypatch):
    assert is_installed("grain")
    monkeypatch.setitem(sys.modules, "grain", None)
    assert not is_installed("grain")
    require("a loader", "tensorflow")
    with pytest.raises(ImportError) as caught:
        require("a loader", "tensorflow", "grain")
    assert str(caught.value) == (
        "a loader needs the package grain, which is not installed: pip install 'bit-keras[grain]'"
    )
    assert caught.value.name == "grain"


def test_a_package_that_fails_to_load(monkeypatch, tmp_path):
    (tmp_path / "broken.py").write_text("import no_such_package")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(EXTRAS, "broken", "edge")
    assert not is_installed("broken")
    require("an export", "broken")  # its own error says more
    with pytest.raises(ImportError, match="no_such_package"):
        importlib.import_module("broken")


def test_install_commands():
    assert install_command("sklearn") == "pip install 'bit-keras[few-shot]'"
