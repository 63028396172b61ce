"""What notebooks show: HTML, and figures that need no pyplot."""

import base64
import html
import io
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure


class ShownFigure(Figure):
    """A figure that shows itself at the end of a cell, as figures of pyplot do."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def table(rows: Mapping[str, str]) -> str:
    """Returns a table of two columns, names and values, without formatting of their own."""
    cells = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows.items())
    return f"<table>{''.join(cells)}</table>"


def picture(path: Path, description: str) -> str:
    """Returns a PNG file as an element that holds the picture itself; "" if there is no such file."""
    if not path.is_file():
        return ""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:image/png;base64,{content}" alt="{html.escape(description)}" style="max-width: 100%">'
