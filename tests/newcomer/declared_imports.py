"""Imports every module of the installed package, and checks that the package requires what its modules import.

Runs in an environment that contains only the installed package.
"""

import ast
import importlib
import importlib.metadata
import pkgutil
import re
import sys
from pathlib import Path

import bit_keras

_OTHER_NAMES = {
    "google": "protobuf",
    "kagglehub": "kagglehub",
    "sklearn": "scikit-learn",
    "tensorflow_serving": "tensorflow-serving-api",
}
_PROGRAMS = re.compile(r"(__main__|hdf5_index)$")  # importing them runs them


def declared() -> dict[str, bool]:
    """Returns {required distribution: whether only an extra requires it}."""
    found = {}
    for line in importlib.metadata.requires("bit-keras"):
        name = _normalized(re.match(r"[\w.-]+", line)[0])
        found[name] = found.get(name, True) and "extra ==" in line
    return found


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution_of(module: str, known: dict[str, list[str]]) -> str:
    return _normalized(_OTHER_NAMES.get(module) or next(iter(known.get(module, [module]))))


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"bit_keras"}


def main() -> None:
    requirements, known = declared(), importlib.metadata.packages_distributions()
    root = Path(bit_keras.__file__).parent
    faults, imports = [], 0
    for path in sorted(root.rglob("*.py")):
        for module in sorted(imported(path)):
            imports += 1
            distribution = distribution_of(module, known)
            if distribution not in requirements:
                faults.append(
                    f"{path.relative_to(root)} imports {module}, but the package does not require {distribution}"
                )
    extras = {name for name, is_extra in requirements.items() if is_extra}
    count = 0
    for module in pkgutil.walk_packages(bit_keras.__path__, "bit_keras."):
        if _PROGRAMS.search(module.name):
            continue
        count += 1
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if distribution_of((error.name or "").partition(".")[0], known) not in extras:
                faults.append(f"{module.name} cannot be imported: {error}")
    if not (root / "py.typed").is_file():
        faults.append("py.typed is missing")
    if importlib.metadata.version("bit-keras") != bit_keras.__version__:
        faults.append(f"__version__ is {bit_keras.__version__}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{count} modules imported, {imports} imports of other packages, all declared")


if __name__ == "__main__":
    main()
