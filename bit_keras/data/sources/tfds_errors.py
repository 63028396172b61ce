"""Turns the errors of TensorFlow Datasets into one-line messages that name a way out."""

import difflib
import errno
import re
import tarfile
import textwrap
import urllib.error
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import requests
import tensorflow_datasets as tfds

from bit_keras.data.errors import DataError, shortened
from bit_keras.data.tensorflow_for_data import tf

# {module that builders import: its package in pip}, if the names differ.
PIP_NAMES = {
    "PIL": "pillow",
    "apache_beam": "apache-beam",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python-headless",
    "skimage": "scikit-image",
}
_NETWORK = (requests.RequestException, urllib.error.URLError, tfds.download.DownloadError)
_ARCHIVE = (tfds.download.extractor.ExtractError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# For archives that a user must download, TFDS asserts that the folder is not empty, and builders open its files.
_MISSING_ARCHIVE = (AssertionError, FileNotFoundError, NotADirectoryError, tf.errors.NotFoundError)
_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)


def not_opened(name: str, error: Exception) -> DataError:
    """Returns the error for a name for which TFDS has no builder."""
    if isinstance(error, ImportError):
        return DataError(f"{name} {_missing_package(error)}")
    if not isinstance(error, ValueError | AssertionError):
        return DataError(f"{name} cannot be opened by TensorFlow Datasets: {_text(error)}")
    dataset = re.split("[/:]", name)[0]
    try:
        builder = tfds.builder_cls(dataset)
    except ValueError:  # an unknown or invalid name
        close = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False))
        return DataError(
            f'no such data: {name!r}; allowed are "digits", the path of a folder or of a CSV file, and the names of '
            f"TensorFlow Datasets{', of which these come close: ' + ', '.join(close) if close else ''}"
        )
    forms = [f"{dataset}/{config.name}" for config in builder.BUILDER_CONFIGS] or [dataset]
    version = f', each also with ":{builder.VERSION}"' if builder.VERSION else ""
    return DataError(f"{dataset} has no such configuration or version: {name!r}; allowed are {_listed(forms)}{version}")


