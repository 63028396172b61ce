"""What setup.cfg cannot say: the description of the package is the README without links that lead into the repository.

The package index shows no files of the repository: pictures go, and of links the text stays.
"""

import re
from pathlib import Path

from setuptools import setup

_RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://)[^)]*\)")


def description(readme: str) -> str:
    """Returns Markdown without relative pictures and links."""
    return _RELATIVE_LINK.sub(lambda match: "" if match[1] else match[2], readme)


if __name__ == "__main__":
    setup(
        long_description=description(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
