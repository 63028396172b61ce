"""Kaggle Models: the real kagglehub with a fake of Kaggle's servers.

KAGGLE_API_ENVIRONMENT=LOCALHOST sends kagglehub to http://localhost/api, which http_proxy redirects to the fake.
"""

import http.server
import json
import sys

import pytest

from bit_keras.checkpoints import CheckpointError, fetch
from bit_keras.checkpoints.remote.download import fetch_folder

MODULE = "google/bit/tensorFlow2/m-r50x1"


class _Kaggle(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[tuple]

    def do_POST(self):
        method = self.path.removeprefix("http://localhost/api/v1/models.ModelApiService/")
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((method, request.get("versionNumber"), request.get("path")))
        if method == "GetModelInstance":
            self._send(json.dumps({"versionNumber": 3}).encode(), "application/json")
        elif method == "ListModelInstanceVersionFiles":
            rows = [{"name": name} for name in self.files]
            self._send(json.dumps({"files": rows, "nextPageToken": ""}).encode(), "application/json")
        elif method == "DownloadModelInstanceVersion" and request["path"] in self.files:
            self._send(self.files[request["path"]], "application/octet-stream")
        else:
            self.send_error(404)

    def _send(self, body: bytes, content_type: str):
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def kaggle(serve, cache, tmp_path, monkeypatch, npz_bytes) -> type[_Kaggle]:
    files = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "weights.npz": npz_bytes}
    handler = type("Kaggle", (_Kaggle,), {"files": files, "asked": []})
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_KERNEL_RUN_TYPE", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))
    monkeypatch.setenv("http_proxy", serve(handler))
    return handler


def test_a_file(kaggle, tmp_path, npz_bytes):
    for _ in range(2):
        path = fetch(f"kaggle://{MODULE}/2/weights.npz")
        assert path == tmp_path / "kagglehub" / "models" / MODULE / "2" / "weights.npz"
        assert path.read_bytes() == npz_bytes
    assert kaggle.asked == [("DownloadModelInstanceVersion", 2, "weights.npz")]


def test_a_folder_of_the_newest_version(kaggle, tmp_path):
    path = fetch(f"kaggle://{MODULE}")
    assert path == tmp_path / "kagglehub" / "models" / MODULE / "3"
    assert {file.relative_to(path).as_posix() for file in path.rglob("*.*")} == set(kaggle.files)
    assert kaggle.asked[0] == ("GetModelInstance", None, None)
    with pytest.raises(ValueError, match="is a folder, which has no hash"):
        fetch(f"kaggle://{MODULE}", md5="0" * 32)


def test_files_of_a_folder(kaggle, tmp_path):
    path = fetch_folder(f"kaggle://{MODULE}/1", ["variables/variables.index", "saved_model.pb"])
    assert path == tmp_path / "kagglehub" / "models" / MODULE / "1"
    assert (path / "saved_model.pb").read_bytes() == b"graph"


def test_hash_and_contents_are_checked(kaggle, npz_bytes):
    with pytest.raises(CheckpointError, match="the caller asks for"):
        fetch(f"kaggle://{MODULE}/1/weights.npz", sha256="0" * 64)
    kaggle.files["weights.npz"] = npz_bytes[:-100]
    with pytest.raises(CheckpointError, match="is no complete zip archive"):
        fetch(f"kaggle://{MODULE}/2/weights.npz")


def test_what_kaggle_does_not_have(kaggle):
    with pytest.raises(ConnectionError, match=f"kagglehub cannot download kaggle://{MODULE}/1/none.npz: (.|\n)*404"):
        fetch(f"kaggle://{MODULE}/1/none.npz")


def test_a_mirror(kaggle, site, cache, npz_bytes, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_MIRROR", f"kaggle://{MODULE}/1")
    path = fetch("gs://bit_models/weights.npz")
    assert path == cache / "storage.googleapis.com/bit_models/weights.npz"
    assert path.read_bytes() == npz_bytes
    assert not site.asked


def test_offline(kaggle, tmp_path, monkeypatch):
    file, folder = fetch(f"kaggle://{MODULE}/2/weights.npz"), fetch(f"kaggle://{MODULE}/3")
    kaggle.asked.clear()
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    assert fetch(f"kaggle://{MODULE}/2/weights.npz") == file
    assert fetch(f"kaggle://{MODULE}/3") == fetch(f"kaggle://{MODULE}") == folder
    assert fetch(f"kaggle://{MODULE}/weights.npz") == folder / "weights.npz"
    models = tmp_path / "kagglehub" / "models"
    for name, place in ((f"{MODULE}/2", f"{MODULE}/2"), (f"{MODULE}x/w.h5", f"{MODULE}x/1/w.h5")):
        with pytest.raises(ConnectionError, match=f"put it at {models / place}, or unset BIT_KERAS_OFFLINE"):
            fetch(f"kaggle://{name}")
    assert not kaggle.asked


def test_without_kagglehub(cache, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ImportError, match=r"pip install 'bit-keras\[kaggle\]'"):
        fetch(f"kaggle://{MODULE}/1/weights.npz")


def test_a_folder_that_was_half_cleaned_is_downloaded_again(kaggle, monkeypatch):
    path = fetch(f"kaggle://{MODULE}/2")
    (path / "variables" / "variables.index").unlink()
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    with pytest.raises(ConnectionError, match="is not in kagglehub's cache: put it at"):
        fetch(f"kaggle://{MODULE}/2")
    monkeypatch.delenv("BIT_KERAS_OFFLINE")
    assert fetch(f"kaggle://{MODULE}/2") == path
    assert (path / "variables" / "variables.index").read_bytes() == b"index"
