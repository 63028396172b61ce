"""Licences of what an archive ships besides code, as its pages state them; needs only the standard library.

The weights `NAME.npz` have their licence in `NAME.md` beside them; so do data. Other files that are not text, such as
pictures, stand in a table of the README.md in their folder, with a column `licence`.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

_DATA = (".csv", ".json", ".tsv")  # text that is data, not code or pages
_SENTENCE = re.compile(r"\bLicence: (\[[^\]]+\]|[\w. -]+?)(?=[.,(]\s|[.(]?$|\()", re.MULTILINE)


def licences(contents: Mapping[str, bytes]) -> dict[str, str | None]:
    """Returns {member that is no text, or is data: its licence}, None where no page states it."""
    return {name: _licence(name, contents) for name in sorted(contents) if not _is_text(name, contents[name])}


def training_licences(page: str) -> list[str]:
    """Returns the licences of the data that a page lists in a table with a column `licence`; "" for an empty cell."""
    return [row["licence"] for row in _rows(page) if "licence" in row]


def _is_text(name: str, content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in content and not name.endswith(_DATA)


def _licence(name: str, contents: Mapping[str, bytes]) -> str | None:
    path = PurePosixPath(name)
    if own := contents.get(str(path.with_suffix(".md"))):
        text = own.decode()
        in_table = (row.get("") for row in _rows(text, has_head=False) if row[None] == "licence")
        sentence = _SENTENCE.search(text)
        return next(in_table, None) or (sentence and sentence[1].strip("[]"))
    page = contents.get(str(path.with_name("README.md")), b"").decode()
    return next(
        (row["licence"] for row in _rows(page) if path.name in row.get("file", "") and row.get("licence")), None
    )


def _rows(page: str, has_head: bool = True) -> list[dict]:
    """Returns the rows of all tables of a page as {heading: cell}; without heads {None: first cell, "": second}."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n?)+", page, re.MULTILINE):
        cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.strip().splitlines()]
        if has_head:
            found += [dict(zip(cells[0], row)) for row in cells[2:]]
        else:
            found += [{None: row[0], "": row[1]} for row in cells if len(row) > 1]
    return found
