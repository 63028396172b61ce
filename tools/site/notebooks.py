"""Pages of notebooks: each begins with a link to its file, which Jupyter and Colab open."""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform


def setup(app) -> dict:
    app.add_transform(_Download)
    return {"parallel_read_safe": True}


class _Download(SphinxTransform):
    default_priority = 500

    def apply(self) -> None:
        file = Path(self.env.doc2path(self.env.docname)).name
        if file.endswith(".ipynb"):
            link = addnodes.download_reference("", f"Download this notebook, {file}", reftarget=file)
            link["refdoc"] = self.env.docname
            title = next(self.document.findall(nodes.title))
            title.parent.insert(title.parent.index(title) + 1, nodes.paragraph("", "", link))