def not_prepared(builder: tfds.core.DatasetBuilder, manual_dir: str | None, error: Exception) -> DataError:
    """Returns the error for a dataset that cannot be downloaded or prepared."""
    name = builder.info.full_name
    causes = list(_causes(error))
    full_disk = next(filter(None, map(_full_disk, causes)), None)
    if full_disk:
        return DataError(
            f"{name} does not fit on the disk of {builder.data_dir_root} ({full_disk}); give another --data_dir, or "
            f"free space: unfinished files are below {_downloads(builder).parent}, as *.tmp.* and incomplete.*"
        )
    if isinstance(error, ImportError):
        return DataError(f"{name} {_missing_package(error)}; files that were downloaded are kept")
    if isinstance(error, tfds.download.download_manager.NonMatchingChecksumError):
        return DataError(_wrong_checksum(builder, manual_dir, error))
    if isinstance(error, _NETWORK):
        return DataError(f"{name} cannot be downloaded: {_network_fault(error, causes[-1])}{_by_hand(builder)}")
    if isinstance(error, _ARCHIVE):
        return DataError(_broken_archive(builder, manual_dir, error, causes[-1]))
    if any(_is_not_writable(cause, builder.data_dir_root) for cause in causes):
        return DataError(
            f"{name} cannot be written to {builder.data_dir_root}: {_text(error)}; give another --data_dir"
        )
    if builder.MANUAL_DOWNLOAD_INSTRUCTIONS and isinstance(error, _MISSING_ARCHIVE):
        instructions = textwrap.dedent(builder.MANUAL_DOWNLOAD_INSTRUCTIONS).strip()
        return DataError(
            f"{name} must be downloaded by hand, to the folder {manual_dir or '--manual_dir'}: {_text(error)}\n"
            f"{instructions}"
        )
    return DataError(f"{name} cannot be prepared by TensorFlow Datasets {tfds.__version__}: {_text(error)}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and its chain of causes, down to the first one."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _text(error: BaseException) -> str:
    """Returns the first line of an error, preceded by its type unless the line is clear without it."""
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    return text if isinstance(error, OSError | AssertionError) and text else f"{type(error).__name__}: {text}"


def _listed(names: list[str]) -> str:
    return ", ".join(shortened(names))


def _downloads(builder: tfds.core.DatasetBuilder) -> Path:
    """Returns the folder to which TFDS downloads the files of this dataset."""
    return Path(builder.data_dir_root) / "downloads" / builder.name


def _by_hand(builder: tfds.core.DatasetBuilder) -> str:
    """Returns the alternative to a download: TFDS uses files of the same name and checksum in the manual folder."""
    names = sorted({info.filename for info in (builder.url_infos or {}).values() if info.filename})
    if not names:
        return ""
    return f", or download by hand into a folder that --manual_dir names, as {_listed(names)}"


def _missing_package(error: ImportError) -> str:
    module = next((cause.name for cause in _causes(error) if isinstance(cause, ImportError) and cause.name), None)
    # "cannot open shared object": the package is installed, but a library of the system is missing.
    if module is None or "cannot open shared object" in str(error):
        return f"needs a Python package that cannot be imported: {_text(error)}"
    package = module.partition(".")[0]
    return f"needs the Python package {package}, which is not installed: pip install {PIP_NAMES.get(package, package)}"


def _wrong_checksum(builder: tfds.core.DatasetBuilder, manual_dir: str | None, error: Exception) -> str:
    name = builder.info.full_name
    url, path = re.search(r"Artifact (.*), downloaded to (.*), has wrong checksum", str(error)).groups()
    if manual_dir and Path(path).parent == Path(manual_dir).expanduser():
        return f"{name}: {path} has another checksum than the file of {url}; replace it, or remove it to download that"
    return (
        f"{name} cannot be downloaded: the file at {url} has another checksum than TensorFlow Datasets "
        f"{tfds.__version__} expects, because the file was changed or a proxy answered in place of the server "
        f"(it was saved as {path}); try again or upgrade tensorflow-datasets{_by_hand(builder)}"
    )


def _network_fault(error: Exception, first_cause: BaseException) -> str:
    """Returns the fault and a way out."""
    request = getattr(error, "request", None)
    url = f"{request.url}: " if request is not None else ""
    reason = (getattr(first_cause, "strerror", None) or str(first_cause)).rstrip(".")
    if isinstance(error, requests.exceptions.ProxyError):
        return f"{url}no connection through the proxy ({reason}); check the variables HTTPS_PROXY and HTTP_PROXY"
    if isinstance(error, requests.exceptions.SSLError):
        return f"{url}the certificate is not trusted ({reason}); REQUESTS_CA_BUNDLE names those of a proxy"
    if isinstance(error, requests.ConnectionError):
        return f"{url}no connection ({reason}); check the network, or set HTTPS_PROXY where it needs a proxy"
    return f"{url}{reason}; try again later"


def _broken_archive(
    builder: tfds.core.DatasetBuilder, manual_dir: str | None, error: Exception, first_cause: BaseException
) -> str:
    match = re.search(r"Error while extracting (.*) to .*: ", str(error))
    path = Path(match[1]) if match else None
    if path and manual_dir and path.parent == Path(manual_dir).expanduser():
        way_out = f"replace {path}"
    else:  # a download consists of two files in this folder
        way_out = f"delete {_downloads(builder)}, and it is downloaded again"
    return f"{builder.info.full_name} has a broken archive, {path or 'downloaded'} ({_text(first_cause)}); {way_out}"


def _full_disk(error: BaseException) -> str | None:
    """Returns the message of an error about a full disk, None for other errors."""
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return error.strerror
    if isinstance(error, OSError) and str(error).startswith("Not enough disk space"):  # raised by TFDS, without errno
        return str(error)
    return "No space left on device" if isinstance(error, tf.errors.ResourceExhaustedError) else None


def _is_not_writable(error: BaseException, folder: Path) -> bool:
    if isinstance(error, OSError):
        path = error.filename
        return error.errno in _NOT_WRITABLE and isinstance(path, str) and Path(path).is_relative_to(folder)
    return isinstance(error, tf.errors.PermissionDeniedError)
