"""Errors of a real builder, whose archive is downloaded from a local server."""

import errno
import hashlib
import http.server
import importlib
import io
import re
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader

from bit_keras import data
from bit_keras.data.sources import tfds as tfds_source


def _archive() -> bytes:
    """Returns a zip file of images."""
    images, archive = io.BytesIO(), io.BytesIO()
    np.save(images, np.zeros((4, 6, 9, 3), np.uint8))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images.npy", images.getvalue())
    return archive.getvalue()


ARCHIVE = _archive()


def _registered(content: bytes) -> tfds.download.checksums.UrlInfo:
    """Returns the registered checksum and size of a download."""
    checksum = hashlib.sha256(content).hexdigest()
    return tfds.download.checksums.UrlInfo(tfds.core.utils.Size(len(content)), checksum, "images.zip")


class Served(tfds.core.GeneratorBasedBuilder):
    """Images of a downloaded archive; fixtures and tests set its address and registered checksum."""

    VERSION = tfds.core.Version("1.0.0")
    URL = None
    url_infos = None
    needs = ()  # modules that the builder imports when it reads the archive
    fault = None  # raised when it generates examples

    def _info(self):
        features = {"image": tfds.features.Image(shape=(6, 9, 3)), "label": tfds.features.ClassLabel(names=["a", "b"])}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        path = dl_manager.download_and_extract(self.URL) / "images.npy"
        return {"train": self._generate_examples(path), "test": self._generate_examples(path)}

    def _generate_examples(self, path):
        for module in self.needs:
            getattr(tfds.core.lazy_imports, module)
        for number, image in enumerate(np.load(path)):
            if self.fault is not None:
                raise self.fault
            yield number, {"image": image, "label": number % 2}


@pytest.fixture(autouse=True)
def answer(serve, monkeypatch) -> dict:
    """The server's answer for "served": status, body, and number of bytes of it to send; tests change it."""
    answer = {"status": 200, "body": ARCHIVE, "sent": None, "requests": 0}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            answer["requests"] += 1
            self.send_response(answer["status"])
            self.send_header("Content-Length", str(len(answer["body"])))
            self.end_headers()
            self.wfile.write(answer["body"][: answer["sent"]])

        def log_message(self, *args):
            pass

    url = f"{serve(Handler)}/images.zip"
    monkeypatch.setattr(Served, "URL", url)
    monkeypatch.setattr(Served, "url_infos", {url: _registered(ARCHIVE)})
    monkeypatch.setattr(tfds_source, "_RETRIES", 1)  # the first retry is immediate, the second one delayed
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)
    return answer


def _error(tmp_path, name: str = "served", **arguments) -> str:
    """Returns the error message for a name, and checks that it is one line."""
    with pytest.raises(data.DataError) as caught:
        data.load(name, **{"data_dir": str(tmp_path), **arguments})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _assert_prepared(tmp_path, **arguments):
    """Checks that the next attempt, without the fault, prepares the dataset."""
    assert data.load("served", data_dir=str(tmp_path), **arguments).num_train == 4
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["1.0.0"]


BY_HAND = "download by hand into a folder that --manual_dir names, as images.zip"


def test_dead_link(tmp_path, answer):
    answer["status"] = 404
    message = _error(tmp_path)
    assert message.startswith("served/1.0.0 cannot be downloaded: Failed to get url http://127.0.0.1")
    assert message.endswith(f"HTTP code: 404; try again later, or {BY_HAND}")
    answer["status"] = 200
    _assert_prepared(tmp_path)


def test_failing_server(tmp_path, answer):
    answer["status"] = 503
    assert re.search(r"images.zip: .*too many 503 error responses.*; try again later, or download", _error(tmp_path))
    assert answer["requests"] == 2
    assert downloader.MAX_RETRIES == 10  # restored
    answer["status"] = 200
    _assert_prepared(tmp_path)


def test_file_downloaded_by_hand(tmp_path, answer):
    answer["status"] = 404
    manual = tmp_path / "manual"
    manual.mkdir()
    assert BY_HAND in _error(tmp_path / "data", manual_dir=str(manual))
    (manual / "images.zip").write_bytes(ARCHIVE[:-1])
    requests = answer["requests"]
    message = _error(tmp_path / "data", manual_dir=str(manual))
    assert re.fullmatch(f"served/1.0.0: {manual}/images.zip has another checksum than the file of http.*", message)
    (manual / "images.zip").write_bytes(ARCHIVE)
    _assert_prepared(tmp_path / "data", manual_dir=str(manual))
    assert answer["requests"] == requests


def test_changed_file(tmp_path, answer):
    answer["body"] = b"<html>Log in</html>"
    message = _error(tmp_path)
    assert re.search(
        rf"cannot be downloaded: the file at {Served.URL} has another checksum than .*; try again", message
    )
    assert message.endswith(BY_HAND)
    (kept,) = tmp_path.glob("downloads/served/*.tmp.*/images.zip")
    assert f"(it was saved as {kept})" in message
    assert kept.read_bytes() == answer["body"]
    answer["body"] = ARCHIVE
    _assert_prepared(tmp_path)


