"""Files from Debian packages, without installing them."""

import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

_CHUNK = 40  # packages per call of apt-get


def fetch(names: Iterable[str], folder: Path) -> list[Path]:
    """Downloads packages of the configured Debian release.

    Args:
        names: of the packages.
        folder: where to download them; existing packages are not downloaded again.

    Returns:
        The ".deb" files in the order of `names`.

    Raises:
        subprocess.CalledProcessError: apt-get does not know a package or has no index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not _found(name, folder)]
    for start in range(0, len(missing), _CHUNK):
        command = ["apt-get", "download", "-qq", *missing[start : start + _CHUNK]]
        subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)
    return [_found(name, folder)[0] for name in names]


def _found(name: str, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{name}_*.deb"))


def members(package: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Yields (name, content) of the regular files in a package whose names have one of the endings, sorted by name."""
    with tempfile.TemporaryFile() as tar:
        subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=tar, check=True)
        tar.seek(0)
        with tarfile.open(fileobj=tar) as archive:
            files = [member for member in archive.getmembers() if member.isfile() and member.name.endswith(endings)]
            for member in sorted(files, key=lambda member: member.name):
                yield member.name, archive.extractfile(member).read()
