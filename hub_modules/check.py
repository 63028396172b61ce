"""Program: compares the pages of the catalogue with the format of TF Hub and the table of published weights.

python -m hub_modules.check
"""

import collections
import dataclasses
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import flags

from bit_keras.system import command_line
from bit_keras.zoo.modules import MODULES, PUBLISHER, Module
from hub_modules.table import collection_metadata, metadata, pages

DIRECTORY = Path(__file__).parent

_TITLE = re.compile(r"# (Module|Collection) ([a-z0-9-]+)/([a-z0-9_-]+)/([1-9][0-9]*)")
_COMMENT = re.compile(r"<!-- ([^:]+): (.+) -->")
_ROW = re.compile(r"\| ([\w-]+) \| (\d+) \| (`.+`) \|")
# Target of a relative link, without its anchor; addresses with a scheme are not matched.
_LINK = re.compile(r"\]\((?![a-z]+:)([^)#]+)(?:#[^)]*)?\)")
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Page:
    """The machine-readable contents of a page.

    Attributes:
        is_collection: whether it describes several modules.
        handle: PUBLISHER/NAME/VERSION.
        comments: (key, value) of the comments, in order.
        modules: {name: (task, number of classes)} from the table of a collection.
    """

    is_collection: bool
    handle: str
    comments: tuple[tuple[str, str], ...]
    modules: dict[str, tuple[str, int]]


def check(directory: Path = DIRECTORY) -> list[str]:
    """Returns the faults of the catalogue in a directory, [] if it has none.

    The catalogue is `pages/*.md` and the files that link to them. A page begins with
    "# Module PUBLISHER/NAME/VERSION", or "# Collection ..." for several modules. A line with its description follows,
    then comments "<!-- key: value -->".
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted((directory / "pages").glob("*.md"))}
    faults, handles = [], collections.defaultdict(list)
    for path, text in texts.items():
        page, page_faults = _parse(text)
        if page is not None:
            handles[page.handle].append(path.name)
            page_faults += _page_faults(page, path.stem)
        faults += [f"{path.name}: {fault}" for fault in page_faults]
    missing = sorted(pages().keys() - {path.stem for path in texts})
    faults += [f"{stem}.md: the page is missing, and the catalogue has its module" for stem in missing]
    for handle, names in handles.items():
        if len(names) > 1:
            faults.append(f"{', '.join(names)}: all have the handle {handle}")
    return faults + list(_dead_links(directory))


def _parse(text: str) -> tuple[Page | None, list[str]]:
    """Returns the contents of a page, None without a title, and the faults of its format."""
    lines = text.splitlines()
    title = _TITLE.fullmatch(lines[0]) if lines else None
    if title is None:
        return None, [f"line 1 must be '# Module PUBLISHER/NAME/VERSION', got {lines[0] if lines else ''!r}"]
    faults = []
    if [bool(line) for line in lines[1:4]] != [False, True, False]:
        faults.append("lines 2 to 4 must be one line that describes the module, between empty lines")
    comments = []
    for number, line in enumerate(lines, start=1):
        if line.startswith("<!--"):
            comment = _COMMENT.fullmatch(line)
            if comment:
                comments.append(comment.groups())
            else:
                faults.append(f"line {number} must be '<!-- key: value -->', got {line!r}")
    modules = {}
    for task, num_classes, names in _ROW.findall(text):
        for name in re.findall(r"`([^`]+)`", names):
            if name in modules:
                faults.append(f"{name} is in the table twice")
            modules[name] = (task, int(num_classes))
    kind, *handle = title.groups()
    return Page(kind == "Collection", "/".join(handle), tuple(comments), modules), faults


def _page_faults(page: Page, stem: str) -> Iterator[str]:
    """Yields the differences between a page and the table."""
    expected = pages().get(stem)
    if expected is None:
        yield "the catalogue has no module for this page"
        return
    if page.is_collection != (len(expected) > 1):
        yield f"must be a page of {len(expected)} modules, {'Collection' if len(expected) > 1 else 'Module'}"
        return
    handle = f"{PUBLISHER}/{stem}/{expected[0].version}"
    if page.handle != handle:
        yield f"the handle must be {handle}, got {page.handle}"
    if page.is_collection:
        yield from _comment_faults(page, collection_metadata(expected))
        yield from _row_faults(page, {module.name: module for module in expected})
    else:
        yield from _comment_faults(page, metadata(expected[0]))


def _comment_faults(page: Page, expected: Mapping[str, str]) -> Iterator[str]:
    found = dict(page.comments)
    for key, count in collections.Counter(key for key, _ in page.comments).items():
        if count > 1:
            yield f"{key} occurs {count} times"
    for key in expected.keys() - found.keys():
        yield f"{key} is missing, it must be {expected[key]!r}"
    for key in found.keys() - expected.keys():
        yield f"{key} is not a key of this page, whose keys are {', '.join(expected)}"
    for key in expected.keys() & found.keys():
        if found[key] != expected[key]:
            yield f"{key} must be {expected[key]!r}, got {found[key]!r}"


def _row_faults(page: Page, expected: Mapping[str, Module]) -> Iterator[str]:
    for name in expected.keys() - page.modules.keys():
        yield f"the table lacks {name}"
    for name in page.modules.keys() - expected.keys():
        yield f"the table has {name}, which is {'on another page' if name in MODULES else 'not a module'}"
    for name in expected.keys() & page.modules.keys():
        facts = (expected[name].vtab_task, expected[name].weights.num_classes)
        if page.modules[name] != facts:
            yield f"{name} must be in the row of {facts[0]}, {facts[1]} classes, got {page.modules[name]}"


def _dead_links(directory: Path) -> Iterator[str]:
    for path in sorted([*directory.glob("*.md"), *(directory / "pages").glob("*.md")]):
        for target in _LINK.findall(_CODE.sub("", path.read_text(encoding="utf-8"))):
            if not (path.parent / target).exists():
                yield f"{path.name}: the link to {target} is dead"


def main() -> None:
    faults = check(Path(flags.FLAGS.directory))
    for fault in faults:
        print(fault)
    print(f"{len(MODULES)} modules on {len(pages())} pages, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    flags.DEFINE_string("directory", str(DIRECTORY), "Directory of the catalogue.")
    command_line.run(main)
