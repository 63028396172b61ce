"""Formulas as MathML, which browsers draw themselves: MathJax would have to be downloaded by each reader."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml


def setup(app) -> dict:
    app.add_html_math_renderer("mathml", (_in_a_line, None), (_block, None))
    return {"parallel_read_safe": True}


def _in_a_line(writer, node) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer, node) -> None:
    writer.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode
