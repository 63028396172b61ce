"""The checks of the site, on sites with faults."""

import pytest

from tools.site import blocks, links


@pytest.mark.parametrize(
    ("link", "fault"),
    [
        ("other.html#place", None),
        ("#here", None),
        ("https://example.org/a#b", None),
        ("gone.html", "links to gone.html, which does not exist"),
        ("other.html#gone", "links to #gone of other.html"),
        ("#gone", "links to #gone of page.html"),
        ("https:///path", "is no address"),
        ("javascript:x", "is no address"),
    ],
)
def test_links(link, fault, tmp_path):
    (tmp_path / "page.html").write_text(f'<p id="here"><a href="{link}">x</a>')
    (tmp_path / "other.html").write_text('<p id="place">')
    if fault is None:
        inside = not link.startswith("https")
        assert links.check(tmp_path).startswith(f"links: {int(inside)} within 2 pages")
        return
    with pytest.raises(SystemExit, match=fault):
        links.check(tmp_path)


@pytest.mark.parametrize(
    ("block", "fault"),
    [
        ("```python\nx = 1\n```\n", None),
        ("```bash\nfor x in a; do\n    echo $x\ndone\n```\n", None),
        ("```\nno language (\n```\n", None),
        ("```python\nx = (\n```\n", "no valid Python"),
        ("```bash\nfor x in a; do\n```\n", "syntax error"),
    ],
)
def test_blocks(block, fault, tmp_path):
    (tmp_path / "page.md").write_text(block)
    if fault is None:
        assert blocks.check(tmp_path).startswith("code: ")
        return
    with pytest.raises(SystemExit, match=f"^page.md: .*{fault}"):
        blocks.check(tmp_path)
