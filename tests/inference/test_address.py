"""Images at addresses."""

import http.server
import time

import pytest

from bit_keras.inference import address
from bit_keras.inference.address import fetch_image, is_address


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/image")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8" if self.path == "/page" else "image/png")
        if self.path == "/short":
            self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            for _ in range(10 if self.path in ("/large", "/slow") else 1):
                self.wfile.write(b"x" * 100)
                self.wfile.flush()
                time.sleep(0.05 if self.path == "/slow" else 0)
            if self.path == "/silent":
                time.sleep(1)
        except OSError:
            pass  # the client has had enough

    def log_message(self, *arguments):
        pass


@pytest.fixture
def limits(monkeypatch):
    monkeypatch.setattr(address, "_TIMEOUT", (1, 0.3))
    monkeypatch.setattr(address, "_DEADLINE", 0.15)
    monkeypatch.setattr(address, "MAX_BYTES", 500)
    monkeypatch.setattr(address, "_CHUNK", 100)


@pytest.mark.parametrize("path", ["/image", "/moved"])
def test_the_content(serve, limits, path):
    assert fetch_image(serve(Server) + path) == b"x" * 100


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/missing", "the server answered 404 Not Found"),
        ("/page", "leads to a web page"),
        ("/large", "has more than 500 bytes"),
        ("/slow", r"takes longer than 0.15 s"),
        ("/silent", "connection broke|in time"),
        ("/short", "connection broke|cannot be downloaded"),
    ],
)
def test_reasons(serve, limits, path, reason):
    with pytest.raises(ValueError, match=reason):
        fetch_image(serve(Server) + path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.jpg", "http://", "http://[bad", "https://x..y/"])
def test_addresses_that_lead_nowhere(url):
    with pytest.raises(ValueError, match=r"cannot be reached|cannot be downloaded"):
        fetch_image(url)


def test_which_names_are_addresses():
    assert is_address("https://x.org/a.jpg")
    assert is_address("HTTP://x.org/a.jpg")
    assert not is_address("http.jpg")
    assert not is_address("gs://bucket/a.jpg")
