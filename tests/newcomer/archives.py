"""What the archives of a release contain, and what is wrong with it; needs only the standard library."""

import re
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

MOST_BYTES = 20_000_000  # of a member or an archive; the package index takes 100 MB
# Folders of which everything ships in the wheel, except for files with these names.
_PACKAGE, _NOT_INSTALLED = "bit_keras/", ("BUILD",)
# Files that a build adds: to source archives, and to the folder .dist-info of wheels.
_ADDED_TO_SDIST = re.compile(r"PKG-INFO|bit_keras\.egg-info/.*")
_ADDED_TO_WHEEL = re.compile(r"[^/]+\.dist-info/(METADATA|WHEEL|RECORD|top_level\.txt|entry_points\.txt|licenses/.+)")

_SECRET_NAMES = re.compile(
    r"(^|/)(\.env|\.netrc|\.pypirc|kaggle\.json|id_(rsa|ed25519|ecdsa)|[^/]+\.(pem|p12|pfx|keystore))$"
)
_SECRETS = {
    "a private key": re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a key of AWS": re.compile(rb"\bAKIA[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(rb"\bgh[opsu]_[A-Za-z0-9]{36}\b"),
    "a token of Hugging Face": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a token of PyPI": re.compile(rb"\bpypi-AgEIcHlwaS[A-Za-z0-9_-]{16,}"),
    "a key of Google": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
}


def members(path: Path) -> dict[str, bytes]:
    """Returns {name: content} of a wheel, or of a source archive without its top folder."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    with tarfile.open(path) as archive:
        files = [member for member in archive if member.isfile()]
        return {member.name.partition("/")[2]: archive.extractfile(member).read() for member in files}


def differences(first: Path, second: Path) -> list[str]:
    """Returns how two archives of equal files differ, [] for equal bytes."""
    if first.read_bytes() == second.read_bytes():
        return []
    one, other = members(first), members(second)
    found = [f"only one has {name}" for name in sorted(one.keys() ^ other.keys())]
    found += [f"{name} differs" for name in sorted(one.keys() & other.keys()) if one[name] != other[name]]
    return found or ["the order, a time, an owner or a permission of their members, or their compression, differs"]


def wheel_faults(contents: Mapping[str, bytes], sources: Iterable[str]) -> list[str]:
    """Returns what is missing or unexpected in a wheel, given the files of the checkout."""
    wanted = {name for name in sources if name.startswith(_PACKAGE) and PurePosixPath(name).name not in _NOT_INSTALLED}
    added = {name for name in contents if _ADDED_TO_WHEEL.fullmatch(name)}
    return _compared(contents.keys() - added, wanted)


def sdist_faults(contents: Mapping[str, bytes], sources: Iterable[str]) -> list[str]:
    """Returns what is missing or unexpected in a source archive, given the files of the checkout."""
    added = {name for name in contents if _ADDED_TO_SDIST.fullmatch(name)}
    return _compared(contents.keys() - added, set(sources))


def _compared(found: set[str], wanted: set[str]) -> list[str]:
    missing = [f"{name} is missing" for name in sorted(wanted - found)]
    return missing + [f"{name} should not be in it" for name in sorted(found - wanted)]


def size_faults(contents: Mapping[str, bytes]) -> list[str]:
    """Returns the members, and their sum, that are larger than MOST_BYTES."""
    sizes = {name: len(content) for name, content in contents.items()}
    sizes["all of it"] = sum(sizes.values())
    return [f"{name} has {size:,} bytes, more than {MOST_BYTES:,}" for name, size in sizes.items() if size > MOST_BYTES]


def secret_faults(contents: Mapping[str, bytes]) -> list[str]:
    """Returns the members that look like credentials by their name, or contain what looks like some."""
    found = [f"{name} is a file for credentials" for name in contents if _SECRET_NAMES.search(name)]
    for name, content in contents.items():
        found += [f"{name} contains {kind}" for kind, pattern in _SECRETS.items() if pattern.search(content)]
    return found
