"""Mermaid's flow charts as pictures: mermaid itself would have to be downloaded by each reader.

Understands what the pages use: a node is NAME["text<br/>text"], and each line is an edge, A --> B or A -->|text| B. The
chart is drawn from the top down, since pages are narrow, whatever direction it asks for.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from docutils import nodes
from sphinx.transforms import SphinxTransform

_NODE = r'(\w+)(?:\["([^"]*)"\])?'
_EDGE = re.compile(rf"^\s*{_NODE} -->(?:\|([^|]*)\|)? {_NODE}\s*$")
_WIDTH, _LINE, _GAP = 760, 17, 62  # of the picture, of a line of text, between rows, in pixels


class Edge(NamedTuple):
    start: str
    end: str
    text: str


def setup(app) -> dict:
    app.add_transform(_Diagrams)
    return {"parallel_read_safe": True}


class _Diagrams(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        for block in list(self.document.findall(nodes.literal_block)):
            if block.get("language") == "mermaid":
                block.replace_self(nodes.raw("", svg(block.astext()), format="html"))


def svg(chart: str) -> str:
    """Returns a flow chart as SVG, in the colours of the page.

    Raises:
        ValueError: a line is neither the first one nor an edge.
    """
    first, *lines = chart.strip().splitlines()
    if not first.startswith("flowchart"):
        raise ValueError(f"a diagram must begin with flowchart, got {first!r}")
    texts, edges = {}, []
    for line in lines:
        match = _EDGE.match(line)
        if match is None:
            raise ValueError(f"a line of a diagram must be an edge, got {line!r}")
        start, start_text, text, end, end_text = match.groups()
        for name, given in ((start, start_text), (end, end_text)):
            texts[name] = given or texts.get(name, name)
        edges.append(Edge(start, end, text or ""))
    return _drawn({name: _parts(text) for name, text in texts.items()}, edges)


def rows(names: Sequence[str], edges: Sequence[Edge]) -> list[list[str]]:
    """Returns the nodes in rows: each below those that lead to it, and as low as those allow that it leads to."""
    depth = dict.fromkeys(names, 0)
    for _ in names:
        for edge in edges:
            depth[edge.end] = max(depth[edge.end], depth[edge.start] + 1)
    for name in reversed(sorted(names, key=depth.get)):
        below = [depth[edge.end] for edge in edges if edge.start == name]
        depth[name] = min(below) - 1 if below else depth[name]
    return [[name for name in names if depth[name] == row] for row in range(max(depth.values()) + 1)]


def _parts(text: str) -> list[str]:
    """Returns the lines of a text, which ends them with <br/>; a long one also ends at a comma."""
    lines = text.split("<br/>")
    return [part for line in lines for part in (re.sub(", ", ",\n", line).split("\n") if len(line) > 24 else [line])]


def _drawn(texts: Mapping[str, Sequence[str]], edges: Sequence[Edge]) -> str:
    top, boxes, parts = 10, {}, []
    for row in rows(list(texts), edges):
        height = 16 + _LINE * max(len(texts[name]) for name in row)
        for position, name in enumerate(row):
            middle = _WIDTH * (2 * position + 1) / (2 * len(row))
            boxes[name] = middle, top, height
            width = min(_WIDTH / len(row) - 16, 24 + 7.6 * max(map(len, texts[name])))
            parts.append(
                f'<rect x="{middle - width / 2:.0f}" y="{top}" width="{width:.0f}" height="{height}" rx="6"/>'
                + _lines(texts[name], middle, top + height / 2)
            )
        top += height + _GAP
    for edge in edges:
        (x, y, height), (to_x, to_y, _) = boxes[edge.start], boxes[edge.end]
        y += height
        parts.append(f'<line x1="{x:.0f}" y1="{y}" x2="{to_x:.0f}" y2="{to_y - 4}" marker-end="url(#arrow)"/>')
        if edge.text:
            parts.append(_lines(_parts(edge.text), (x + to_x) / 2, (y + to_y) / 2, "label"))
    marker = (
        '<marker id="arrow" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L10 5L0 10z"/></marker>'
    )
    size = f'viewBox="0 0 {_WIDTH} {top - _GAP + 10:.0f}"'
    return f'<div class="diagram"><svg {size} role="img"><defs>{marker}</defs>{"".join(parts)}</svg></div>'


def _lines(lines: Sequence[str], x: float, y: float, kind: str = "") -> str:
    """Returns lines of text, centred at a point."""
    first = y - _LINE * (len(lines) - 1) / 2 + 4
    spans = (
        f'<tspan x="{x:.0f}" y="{first + _LINE * number:.0f}">{html.escape(line)}</tspan>'
        for number, line in enumerate(lines)
    )
    return f'<text class="{kind}">{"".join(spans)}</text>'
