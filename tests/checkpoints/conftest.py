"""A file server with injected faults, and a cache folder."""

import dataclasses
import hashlib
import http.server
import io
import re
from collections.abc import Callable
from email.message import Message
from pathlib import Path

import numpy as np
import pytest


@dataclasses.dataclass
class Site:
    """State of a server, which a test can read and change.

    Attributes:
        url: its address.
        files: {path: content}; other paths are answered with 404. The ETag is a hash of the content.
        asked: (path, headers) of each request so far.
        faults: functions that answer the next requests, in order; each is called with the handler of its request.
    """

    url: str = ""
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    asked: list[tuple[str, Message]] = dataclasses.field(default_factory=list)
    faults: list[Callable[["Handler"], None]] = dataclasses.field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]

    @property
    def ranges(self) -> list[str | None]:
        return [headers["Range"] for _, headers in self.asked]


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers GET with a whole file or, for Range and If-Range, with the rest of one."""

    site: Site

    def do_GET(self):
        self.site.asked.append((self.path, self.headers))
        if self.site.faults:
            self.site.faults.pop(0)(self)
        else:
            self.answer()

    def answer(self, stop: int | None = None, **headers: str | None):
        """Sends the correct answer, up to byte `stop` of the file; headers that are None are left out."""
        content = self.site.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        match = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(match[1]) if match and self.headers["If-Range"] in (None, etag) else 0
        if start and start >= len(content):
            self.send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        part = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self.send(
            206 if start else 200,
            content[start:stop],
            {"ETag": etag, "Content-Length": str(len(content) - start), **part, **headers},
        )

    def send(self, status: int, body: bytes, headers: dict[str, str | None]):
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def new_site(serve) -> Callable[[], Site]:
    """Returns a function that starts a server."""

    def start() -> Site:
        site = Site()
        site.url = serve(type("SiteHandler", (Handler,), {"site": site}))
        return site

    return start


@pytest.fixture
def site(new_site) -> Site:
    return new_site()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The cache folder, which does not exist yet, in an environment without other settings for downloads."""
    for name in ("BIT_KERAS_MIRROR", "BIT_KERAS_OFFLINE", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("bit_keras.checkpoints.remote.transfer.BACKOFF", 0.0)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def npz_bytes() -> bytes:
    """An npz file of 320 kB."""
    stream = io.BytesIO()
    np.savez(stream, weights=np.random.default_rng(0).normal(size=40_000))
    return stream.getvalue()
