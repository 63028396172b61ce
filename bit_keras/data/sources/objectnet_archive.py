"""The files of ObjectNet: in its encrypted archive, or unpacked."""

import glob
import os
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from bit_keras.data.errors import DataError
from bit_keras.data.loaders import limits
from bit_keras.data.sources.folder import is_hidden

# An environment variable for the password, if it is not the published one.
_PASSWORD = "BIT_KERAS_OBJECTNET_PASSWORD"
_PUBLISHED = "objectnetisatestset"  # on the page of the data set; it keeps the images out of other data sets
_MAPPINGS, _IMAGES = "mappings", "images"
_IS_ENCRYPTED, _AES = 1, 99  # bit of the flags of a member; compression method of an encryption that Python lacks
_NOT_DECRYPTED = f"the archive is damaged, or has another password, which {_PASSWORD} may give"
_MARK = "folder_to_objectnet_label.json"  # a file that every copy has


class Files(Protocol):
    """Files below "images" and "mappings", by names such as "images/alarm_clock/0a1b.png"."""

    def images(self) -> Iterator[str]:
        """The names of all images, "images/FOLDER/FILE"."""

    def read(self, name: str) -> bytes:
        """The content of a file; raises OSError or ValueError with the reason if it cannot be read."""


def open_files(path: Path) -> Files:
    """Opens the archive, or the folder that it was unpacked to.

    Raises:
        DataError: there is no such file or folder, or it is something else.
    """
    if path.is_dir():
        return Unpacked(path)
    if not path.is_file():
        raise DataError(f"objectnet: no such file or folder: {path}")
    return Archive(path)


def is_unpacked(folder: Path) -> bool:
    """Tells whether a folder is the unpacked archive, or its folder of images."""
    return any((root / _MAPPINGS / _MARK).is_file() for root in (folder, folder.parent))


class Unpacked:
    """The folder "objectnet-1.0", or the one that it is in."""

    def __init__(self, root: Path):
        found = [folder for folder in (root, *sorted(root.iterdir())) if (folder / _MAPPINGS / _MARK).is_file()]
        if not found:
            raise DataError(
                f"objectnet: {root} must be the unpacked objectnet-1.0.zip, with {_MAPPINGS}/{_MARK} and {_IMAGES}/"
            )
        self._root = found[0]

    def images(self) -> Iterator[str]:
        for path in sorted((self._root / _IMAGES).glob("*/*.png")):
            if not is_hidden(path.name):
                yield path.relative_to(self._root).as_posix()

    def read(self, name: str) -> bytes:
        try:
            return limits.read_file(self._root / name)
        except FileNotFoundError as error:
            raise ValueError("the file is missing") from error


class Archive:
    """objectnet-1.0.zip, whose members are encrypted one by one; threads may share it."""

    def __init__(self, path: Path):
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(
                f"objectnet: {path} cannot be opened ({error}): download objectnet-1.0.zip completely"
            ) from error
        marks = [name for name in self._zip.namelist() if name.endswith(f"{_MAPPINGS}/{_MARK}")]
        if not marks:
            raise DataError(f"objectnet: {path} must be objectnet-1.0.zip, with {_MAPPINGS}/{_MARK} in it")
        self._path = path.resolve()  # a name that begins with "-" would be an option of unzip
        self._root = PurePosixPath(marks[0]).parent.parent
        self._password = os.environ.get(_PASSWORD, _PUBLISHED)
        self._unzip = shutil.which("unzip")

    def images(self) -> Iterator[str]:
        for name in sorted(self._zip.namelist()):
            path = PurePosixPath(name)
            if path.suffix == ".png" and path.parent.parent == self._root / _IMAGES:
                yield str(path.relative_to(self._root))

    @property
    def is_slow(self) -> bool:
        """Whether Python decrypts the images, at about a megabyte per second, for want of the program unzip."""
        return self._unzip is None

    def read(self, name: str) -> bytes:
        member = str(self._root / name)
        try:
            info = self._zip.getinfo(member)
        except KeyError as error:
            raise ValueError("the file is missing in the archive") from error
        limits.check_bytes(info.file_size)
        is_plain_name = not member.startswith("-")  # else it could be an option of unzip
        if self._unzip and is_plain_name and info.flag_bits & _IS_ENCRYPTED and info.compress_type != _AES:
            return self._with_unzip(info)
        try:
            return self._zip.read(info, self._password.encode())
        except NotImplementedError as error:
            raise ValueError(f"{error}; unpack the archive by another program and name the folder") from error
        except (RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{_NOT_DECRYPTED} ({error})") from error

    def _with_unzip(self, info: zipfile.ZipInfo) -> bytes:
        command = [self._unzip, "-p", "-P", self._password, str(self._path), glob.escape(info.filename)]
        environment = {**os.environ, "UNZIP_DISABLE_ZIPBOMB_DETECTION": "TRUE"}  # its rule refuses this archive
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            content = process.stdout.read(info.file_size + 1)
            if len(content) > info.file_size:
                process.kill()
                raise ValueError(
                    f"the archive is damaged: the file has more than the {info.file_size:,} bytes it states"
                )
            reason = " ".join(process.stderr.read().decode(errors="replace").split())
        if process.returncode:
            raise ValueError(f"{_NOT_DECRYPTED} ({reason or f'unzip ended with {process.returncode}'})")
        return content
