"""Texts from outside, such as names of files and classes, as they may be printed and written."""

import html
import itertools
import os
import re
import unicodedata
from pathlib import Path

# Control characters, separators of lines, marks that reverse the direction of what follows, and bytes of file names
# that are no text. They could move the cursor of a terminal, or show a name as another one.
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def one_line(text: str) -> str:
    r"""Returns a text in which everything that is not printed as a character is escaped, such as "\n".

    >>> one_line("red\nblue")
    'red\\nblue'
    """
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(text: str) -> str:
    """As `one_line`, but line breaks remain."""
    return "\n".join(map(one_line, text.split("\n")))


def cell(text: str) -> str:
    """Returns a text for a cell of a Markdown table: one line, in which nothing is HTML or ends the cell."""
    return html.escape(one_line(text), quote=False).replace("\\", "\\\\").replace("|", "\\|")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Returns a number with its noun in the singular or the plural.

    >>> counted(1, "image"), counted(1437, "image"), counted(2, "class", "classes")
    ('1 image', '1,437 images', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def images_per_second(speed: float) -> str:
    """Returns a speed, with a decimal where that matters.

    >>> images_per_second(0.26), images_per_second(1437.2)
    ('0.3 images/s', '1,437 images/s')
    """
    return f"{speed:,.{0 if speed >= 9.95 else 1}f} images/s"


def label(name: str) -> str:
    """Returns the name of a class as one line that is not blank."""
    return one_line(name) if name.strip() else f"'{one_line(name)}'"


def shortened(text: str, longest: int) -> str:
    """Returns the beginning and the end of a text, with "..." between them, if it is wider than this many letters."""
    if len(_beginning(text, longest)) == len(text):
        return text
    end = (longest - 3) // 2
    return f"{_beginning(text, longest - 3 - end)}...{_beginning(text[::-1], end)[::-1]}"


def _beginning(text: str, width: int) -> str:
    """Returns as much of a text as fits; a Chinese, Japanese or Korean character is as wide as two letters."""
    widths = itertools.accumulate(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)
    return text[: sum(reached <= width for reached in widths)]


def read_names(argument: str, path: str | os.PathLike) -> list[str]:
    """Returns the lines of a text file in UTF-8, one name per line.

    Args:
        argument: name of the setting, for messages.
        path: the file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text in UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except ValueError as error:
        raise ValueError(f"{argument} must be a text file in UTF-8 with one name per line, got {path!r}") from error
    except OSError as error:
        raise type(error)(
            f"{argument} must be a text file with one name per line, got {path}: {error.strerror}"
        ) from None
