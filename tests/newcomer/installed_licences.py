"""Prints the licences of all installed packages, and of the published weights in the table of bit_keras, in JSON.

{"packages": {name: licence}, "published weights": {name: licence}}, null or "" where none is stated.

Runs in an environment that contains only the installed package and what it requires.
"""

import importlib.metadata
import json
import re

# pip and what `python -m venv` installs besides it are no dependencies.
_OF_THE_ENVIRONMENT = {"pip", "bit-keras"}
_LONGEST = 100  # characters; some packages have the whole text of a licence in the field for its name


def licence(package: importlib.metadata.Distribution) -> str | None:
    """Returns the licence in the metadata of a package: an expression, classifiers, a name, or its file's start."""
    metadata = package.metadata
    classifiers = [
        line.split(" :: ")[-1] for line in metadata.get_all("Classifier", []) if line.startswith("License ::")
    ]
    field = (metadata.get("License") or "").strip()
    named = field if len(field) <= _LONGEST and field.lower() != "unknown" else field.splitlines()[0].strip()
    return metadata.get("License-Expression") or ", ".join(classifiers) or named or _first_line(package)


def _first_line(package: importlib.metadata.Distribution) -> str | None:
    for file in package.files or []:
        if re.fullmatch(r"(LICEN[CS]E|COPYING)(\.\w+)?", file.name, re.IGNORECASE):
            lines = file.read_text(encoding="utf-8").split("\n")
            return next((f"{file.name}: {line.strip()[:_LONGEST]}" for line in lines if line.strip()), None)
    return None


if __name__ == "__main__":
    from bit_keras.zoo.presets import PRESETS

    packages = {package.name: licence(package) for package in importlib.metadata.distributions()}
    packages = {name: packages[name] for name in sorted(packages) if name not in _OF_THE_ENVIRONMENT}
    print(json.dumps({"packages": packages, "published weights": {row.name: row.licence for row in PRESETS.values()}}))
