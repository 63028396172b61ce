"""What setup.cfg cannot say: the package's description, and that its source archive can be reproduced.

The description is the README without links that lead into the repository. The package index shows no files of the
repository: pictures go, and of links the text stays.
"""

import gzip
import os
import re
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.sdist import sdist

_RELATIVE_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://)[^)]*\)")


def description(readme: str) -> str:
    """Returns Markdown without relative pictures and links."""
    return _RELATIVE_LINK.sub(lambda match: "" if match[1] else match[2], readme)


class ReproducibleSdist(sdist):
    """Source archives that are bit-identical for equal files, where SOURCE_DATE_EPOCH gives the time in seconds.

    setuptools stores the order, the times, the permissions and the owners that the files happen to have, and the
    time of the build. For wheels it follows SOURCE_DATE_EPOCH itself.
    """

    def make_archive(self, base_name, format, root_dir=None, base_dir=None, owner=None, group=None):
        epoch = os.environ.get("SOURCE_DATE_EPOCH")
        if epoch is None or format != "gztar" or self.dry_run:
            return super().make_archive(base_name, format, root_dir, base_dir, owner, group)
        path = f"{base_name}.tar.gz"
        with (
            open(path, "wb") as stream,
            gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=int(epoch)) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
        ):
            for file in sorted(Path(base_dir).rglob("*")):
                if file.is_file():
                    _add(archive, file, int(epoch))
        return path


def _add(archive: tarfile.TarFile, file: Path, epoch: int) -> None:
    record = tarfile.TarInfo(file.as_posix())
    status = file.stat()
    record.size, record.mtime, record.mode = status.st_size, epoch, 0o755 if status.st_mode & 0o100 else 0o644
    with open(file, "rb") as content:
        archive.addfile(record, content)


if __name__ == "__main__":
    setup(
        cmdclass={"sdist": ReproducibleSdist},
        long_description=description(Path(__file__).with_name("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
    )
