"""The Hugging Face hub: the real huggingface_hub with a local server in place of the hub."""

import hashlib
import http.server
from pathlib import Path

import pytest
from huggingface_hub import constants

from bit_keras.checkpoints import CheckpointError, fetch

COMMIT = "0123456789abcdef0123456789abcdef01234567"
URL = "hf://google/bit@v1/folder/weights.npz"
PATH = "/google/bit/resolve/v1/folder/weights.npz"


class _Hub(http.server.BaseHTTPRequestHandler):
    files: dict[str, bytes]
    asked: list[tuple[str, str, str | None]]

    def do_HEAD(self):
        self.asked.append((self.command, self.path, self.headers["Authorization"]))
        content = self.files.get(self.path)
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
            content = b""
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_GET = do_HEAD

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(serve, cache, tmp_path, monkeypatch, npz_bytes) -> type[_Hub]:
    handler = type("Hub", (_Hub,), {"files": {PATH: npz_bytes}, "asked": []})
    monkeypatch.setenv("HF_ENDPOINT", serve(handler))
    # The package reads its environment variables when it is imported.
    settings = {
        "HF_HUB_CACHE": str(tmp_path / "hub"),
        "HF_TOKEN_PATH": str(tmp_path / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    return handler


def test_the_cache_is_that_of_the_package(hub, cache, tmp_path, npz_bytes):
    snapshot = tmp_path / "hub" / "models--google--bit" / "snapshots" / COMMIT
    for _ in range(2):
        path = fetch(URL, sha256=hashlib.sha256(npz_bytes).hexdigest())
        assert path == snapshot / "folder" / "weights.npz"
        assert path.read_bytes() == npz_bytes
    assert [method for method, *_ in hub.asked] == ["HEAD", "GET", "HEAD"]
    assert not cache.exists()


def test_the_token_of_a_login(hub, tmp_path):
    (tmp_path / "token").write_text("hf_secret")
    fetch(URL)
    assert {token for *_, token in hub.asked} == {"Bearer hf_secret"}


@pytest.mark.parametrize("setting", ["HF_HUB_OFFLINE", "BIT_KERAS_OFFLINE"])
def test_offline(setting, hub, monkeypatch):
    path = fetch(URL)
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", setting == "HF_HUB_OFFLINE")
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1" if setting == "BIT_KERAS_OFFLINE" else "")
    assert fetch(URL) == path
    with pytest.raises(
        ConnectionError, match=rf"huggingface_hub cannot download hf://google/bit/other.npz: .*{setting}"
    ):
        fetch("hf://google/bit/other.npz")
    assert not hub.asked


def test_what_the_hub_does_not_have(hub):
    with pytest.raises(ConnectionError, match=r"huggingface_hub cannot download hf://google/bit@v1/none.npz: .*404"):
        fetch("hf://google/bit@v1/none.npz")


def test_contents_and_hashes_are_checked(hub, npz_bytes):
    with pytest.raises(CheckpointError, match="the caller asks for"):
        fetch(URL, md5="0" * 32)
    hub.files[PATH.replace("weights", "damaged")] = npz_bytes[:-100]
    with pytest.raises(CheckpointError, match="is no complete zip archive"):
        fetch(URL.replace("weights", "damaged"))


def test_a_copy_of_an_earlier_download_is_used(hub, cache, npz_bytes):
    local = cache / "huggingface.co" / PATH[1:]
    local.parent.mkdir(parents=True)
    local.write_bytes(npz_bytes)
    assert fetch(URL) == local
    assert not hub.asked


def test_mirrors_come_first(hub, cache, tmp_path, monkeypatch, npz_bytes):
    monkeypatch.setenv("BIT_KERAS_MIRROR", str(tmp_path / "mirror"))
    path = fetch(URL)  # not in the mirror
    assert path == cache / "huggingface.co" / PATH[1:]
    assert path.read_bytes() == npz_bytes
    monkeypatch.setenv("BIT_KERAS_MIRROR", "hf://google/bit@v1/folder")
    mirrored = fetch("https://storage.googleapis.com/bit_models/weights.npz")
    assert mirrored == cache / "storage.googleapis.com/bit_models/weights.npz"
    assert isinstance(mirrored, Path)
    assert {name for _, name, _ in hub.asked} == {PATH}
