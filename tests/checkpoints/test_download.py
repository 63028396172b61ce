"""Downloads from a local server."""

import concurrent.futures
import http.server
import threading

import pytest

from bit_keras.checkpoints import fetch
from bit_keras.checkpoints.download import is_url


class _Handler(http.server.BaseHTTPRequestHandler):
    """Answers /weights... with its own path; the other names say what goes wrong."""

    requests: list[str]  # fresh for each test
    both_are_here: threading.Barrier

    def do_GET(self):
        self.requests.append(self.path)
        if not self.path.startswith(("/weights", "/cut", "/slow", "/deep")):
            self.send_error(404)
            return
        content = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(10 * len(content) if self.path == "/cut.npz" else len(content)))
        self.end_headers()
        if self.path == "/slow.npz":
            self.wfile.write(content[:2])
            self.wfile.flush()
            self.both_are_here.wait(timeout=60)
            content = content[2:]
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def handler() -> type[_Handler]:
    return type("Handler", (_Handler,), {"requests": [], "both_are_here": threading.Barrier(2)})


@pytest.fixture
def url(serve, handler) -> str:
    return serve(handler)


def _files(folder) -> list:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_is_url():
    assert is_url("https://storage.googleapis.com/bit_models/BiT-S-R50x1.npz")
    assert is_url("HTTP://host/weights.npz")
    for name in ("weights.npz", "/tmp/weights.npz", "gs://bucket/weights.npz", "C:\\weights.npz", "BiT-S-R50x1", ""):
        assert not is_url(name)


def test_a_file_is_downloaded_once(home, url, handler):
    path = fetch(f"{url}/weights.npz")
    assert path == home / "models" / "bit_keras" / url.removeprefix("http://").replace(":", "_") / "weights.npz"
    assert path.read_text() == "/weights.npz"
    assert fetch(f"{url}/weights.npz") == path
    assert handler.requests == ["/weights.npz"]
    assert _files(home) == [path]


def test_a_copy_made_by_hand_is_used(home, url, handler):
    with pytest.raises(ConnectionError) as caught:
        fetch(f"{url}/nothing.npz")
    path = str(caught.value).rsplit("a copy may be put at ", 1)[1]
    with open(path, "w") as stream:
        stream.write("by hand")
    assert fetch(f"{url}/nothing.npz").read_text() == "by hand"
    assert handler.requests == ["/nothing.npz"]


def test_http_errors(home, url):
    with pytest.raises(
        ConnectionError, match=f"cannot download {url}/nothing.npz .*404.*; a copy may be put at {home}"
    ):
        fetch(f"{url}/nothing.npz")
    assert not _files(home)


def test_no_server(home):
    with pytest.raises(ConnectionError, match=r"refused.*; a copy may be put at"):
        fetch("http://127.0.0.1:9/weights.npz")
    assert not _files(home)


def test_a_cut_connection_leaves_nothing(home, url, handler):
    for _ in range(2):
        with pytest.raises(ConnectionError, match="a copy may be put at"):
            fetch(f"{url}/cut.npz")
        assert not _files(home)
    assert handler.requests == ["/cut.npz"] * 2


def test_files_of_one_name_are_kept_apart(home, url, serve, handler):
    urls = [f"{url}/weights.npz", f"{url}/deep/weights.npz", f"{serve(handler)}/weights.npz"]
    urls += [f"{url}/weights.npz?file=a", f"{url}/weights.npz?file=b"]
    paths = [fetch(each) for each in urls]
    assert len(set(paths)) == len(urls) == len(handler.requests)
    assert all(path.read_text() == each.split("/", 3)[3].join(["/", ""]) for path, each in zip(paths, urls))
    assert [fetch(each) for each in urls] == paths
    assert len(handler.requests) == len(urls)


def test_an_address_cannot_leave_the_cache(home, url):
    path = fetch(f"{url}/weights/../../../../../weights.npz")
    assert path.resolve().is_relative_to(home.resolve())


def test_two_downloads_of_one_file_at_a_time(home, url, handler):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        first, second = pool.map(fetch, [f"{url}/slow.npz"] * 2)
    assert first == second
    assert first.read_text() == "/slow.npz"
    assert handler.requests == ["/slow.npz"] * 2
    assert _files(home) == [first]


def test_a_relative_home(tmp_path, monkeypatch, url):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_HOME", "home")
    path = fetch(f"{url}/weights.npz")
    assert path.is_relative_to(tmp_path / "home")
    assert _files(tmp_path) == [path]


def test_the_default_home_is_that_of_keras(tmp_path, monkeypatch, url):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch(f"{url}/weights.npz").is_relative_to(tmp_path / ".keras" / "models")
