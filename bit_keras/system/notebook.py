"""A line in the output of a notebook cell whose text is replaced in place."""

import sys
import uuid


def is_notebook() -> bool:
    """Tells whether this process is the kernel of a notebook (Jupyter, Colab, VS Code)."""
    return getattr(_shell(), "kernel", None) is not None  # IPython in a terminal has no kernel


class StatusLine:
    """One line in the output of the running cell; each text replaces the previous one. Needs a notebook.

    The text is a display output with an identifier, which front ends can update: rich's bars would need ipywidgets,
    and printed lines would fill the cell.
    """

    def __init__(self):
        self._identity = {"display_id": uuid.uuid4().hex}
        self._text = ""
        self._is_displayed = False

    def show(self, text: str) -> None:
        """Shows a text; "" empties the line."""
        if text == self._text:
            return
        _shell().display_pub.publish({"text/plain": text}, transient=self._identity, update=self._is_displayed)
        self._text, self._is_displayed = text, True


def _shell():
    """Returns IPython's shell, None if IPython does not run; does not import it."""
    ipython = sys.modules.get("IPython")
    return ipython and ipython.get_ipython()