@pytest.mark.parametrize("is_registered", [True, False])
def test_connection_that_breaks(is_registered, tmp_path, answer, monkeypatch):
    if not is_registered:
        monkeypatch.setattr(Served, "url_infos", None)
    answer["sent"] = 100
    message = _error(tmp_path)
    assert re.search(r"cannot be downloaded: .*100 bytes read, .* more expected.*; try again later", message)
    assert (BY_HAND in message) == is_registered
    answer["sent"] = None
    _assert_prepared(tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/images.zip", "http://name.invalid/images.zip"])
def test_no_network(url, tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(Served, "URL", url)
        message = _error(tmp_path)
    assert re.search(
        rf"cannot be downloaded: {url}: no connection \(.+\); check the network, or set HTTPS_PROXY", message
    )
    _assert_prepared(tmp_path)


def test_proxy_that_refuses(tmp_path, answer, monkeypatch):
    with monkeypatch.context() as context:
        context.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        message = _error(tmp_path)
    assert re.search(r"no connection through the proxy \(.+\); check the variables HTTPS_PROXY and HTTP_PROXY", message)
    assert answer["requests"] == 0
    _assert_prepared(tmp_path)


def test_broken_archive(tmp_path, answer, monkeypatch):
    answer["body"] = ARCHIVE[:-30]
    monkeypatch.setattr(Served, "url_infos", None)  # otherwise the checksum is reported
    message = _error(tmp_path)
    assert re.search(r"has a broken archive, .* \(BadZipFile: File is not a zip file\)", message)
    downloads = tmp_path / "downloads" / "served"
    assert message.endswith(f"delete {downloads}, and it is downloaded again")
    answer["body"] = ARCHIVE
    assert _error(tmp_path) == message
    shutil.rmtree(downloads)  # as the message suggests
    _assert_prepared(tmp_path)


def test_broken_archive_in_the_manual_folder(tmp_path, monkeypatch):
    content = ARCHIVE[:-30]
    (tmp_path / "images.zip").write_bytes(content)
    monkeypatch.setattr(Served, "url_infos", {Served.URL: _registered(content)})
    assert _error(tmp_path / "data", manual_dir=str(tmp_path)).endswith(f"; replace {tmp_path}/images.zip")


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, "No space left on device", "train.tfrecord"),
        tf.errors.ResourceExhaustedError(None, None, "train.tfrecord; No space left on device"),
    ],
)
def test_disk_that_fills_up(fault, tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(Served, "fault", fault)
        message = _error(tmp_path)
    assert re.match(rf"served/1.0.0 does not fit on the disk of {tmp_path} \(.*No space left on device.*\)", message)
    assert message.endswith(f"unfinished files are below {tmp_path}/downloads, as *.tmp.* and incomplete.*")
    _assert_prepared(tmp_path)


def test_disk_that_is_too_small(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        usage = shutil.disk_usage(tmp_path)
        context.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
        message = _error(tmp_path)
    assert re.match(r"served/1.0.0 does not fit on the disk of .* \(Not enough disk space. Needed: ", message)
    _assert_prepared(tmp_path)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    below_file = tmp_path / "file" / "tfds"
    assert re.match(rf"served/1.0.0 cannot be written to {below_file}: .*; give another --data_dir", _error(below_file))
    # A file system to which not even root can write.
    assert re.match(r"served/1.0.0 cannot be written to /sys/tfds: .*; give another --data_dir", _error("/sys/tfds"))


@pytest.mark.parametrize(
    ("module", "package"), [("cv2", "opencv-python-headless"), ("pretty_midi", "pretty_midi"), ("apache_beam", None)]
)
def test_package_that_is_not_installed(module, package, tmp_path, answer, monkeypatch):
    def import_module(name):
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name)

    original = importlib.import_module
    with monkeypatch.context() as context:
        context.setattr(importlib, "import_module", import_module)
        context.setattr(Served, "needs", (module,))
        message = _error(tmp_path)
    assert message == (
        f"served/1.0.0 needs the Python package {module}, which is not installed: "
        f"pip install {package or 'apache-beam'}; files that were downloaded are kept"
    )
    _assert_prepared(tmp_path)
    assert answer["requests"] == 1


def test_library_of_a_package_that_is_not_installed(tmp_path, monkeypatch):
    fault = ImportError("libGL.so.1: cannot open shared object file: No such file or directory", name="cv2")
    monkeypatch.setattr(Served, "fault", fault)
    assert "needs a Python package that cannot be imported: ImportError: libGL.so.1: cannot" in _error(tmp_path)


def test_fault_of_the_builder_itself(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(Served, "fault", KeyError("wings"))
        message = _error(tmp_path)
    assert message == f"served/1.0.0 cannot be prepared by TensorFlow Datasets {tfds.__version__}: KeyError: 'wings'"
    _assert_prepared(tmp_path)


def test_interruption_by_the_user(tmp_path, monkeypatch):
    with monkeypatch.context() as context:
        context.setattr(Served, "fault", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            data.load("served", data_dir=str(tmp_path))
    _assert_prepared(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("served:9.9.9", "served has no such configuration or version: 'served:9.9.9'; allowed are served, each"),
        ("served:9", "'served:9'; allowed are served, each also with \":1.0.0\""),
        ("served/none", "'served/none'; allowed are served, "),
        ("numbered/none", "'numbered/none'; allowed are numbered/fixed, numbered/varied, .*each also with \":1.2.3\""),
        ("ser ved", "no such data: 'ser ved'; allowed are .*of which these come close: served"),
        ("ser*", r"no such data: 'ser\*'; allowed are "),
        ("somebody:served", "no such data: 'somebody:served'; allowed are "),
    ],
)
def test_name_that_gives_no_dataset(name, message, tmp_path):
    assert re.search(message, _error(tmp_path, name))


def test_name_that_needs_a_package(tmp_path, monkeypatch):
    monkeypatch.setattr(Served, "__init__", lambda *_, **__: importlib.import_module("no_such_package.module"))
    assert _error(tmp_path) == (
        "served needs the Python package no_such_package, which is not installed: pip install no_such_package"
    )
