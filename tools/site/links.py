"""Links of the written site: each leads to a file, and to a place in it if it names one."""

import html.parser
import sys
import urllib.parse
from pathlib import Path

_ATTRIBUTES = ("href", "src")
_SCHEMES = ("http", "https", "mailto")


class _Page(html.parser.HTMLParser):
    """The links and the named places of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.places |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links += [values[name] for name in _ATTRIBUTES if values.get(name)]


def check(folder: Path) -> str:
    """Checks the links of all pages below a folder; returns their numbers, or exits with the broken ones."""
    pages = {path.resolve(): _Page(path.read_text()) for path in folder.rglob("*.html")}
    inside = outside = 0
    faults = []
    for path, page in pages.items():
        for link in page.links:
            address = urllib.parse.urlsplit(link)
            if address.scheme or link.startswith("//"):
                outside += 1
                is_right = address.scheme in _SCHEMES and (address.netloc or address.scheme == "mailto")
                faults += [] if is_right and " " not in link else [f"{path}: {link} is no address"]
            elif link != "#":
                inside += 1
                faults += _fault(path, address, pages)
    if faults:
        sys.exit("\n".join(faults))
    return f"links: {inside:,} within {len(pages)} pages, all followed; {outside:,} to other sites, by their form only"


def _fault(path: Path, address: urllib.parse.SplitResult, pages: dict[Path, _Page]) -> list[str]:
    target = (path.parent / urllib.parse.unquote(address.path)).resolve() if address.path else path
    place = urllib.parse.unquote(address.fragment)
    if not target.is_file():
        return [f"{path} links to {address.path}, which does not exist"]
    if place and target in pages and place not in pages[target].places:
        return [f"{path} links to #{place} of {target.name}, which has no such place"]
    return []
