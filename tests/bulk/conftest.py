"""Images, weights and a bucket for the tests of jobs."""

import http.server
import json
import re
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

import bit_keras
from bit_keras.checkpoints.card import Card

NAMES = tuple(f"digit {k}" for k in range(10))


@pytest.fixture(scope="session")
def weights(golden_npz, tmp_path_factory):
    """Weights with a card: names of ten classes, and 32 pixels."""
    network = bit_keras.BiT.from_preset(golden_npz)
    network.card = Card(class_names=NAMES, resolution=32)
    path = tmp_path_factory.mktemp("weights") / "weights.npz"
    bit_keras.save_npz(network, path)
    return path


def write_images(folder, count):
    """Writes `count` images in two folders, one file that is no image, and files that are none of a job's."""
    random = np.random.default_rng(0)
    for k in range(count):
        path = folder / "ab"[k % 2] / f"{k:04}.{'jpg' if k % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 30 + k % 5, 3), np.uint8)).save(path)
    (folder / "b" / "broken.jpg").write_bytes(b"no image")
    (folder / "b" / ".hidden.jpg").write_bytes(b"")
    (folder / "b" / "notes.txt").write_text("")
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("photos"), 12)


@pytest.fixture
def bucket(serve, monkeypatch):
    """The objects {name: content} of gs://bucket on a server of this machine; gs://secret may not be read."""
    objects = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        """As much of Google's JSON API as pyarrow calls to list, read, write, move and delete."""

        def _send(self, status, content=b"", **headers):
            self.send_response(status)
            for name, value in {"Content-Length": len(content), **headers}.items():
                self.send_header(name, str(value))
            self.end_headers()
            self.wfile.write(content)

        def _send_json(self, content):
            self._send(200, json.dumps(content).encode())

        def _describe(self, name):
            times = dict.fromkeys(("updated", "timeCreated"), "2026-01-01T00:00:00Z")
            size = str(len(objects[name]))
            return {
                "kind": "storage#object",
                "name": name,
                "bucket": "bucket",
                "size": size,
                "generation": "1",
                **times,
            }

        def _object(self):
            match = re.search(r"/b/bucket/o/([^/?]+)", self.path) or re.search(r"^/bucket/([^?]+)", self.path)
            return match and unquote(match[1])

        def do_GET(self):
            query, name = parse_qs(urlsplit(self.path).query), self._object()
            if "secret" in self.path:
                self._send(403, json.dumps({"error": {"code": 403, "message": "no access"}}).encode())
            elif name is None and "/o" in self.path:
                prefix = query.get("prefix", [""])[0]
                items = [self._describe(name) for name in sorted(objects) if name.startswith(prefix)]
                self._send_json({"kind": "storage#objects", "items": items})
            elif name is None:
                self._send_json({"kind": "storage#bucket", "name": "bucket"})
            elif name not in objects:
                self._send(404, json.dumps({"error": {"code": 404, "message": "not found"}}).encode())
            elif query.get("alt") == ["media"] or self.path.startswith("/bucket/"):
                first, _, last = (self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").partition("-")
                content = objects[name][int(first) : int(last) + 1 if last else None]
                self._send(206, content, **{"x-goog-generation": 1})
            else:
                self._send_json(self._describe(name))

        def do_POST(self):
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            query, name = parse_qs(urlsplit(self.path).query), self._object()
            if move := re.search(r"/o/([^/]+)/(?:rewriteTo|copyTo)/b/bucket/o/([^/?]+)", self.path):
                source, target = map(unquote, move.groups())
                objects[target] = objects[source]
                size = str(len(objects[source]))
                progress = {"totalBytesRewritten": size, "objectSize": size, "done": True}
                self._send_json({**progress, "resource": self._describe(target)})
            elif query.get("uploadType") == ["resumable"]:
                target = query.get("name") or [json.loads(content)["name"]]
                self._send(200, Location=f"http://{self.headers['Host']}/upload/{target[0]}")
            else:
                self._send(400, (name and name.encode()) or b"")

        def do_PUT(self):
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            name = self.path.removeprefix("/upload/")
            objects[name] = objects.get(name, b"") + content if "bytes 0-" not in self._range() else content
            if self._range().endswith("/*"):
                self._send(308, Range=f"bytes=0-{len(objects[name]) - 1}")
            else:
                self._send_json(self._describe(name))

        def _range(self):
            return self.headers.get("Content-Range", "")

        def do_DELETE(self):
            objects.pop(self._object(), None)
            self._send(204)

        def log_message(self, *args):
            pass

    monkeypatch.setenv("CLOUD_STORAGE_EMULATOR_ENDPOINT", serve(Handler))
    return objects
