"""Every test is in a Bazel target, and targets depend on what their sources import."""

import graphlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import build_files

ROOT = build_files.ROOT


def _calls(path: Path) -> list[tuple[str, dict]]:
    """Runs a BUILD file, which is valid Python, and returns the (rule, arguments) that it declares."""
    folder, calls = path.parent, []

    def glob(patterns, exclude=()):
        files = {file for pattern in patterns for file in folder.glob(pattern)}
        files -= {file for pattern in exclude for file in folder.glob(pattern)}
        return sorted(file.relative_to(folder).as_posix() for file in files)

    def recorder(rule):
        return lambda *first, **arguments: calls.append((rule, {"srcs": first and first[0], **arguments}))

    rules = ("exports_files", "filegroup", "load", "package", "py_library", "pytest_tests")
    exec(path.read_text(), {"glob": glob, **{rule: recorder(rule) for rule in rules}})
    return calls


def _declared(wanted: str) -> list[tuple[Path, dict]]:
    """Returns (folder, arguments) of all uses of a rule."""
    paths = sorted(path for top in ROOT.glob("*/BUILD") for path in top.parent.rglob("BUILD"))
    return [(path.parent, arguments) for path in paths for rule, arguments in _calls(path) if rule == wanted]


def _run(root: Path, *arguments: str) -> tuple[int, list[str], str]:
    """Runs the program in a checkout; returns its exit status, the lines of its output, and its error."""
    command = [sys.executable, "-m", "tools.build_files", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A small checkout whose BUILD files are up to date."""
    sources = {
        "bit_keras/__init__.py": "from bit_keras.zoo import presets",
        "bit_keras/system/__init__.py": "",
        "bit_keras/zoo/__init__.py": "",
        "bit_keras/zoo/presets.py": "import json",
        "export/__init__.py": "",
        "export/edge.py": "def main():\n    from bit_keras.zoo.presets import PRESETS",
        "tests/conftest.py": "",
        "tests/export/test_edge.py": "from export import edge",
    }
    for name, source in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    (tmp_path / "tools").mkdir()
    for name in ("__init__.py", "build_files.py"):
        shutil.copy(ROOT / "tools" / name, tmp_path / "tools")
    assert _run(tmp_path)[0] == 0
    return tmp_path


def test_the_build_files_of_this_checkout_are_up_to_date():
    assert _run(ROOT, "--check") == (0, [], "")


def test_every_test_file_is_in_one_target():
    files = [folder / name for folder, arguments in _declared("pytest_tests") for name in arguments["srcs"]]
    assert sorted(files) == sorted((ROOT / "tests").rglob("test_*.py"))
    assert len(files) > 100


def test_libraries_do_not_depend_on_each_other_in_a_circle():
    graph = {}
    for folder, arguments in _declared("py_library"):
        package = f"//{folder.relative_to(ROOT).as_posix()}"
        label = package if arguments["name"] == folder.name else f"{package}:{arguments['name']}"
        graph[label] = arguments.get("deps", [])
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert sorted(order) == sorted(graph)  # every dependency exists


def test_the_tables_name_files_of_this_checkout():
    marked = {
        folder / name for folder, arguments in _declared("pytest_tests") for name in arguments.get("uncached", ())
    }
    assert marked == {ROOT / name for name in build_files.UNCACHED}
    assert not [path for path in marked if not path.is_file()]
    for target, data in build_files.DATA.items():
        folder = ROOT / target.removeprefix("//").partition(":")[0]
        assert all(name.startswith("//") or list(folder.glob(name)) for name in data), target
    assert all((ROOT / target.removeprefix("//")).is_dir() for target in build_files.USED)


def test_targets_may_read_the_files_of_the_root():
    """Without `visibility`, Bazel does not even analyze a target in another folder that names the group of files."""
    calls = _calls(ROOT / "BUILD")
    exported = {f"//:{name}" for rule, arguments in calls if rule == "exports_files" for name in arguments["srcs"]}
    groups = [arguments for rule, arguments in calls if rule == "filegroup"]
    public = {f"//:{group['name']}" for group in groups if group.get("visibility") == ["//visibility:public"]}
    read = {label for labels in build_files.DATA.values() for label in labels if label.startswith("//")}
    assert read
    assert not read - exported - public


def test_dependencies(checkout):
    written = {path.parent.relative_to(checkout).as_posix(): path.read_text() for path in checkout.rglob("BUILD")}
    assert written.keys() == {
        *("bit_keras", "bit_keras/system", "bit_keras/zoo", "export", "tests", "tests/export", "tools")
    }
    assert 'deps = ["//bit_keras/zoo"],' in written["bit_keras"]
    assert "deps" not in written["bit_keras/zoo"]
    # The module that a function imports, and its parent package, which Python imports as well.
    assert 'deps = [\n        "//bit_keras",\n        "//bit_keras/zoo",\n    ],' in written["export"]
    # The imported package, and conftest.py of the parent folder.
    assert 'deps = [\n        "//export",\n        "//tests:support",\n    ],' in written["tests/export"]


@pytest.mark.parametrize(
    ("name", "source", "outdated"),
    [
        ("bit_keras/zoo/presets.py", "from bit_keras.system import files", "bit_keras/zoo/BUILD"),
        ("bit_keras/zoo/presets.py", "def f():\n    import bit_keras.system", "bit_keras/zoo/BUILD"),
        ("export/edge.py", "", "export/BUILD"),
        ("tests/export/test_edge.py", "import bit_keras", "tests/export/BUILD"),
        (
            "tests/export/test_edge.py",
            "import export.edge\nNAME = 'bit_keras.zoo.presets'",
            "tests/export/BUILD",
        ),
        ("tests/zoo/test_presets.py", "", "tests/zoo/BUILD"),
        ("bit_keras/detection/__init__.py", "", "bit_keras/detection/BUILD"),
    ],
)
def test_a_change_is_noticed(checkout, name, source, outdated):
    (checkout / name).parent.mkdir(exist_ok=True)
    (checkout / name).write_text(source)
    status, lines, error = _run(checkout, "--check")
    assert (status, lines) == (1, [outdated])
    assert "`python -m tools.build_files` writes them" in error
    assert _run(checkout) == (0, [outdated], "")
    assert _run(checkout, "--check") == (0, [], "")


def test_the_build_file_of_a_removed_folder_is_removed(checkout):
    (checkout / "tests/export/test_edge.py").unlink()
    (checkout / "tests/by_hand").mkdir()
    (checkout / "tests/by_hand/BUILD").write_text("# Written by hand.\n")
    assert _run(checkout, "--check")[:2] == (1, ["tests/export/BUILD"])
    assert _run(checkout)[0] == 0
    assert not (checkout / "tests/export/BUILD").exists()
    assert (checkout / "tests/by_hand/BUILD").exists()


def test_a_test_that_another_one_imports_is_in_a_library(checkout):
    other = checkout / "tests" / "zoo" / "test_presets.py"
    other.parent.mkdir()
    other.write_text("from tests.export.test_edge import edge")
    assert _run(checkout)[0] == 0
    (library,) = [arguments for rule, arguments in _calls(checkout / "tests/export/BUILD") if rule == "py_library"]
    assert (library["name"], library["srcs"]) == ("support", ["test_edge.py"])
    assert "//export" in library["deps"]
    (tests,) = [arguments for rule, arguments in _calls(other.parent / "BUILD") if rule == "pytest_tests"]
    assert "//tests/export:support" in tests["deps"]
