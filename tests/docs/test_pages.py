"""Pages of the site: which there are, and the generated parts of them."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import choosing, pictures, reference
from tools.build_files import ROOT

DOCS = ROOT / "docs"


def _listed(page: Path) -> set[Path]:
    """Returns the pages in the tables of contents of a page."""
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    names = [re.sub(r"^.* <(.+)>$", r"\1", line) for line in lines]
    return {
        path.resolve() for name in names for ending in ("md", "ipynb") for path in page.parent.glob(f"{name}.{ending}")
    }


def test_every_page_is_in_a_table_of_contents():
    found, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop().resolve()
        if page not in found:
            found.add(page)
            waiting += _listed(page)
    patterns = ("docs/**/*.md", "docs/notebooks/*.ipynb", "hub_modules/*.md", "*.md")
    pages = {path.resolve() for pattern in patterns for path in ROOT.glob(pattern)}
    assert not {path.relative_to(ROOT) for path in pages - found if path.parent != DOCS / "images"}


def test_the_pages_of_the_reference_are_up_to_date():
    texts = reference.pages()
    assert {path.name for path in reference.FOLDER.glob("*.md")} == set(texts)
    stale = [name for name, text in texts.items() if (reference.FOLDER / name).read_text() != text]
    assert not stale, "run python -m tools.reference"


def test_the_tables_of_the_choice_are_up_to_date():
    page = choosing.PAGE.read_text()
    assert choosing.filled(page) == page, "run python -m tools.choosing"
    with pytest.raises(ValueError, match=r"must have each of the tables \['hours', .*, got \[\]"):
        choosing.filled("# A page without tables")


def test_numbers_of_the_choice():
    rows = {row[0]: row for row in choosing.models()}
    assert rows["BiT-M-R50x1"][1:5] == ("24 M", "2,048", "8, 38", "80.4")
    # 53 convolutions of ResNet-50 v2 take 4.1e9 multiplications at 224 pixels (arXiv 1603.05027).
    assert choosing._flops("R50x1", 224) == pytest.approx(8.2e9, rel=0.05)
    # 512 images, three times the FLOPs of a forward pass, 20 % of 312 TFLOP/s.
    assert choosing._update("R50x1", 224, "NVIDIA A100") == pytest.approx(3 * 512 * 8.2e9 / 62.4e12, rel=0.05)


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_the_pictures_are_up_to_date(name, tmp_path):
    pictures.PICTURES[name]().savefig(tmp_path / "drawn.png")
    drawn, stored = (np.asarray(Image.open(path).convert("L"), int) for path in (tmp_path / "drawn.png", _image(name)))
    assert drawn.shape == stored.shape
    assert np.abs(drawn - stored).mean() < 2, "run python -m tools.pictures"  # of 255; fonts may differ a little


def _image(name: str) -> Path:
    return pictures.IMAGES / f"{name}.png"
