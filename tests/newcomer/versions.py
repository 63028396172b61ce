"""The version of the package, and the files that must state the same; needs only the standard library."""

import configparser
import re
from pathlib import Path

SOURCE = "bit_keras/system/version.py"
_STATED = {  # {file: pattern of its newest version}
    SOURCE: re.compile(r'^VERSION = "([^"]+)"$', re.MULTILINE),
    "CITATION.cff": re.compile(r'^version: "?([^"\n]+)"?$', re.MULTILINE),
    "CHANGELOG.md": re.compile(r"^## \[(\d[^\]]*)\]", re.MULTILINE),
}
_DATES = {  # {file: pattern of the date of its newest version}
    "CITATION.cff": re.compile(r'^date-released: "?([^"\n]+)"?$', re.MULTILINE),
    "CHANGELOG.md": re.compile(r"^## \[\d[^\]]*\] - (\d{4}-\d\d-\d\d)$", re.MULTILINE),
}


def faults(root: Path) -> list[str]:
    """Returns what differs from the version in SOURCE, one sentence per file of a checkout."""
    stated = {name: _first(root / name, pattern) for name, pattern in _STATED.items()}
    version = stated.pop(SOURCE)
    found = [f"{name} must state version {version}, got {other}" for name, other in stated.items() if other != version]
    parser = configparser.ConfigParser()
    parser.read(root / "setup.cfg")
    attribute = "attr: bit_keras.system.version.VERSION"
    if parser["metadata"]["version"] != attribute:
        found.append(f"setup.cfg must read the version by `{attribute}`, got {parser['metadata']['version']}")
    dates = {name: _first(root / name, pattern) for name, pattern in _DATES.items()}
    if len(set(dates.values())) > 1:
        found.append(f"the date of {version} must be the same everywhere, got {dates}")
    return found


def version(root: Path) -> str | None:
    """Returns the version of a checkout."""
    return _first(root / SOURCE, _STATED[SOURCE])


def release_date(root: Path) -> str | None:
    """Returns the date that the changelog gives the version, None while it is not released."""
    return _first(root / "CHANGELOG.md", _DATES["CHANGELOG.md"])


def _first(path: Path, pattern: re.Pattern) -> str | None:
    match = pattern.search(path.read_text(encoding="utf-8")) if path.is_file() else None
    return match and match[1]
