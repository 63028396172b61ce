"""Program: writes Bazel's BUILD files for all folders with Python code, with dependencies derived from imports.

    python -m tools.build_files            writes the files that differ
    python -m tools.build_files --check    writes nothing, and exits with an error if a file differs

The root and tools/bazel contain no library; their BUILD files are written by hand.
"""

import argparse
import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

# Resolved, because Bazel runs a test in a folder of symbolic links to the files of its target.
ROOT = Path(__file__).resolve().parents[1]
HEADER = "# Generated from the imports: python -m tools.build_files"

# Files read at run time, by target: patterns within its folder, or labels.
DATA = {
    "//bit_keras": ("weights/*",),
    "//bit_keras/data": ("*.md", "*.npz"),
    "//examples": ("//:docs/migration.md",),  # shows the examples
    "//bit_keras/saved_models": ("server/*",),
    "//export": ("serving/*",),
    "//hub_modules": ("*.md", "pages/*.md", "templates/*.md"),
    "//pretraining": ("fonts.txt",),
    "//tests": ("//:MANIFEST.in", "//:pages", "//:setup.py"),
    "//tests:support": ("consumers/*", "consumers/lean/*", "fixtures/*"),
    "//tests/docs": ("//:pages", "//:setup.py"),
    "//tests/newcomer": ("//:pages",),
    "//tools": ("//:pages",),
}

# Packages that tests read, or start under names that they compose, by folder.
USED = {
    "//tests/export": ("export",),
    "//tests/newcomer": ("examples", "export", "hub_modules"),  # targets of links in the pages
    "//tests/saved_models": ("export",),  # clients of a server
    "//tests/system": ("benchmarks", "examples", "export", "hub_modules", "pretraining"),  # whose programs it lists
}

# Folders whose tests read every module of the package.
READ_THE_PACKAGE = ("//tests", "//tests/docs")

# Tests that read the whole checkout, which cannot be listed as dependencies.
UNCACHED = (
    "tests/docs/test_pages.py",
    "tests/test_build_files.py",
    "tests/test_contributing.py",
    "tests/test_release_files.py",
)


def build_files(root: Path) -> dict[Path, str]:
    """Derives the BUILD files of a checkout from its sources.

    Args:
        root: folder of the checkout.

    Returns:
        {path: content} of the BUILD file of each library and each folder of tests.

    Raises:
        SyntaxError: a source is not valid Python.
    """
    sources = _sources(root)
    imported = _imports(root, [path for paths in sources.values() for path in paths])
    # Tests that other tests import belong to a library as well.
    modules = {name for name in imported if name.startswith("tests.")} | {name.rpartition(".")[0] for name in imported}
    libraries = {
        _module(path): _library_label(folder)
        for folder, paths in sources.items()
        for path in paths
        if not _is_test(path) or _module(path) in modules
    }
    return {root / folder / "BUILD": _build_file(root, folder, paths, libraries) for folder, paths in sources.items()}


def differences(root: Path) -> dict[Path, str | None]:
    """Compares the BUILD files of a checkout with those derived from its sources.

    Args:
        root: folder of the checkout.

    Returns:
        {path: content} of each BUILD file that is missing or differs; None instead of the content for a generated file
        whose folder no longer has sources.

    Raises:
        SyntaxError: a source is not valid Python.
    """
    wanted = build_files(root)
    tops = {path.relative_to(root).parts[0] for path in wanted}
    found = {path: path.read_text(encoding="utf-8") for top in tops for path in (root / top).rglob("BUILD")}
    obsolete = {path: None for path, text in found.items() if path not in wanted and text.startswith(HEADER)}
    return {path: text for path, text in wanted.items() if found.get(path) != text} | obsolete


def _sources(root: Path) -> dict[Path, list[Path]]:
    """Returns {folder with a BUILD file: the sources in it and in its subfolders without one}, relative to `root`."""
    markers = [*root.glob("*/__init__.py"), *root.glob("bit_keras/*/__init__.py")]
    markers += [*root.glob("tests/**/conftest.py"), *root.glob("tests/**/test_*.py")]
    sources = {folder: [] for folder in sorted({path.parent.relative_to(root) for path in markers})}
    for top in sorted({folder.parts[0] for folder in sources}):
        for path in sorted(path.relative_to(root) for path in root.glob(f"{top}/**/*.py")):
            sources[next(folder for folder in path.parents if folder in sources)].append(path)
    return sources


def _build_file(root: Path, folder: Path, paths: list[Path], libraries: dict[str, str]) -> str:
    """Returns the content of one BUILD file, given {module: label of its library} of the whole checkout."""
    tests = [path for path in paths if _is_test(path)]
    others = [path for path in paths if _module(path) in libraries]
    rules = ['package(default_visibility = ["//visibility:public"])']
    if others:
        deps = _dependencies(folder, _imports(root, others), libraries)
        rules.append(_library(folder, others, deps - {_library_label(folder)}))
    if tests:
        names = _imports(root, tests) | _started(root, tests, libraries) | set(USED.get(_label(folder), ()))
        if _label(folder) in READ_THE_PACKAGE:
            names |= {module for module in libraries if module.partition(".")[0] == "bit_keras"}
        deps = _dependencies(folder, names, libraries) | _conftests(folder, libraries)
        rules = ['load("//tools/bazel:pytest.bzl", "pytest_tests")', *rules, _tests(folder, deps)]
    return "\n\n".join([HEADER, *rules]) + "\n"


