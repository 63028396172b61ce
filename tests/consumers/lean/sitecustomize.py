"""Halves the time in which Keras starts: Python imports this module first in programs with its folder on PYTHONPATH.

Keras and TensorFlow import these packages wherever they are installed, for features that no program of this project
uses. Here they do not find them, as with most users; all other modules import them as always.
"""

import sys

_ABSENT = frozenset({"IPython", "jax", "matplotlib", "matplotlib.pyplot", "pandas", "sklearn"})
_IMPORTERS = (
    *("keras.src.callbacks.", "keras.src.saving.", "keras.src.trainers.", "keras.src.visualization."),
    *("keras.src.wrappers.", "tensorflow.lite."),
)


class _Finder:
    """First of the finders of modules; finds none."""

    def find_spec(self, name: str, *_) -> None:
        if name not in _ABSENT:
            return
        frame = sys._getframe(1)
        while "importlib" in frame.f_code.co_filename:
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").startswith(_IMPORTERS):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, _Finder())
