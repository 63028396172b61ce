"""Text from outside in figures, and figures as files that cost nobody the results beside them."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from matplotlib import font_manager
from matplotlib.figure import Figure

from bit_keras.system.files import whole
from bit_keras.system.logs import logger
from bit_keras.system.texts import label, shortened

LONGEST = 24  # letters of a name that fit below a picture

# Properties of a text that is drawn as it is: a dollar sign in a name begins no formula.
LITERAL = {"parse_math": False, "usetex": False}

# Fonts with Chinese, Japanese, Korean and further letters that the default font lacks, of Linux, macOS and Windows.
FONTS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Arial Unicode MS"),
    *("PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Emoji", "Symbola", "Segoe UI Emoji"),
)


def drawn(name: str) -> str:
    """Returns a name from outside as it is drawn: in one line, not blank, and not too long."""
    return shortened(label(name), LONGEST)


@functools.cache
def literal() -> dict:
    """Returns the properties of a text from outside, with those fonts for rare letters that are installed."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {**LITERAL, "family": ["sans-serif", *(name for name in FONTS if name in installed)]}


def sentence(text: str) -> Figure:
    """Returns a figure that says why there is nothing to draw."""
    figure = Figure(figsize=(10.2, 2.8), layout="constrained")
    figure.suptitle(text)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as a PNG file, whole or not at all; a letter that no font has is drawn as a box."""
    with whole(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph|Matplotlib currently does not support|.*constrained_layout")
        figure.savefig(temporary, dpi=100, format="png")


def save_all(folder: Path, figures: Mapping[str, Callable[[], Figure]]) -> list[str]:
    """Draws and writes NAME.png for each figure; one that fails costs nothing but itself.

    Args:
        folder: of the files.
        figures: {name: function that draws it}.

    Returns:
        A message for each figure that could not be written; they have been logged as warnings.
    """
    faults = []
    for name, draw in figures.items():
        with reported(f"{Path(folder, name)}.png", faults):
            save(draw(), Path(folder, f"{name}.png"))
    return faults


@contextlib.contextmanager
def reported(what: str, faults: list[str]) -> Iterator[None]:
    """Logs an error of the block as a warning, and adds it to `faults`, instead of raising it.

    Args:
        what: the file or folder that the block writes, for the message.
        faults: messages so far.
    """
    try:
        yield
    except Exception as error:  # whatever a drawing library raises: the results beside it are worth more
        faults.append(f"{what} could not be written: {str(error) or type(error).__name__}")
        logger.warning("%s", faults[-1])