def _is_test(path: Path) -> bool:
    return path.parts[0] == "tests" and path.name.startswith("test_")


def _module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _label(folder: Path) -> str:
    return f"//{folder.as_posix()}"


def _library_label(folder: Path) -> str:
    return _label(folder) + (":support" if folder.parts[0] == "tests" else "")


def _imports(root: Path, paths: Iterable[Path]) -> set[str]:
    """Returns the absolute names of all imports in the sources, including those in functions."""
    names = set()
    for node in _nodes(root, paths):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _started(root: Path, paths: Iterable[Path], libraries: dict[str, str]) -> set[str]:
    """Returns the modules whose whole names are strings in the sources: tests start them as programs."""
    constants = {node.value for node in _nodes(root, paths) if isinstance(node, ast.Constant)}
    return {name for name in constants & libraries.keys() if "." in name}


def _nodes(root: Path, paths: Iterable[Path]) -> Iterator[ast.AST]:
    for path in paths:
        yield from ast.walk(ast.parse((root / path).read_text(encoding="utf-8")))


def _dependencies(folder: Path, names: set[str], libraries: dict[str, str]) -> set[str]:
    deps = set()
    for name in names:
        while name and name not in libraries:  # an attribute of a module, or a package that pip installs
            name = name.rpartition(".")[0]
        deps |= {libraries[name]} if name else set()
    # Python runs bit_keras/__init__.py before any module in it. Within bit_keras that dependency would be circular.
    if folder.parts[0] != "bit_keras" and any(label.startswith("//bit_keras/") for label in deps):
        deps.add("//bit_keras")
    return deps


def _conftests(folder: Path, libraries: dict[str, str]) -> set[str]:
    """Returns the labels of the support libraries in this folder and its parents."""
    return {_library_label(parent) for parent in (folder, *folder.parents[:-1])} & set(libraries.values())


def _library(folder: Path, paths: list[Path], deps: set[str]) -> str:
    if folder.parts[0] == "tests":
        tests = [path.name for path in paths if _is_test(path)]
        parts = [_glob(["*.py"], exclude=["test_*.py"])] if len(tests) < len(paths) else []
        name, srcs = '"support"', " + ".join([*parts, *([_list(tests)] if tests else [])])
    else:
        name, srcs = f'"{folder.name}"', _glob(["**/*.py"])
    return _rule("py_library", name=name, srcs=srcs, data=_data(_library_label(folder)), deps=_labels(folder, deps))


def _tests(folder: Path, deps: set[str]) -> str:
    return _rule(
        "pytest_tests",
        srcs=_glob(["test_*.py"]),
        uncached=_list(path.name for path in map(Path, UNCACHED) if path.parent == folder),
        data=_data(_label(folder)),
        deps=_labels(folder, deps),
    )


def _rule(kind: str, **arguments: str) -> str:
    """Formats a rule as buildifier does; empty arguments are left out."""
    lines = [f"    {name} = {value},".replace("\n", "\n    ") for name, value in arguments.items() if value]
    return "\n".join([f"{kind}(", *lines, ")"])


def _list(values: Iterable[str]) -> str:
    quoted = [f'"{value}"' for value in values]
    if len(quoted) < 2:
        return f"[{quoted[0]}]" if quoted else ""
    return "\n".join(["[", *(f"    {value}," for value in quoted), "]"])


def _glob(patterns: Iterable[str], exclude: Iterable[str] = ()) -> str:
    if not exclude:
        return f"glob({_list(patterns)})"
    return f"glob(\n    {_list(patterns)},\n    exclude = {_list(exclude)},\n)"


def _data(label: str) -> str:
    values = DATA.get(label)
    if not values:
        return ""
    return _list(values) if values[0].startswith("//") else _glob(values)


def _labels(folder: Path, labels: set[str]) -> str:
    short = (label.replace(f"{_label(folder)}:", ":") for label in labels)
    return _list(sorted(short, key=lambda label: label.replace(":", "\0")))  # as buildifier sorts


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.build_files", description="Writes Bazel's BUILD files.")
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a file is out of date")
    check = parser.parse_args().check
    changes = differences(ROOT)
    for path, text in changes.items():
        print(path.relative_to(ROOT))
        if check:
            continue
        if text is None:
            path.unlink()
        else:
            path.write_text(text, encoding="utf-8")
    if check and changes:
        sys.exit(
            f"BUILD files must follow from the imports; {len(changes)} above do not. "
            "`python -m tools.build_files` writes them."
        )


if __name__ == "__main__":
    main()
