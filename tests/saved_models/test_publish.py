"""The program publishes to stand-ins for Kaggle and the Hugging Face hub, through the packages of the hubs.

KAGGLE_API_ENVIRONMENT=LOCALHOST sends the requests of kagglehub to http://localhost, and http_proxy to the stand-in.
HF_ENDPOINT is the address of the other; HF_HUB_DISABLE_XET disables a protocol that only the real servers support.
"""

import base64
import hashlib
import http.server
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bit_keras.saved_models import publish as library
from bit_keras.saved_models.publish import Upload, list_uploads, publish

ROOT = Path(library.__file__).parents[2]
KAGGLE = "me/bit/tensorFlow2/m-r50x1"
FILES = {
    "assets/class_names.txt": b"cat\ndog\n",
    "saved_model.pb": b"graph",
    "variables/variables.data-00000-of-00001": bytes(range(256)),
    "variables/variables.index": b"index",
}


@pytest.fixture
def directory(tmp_path) -> Path:
    return write(tmp_path / "model", FILES)


def write(directory: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds with JSON; `asked` collects (method, path), and `blobs` the uploaded contents."""

    asked: list[tuple[str, str]]
    blobs: dict[str, bytes]

    def read(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def do_PUT(self):
        name = self.path.rpartition("/")[2]
        self.blobs[name] = self.read()
        self.asked.append(("PUT", name))
        self.answer({})

    def answer(self, content: dict | list, status: int = 200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Kaggle(Handler):
    """`version` is the last version of the variation, 0 if it does not exist."""

    version = 0
    is_broken = False
    text = ""  # of the pages that somebody wrote there
    requests: dict[str, dict]

    @property
    def _was_created(self) -> bool:
        return "CreateModelInstance" in self.requests

    def do_POST(self):
        method, request = self.path.rpartition("/")[2], json.loads(self.read())
        self.asked.append(("POST", method))
        self.requests[method] = request
        if self.headers["Authorization"] != "Bearer secret":
            self.answer({"message": "who are you?"}, 401)
        elif method == "GetModelInstance" and self.is_broken:
            self.answer({"message": "out of order"}, 500)
        elif method in ("GetModel", "GetModelInstance") and not self.version and not self._was_created:
            self.answer({"message": "none"}, 404)
        elif method == "GetModelInstance":
            self.answer({"versionNumber": self.version, "overview": self.text, "usage": self.text})
        elif method == "GetModel":
            self.answer({"slug": "bit", "description": self.text})
        elif method == "StartBlobUpload":
            self.answer(
                {"token": f"token of {request['name']}", "createUrl": f"http://localhost/put/{request['name']}"}
            )
        elif method == "CreateModelInstance" and self.version:
            self.answer({"error": "exists", "errorCode": 409})
        else:
            self.answer({})


class HuggingFace(Handler):
    """A repository with `files` and `tags`. Large files have a separate protocol."""

    files: dict[str, bytes]
    tags: list[str]
    url = ""

    def do_GET(self):
        self.asked.append(("GET", self.path))
        if self.path.endswith("/refs"):
            refs = [{"name": tag, "ref": f"refs/tags/{tag}", "targetCommit": "0"} for tag in self.tags]
            self.answer({"branches": [], "converts": [], "tags": refs})
        elif "/tree/main" in self.path:
            rows = [{"type": "file", "path": name, "size": len(c), "oid": "0"} for name, c in self.files.items()]
            self.answer(rows)
        else:
            self.answer({}, 404)

    def do_POST(self):
        body = self.read()
        method = self.path.removeprefix("/api/models/me/bit")
        self.asked.append(("POST", method))
        if self.headers["Authorization"] != "Bearer secret":
            self.answer({"error": "who are you?"}, 401)
        elif method == "/api/repos/create":
            self.answer({"url": f"{self.url}/me/bit"}, 409 if self.tags else 200)
        elif method == "/api/validate-yaml":
            self.answer({"errors": [], "warnings": []})
        elif method == "/preupload/main":
            rows = json.loads(body)["files"]
            modes = {row["path"]: "lfs" if row["size"] > 100 else "regular" for row in rows}
            self.answer(
                {"files": [{"path": path, "uploadMode": m, "shouldIgnore": False} for path, m in modes.items()]}
            )
        elif method == "/me/bit.git/info/lfs/objects/batch":
            objects = json.loads(body)["objects"]
            actions = [{**row, "actions": {"upload": {"href": f"{self.url}/put/{row['oid']}"}}} for row in objects]
            self.answer({"transfer": "basic", "objects": actions})
        elif method == "/commit/main":
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    self.files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    self.files[value["path"]] = self.blobs[value["oid"]]
                elif line["key"] == "deletedFile":
                    del self.files[value["path"]]
            self.answer({"commitUrl": f"{self.url}/me/bit/commit/c0ffee", "commitOid": "c0ffee"})
        elif method == "/tag/c0ffee":
            self.tags.append(json.loads(body)["tag"])
            self.answer({})
        else:
            self.answer({}, 404)


@pytest.fixture
def kaggle(serve) -> tuple[type[Kaggle], dict[str, str]]:
    """The stand-in, and the environment variables that lead to it."""
    handler = type("KaggleHandler", (Kaggle,), {"asked": [], "blobs": {}, "requests": {}})
    url = serve(handler)
    return handler, {"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "http_proxy": url, "KAGGLE_API_TOKEN": "secret"}


@pytest.fixture
def huggingface(serve) -> tuple[type[HuggingFace], dict[str, str]]:
    handler = type("HuggingFaceHandler", (HuggingFace,), {"asked": [], "blobs": {}, "files": {}, "tags": []})
    handler.url = serve(handler)
    return handler, {"HF_ENDPOINT": handler.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "secret"}


@pytest.fixture
def run(run_program, tmp_path) -> Callable[..., subprocess.CompletedProcess]:
    """Function that runs the program without credentials and proxies, except those in its first argument."""
    own = ("KAGGLE", "HF_", "HUGGING", "COLAB")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(own) and not name.lower().endswith("_proxy")
    }

    def run(environment: dict[str, str], *arguments) -> subprocess.CompletedProcess:
        environment = {**kept, "HOME": str(tmp_path), **environment}
        return run_program("export.publish", *arguments, environment=environment)

    return run


def settings(directory: Path, to: str, version: int = 1, *more: str) -> list[str]:
    handle = {"kaggle": KAGGLE, "huggingface": "me/bit"}[to]
    licence = ["--licence=Apache-2.0"] if "--nodry_run" in more else []
    return [f"--directory={directory}", f"--to={to}", f"--handle={handle}", f"--version={version}", *licence, *more]


def test_list(directory):
    uploads = list_uploads(directory)
    assert uploads == [Upload(name, len(c), hashlib.sha256(c).hexdigest()) for name, c in FILES.items()]


@pytest.mark.parametrize("to", ["kaggle", "huggingface"])
def test_dry_run_needs_no_network(run, directory, to):
    nowhere = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    result = run(nowhere, *settings(directory, to))
    assert result.returncode == 0, result.stderr
    files, _, texts = result.stdout.partition("\n-----")
    rows, last = files.splitlines(), result.stdout.splitlines()[-1]
    shown = {"kaggle": ["model-metadata.json", "model-instance-metadata.json"], "huggingface": ["README.md"]}[to]
    assert re.findall(r"^----- (.*) -----\n(?=[{-])", f"-----{texts}", re.MULTILINE) == shown
    assert "an upload needs --licence" in result.stderr
    assert rows[1] == f"{hashlib.sha256(b'graph').hexdigest()}              5  saved_model.pb"
    assert len(rows) == 4
    handle = {"kaggle": f"{KAGGLE}/1", "huggingface": "me/bit@v1"}[to]
    assert last == f"dry run: --nodry_run uploads 4 files, 274 bytes to {to} as {handle}"


def test_kaggle_takes_a_first_version(run, kaggle, directory):
    handler, environment = kaggle
    result = run(environment, *settings(directory, "kaggle", 1, "--nodry_run"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"kaggle has {KAGGLE}/1: 4 files, 274 bytes"
    assert handler.blobs == {Path(name).name: content for name, content in FILES.items()}
    methods = [name for method, name in handler.asked if method == "POST"]
    assert methods[:3] == ["GetModelInstance", "GetModel", "CreateModel"]
    sent = [*["StartBlobUpload"] * 4, "CreateModelInstance"]
    assert methods[3:] == [*sent, "GetModel", "UpdateModel", "GetModelInstance", "UpdateModelInstance"]
    update = handler.requests["UpdateModelInstance"]
    assert update["updateMask"] == "overview,usage,fineTunable,trainingData"
    assert "tells 2 classes apart" in update["overview"]  # by assets/class_names.txt
    assert handler.requests["UpdateModel"]["updateMask"] == "subtitle,description,provenanceSources"
    assert handler.requests["CreateModel"]["isPrivate"]
    body = handler.requests["CreateModelInstance"]["body"]
    assert (body["instanceSlug"], body["licenseName"]) == ("m-r50x1", "Apache 2.0")
    assert [row["token"] for row in body["files"]] == ["token of saved_model.pb"]
    folders = {row["name"]: sorted(file["token"] for file in row["files"]) for row in body["directories"]}
    assert folders == {
        "assets": ["token of class_names.txt"],
        "variables": ["token of variables.data-00000-of-00001", "token of variables.index"],
    }


def test_kaggle_takes_the_next_version_only(run, kaggle, directory):
    handler, environment = kaggle
    handler.version = 2
    for version, message in (
        (2, f"{KAGGLE} has version 2; the next one is 3"),
        (4, f"version of {KAGGLE} is 3, got 4"),
    ):
        result = run(environment, *settings(directory, "kaggle", version, "--nodry_run"))
        assert result.returncode == 1
        assert message in result.stderr
    assert handler.asked == [("POST", "GetModelInstance")] * 2
    result = run(environment, *settings(directory, "kaggle", 3, "--nodry_run"))
    assert result.returncode == 0, result.stderr
    assert "CreateModelInstanceVersion" in handler.requests
    assert handler.requests["CreateModelInstanceVersion"]["body"]["versionNotes"] == "Version 3"


def test_kaggle_keeps_the_texts_that_it_has(run, kaggle, directory):
    handler, environment = kaggle
    handler.version, handler.text = 1, "Written by hand."
    result = run(environment, *settings(directory, "kaggle", 2, "--nodry_run"))
    assert result.returncode == 0, result.stderr
    kept = "kaggle has model-metadata.json, model-instance-metadata.json of its own, which --replace_card replaces"
    assert result.stdout.splitlines()[-2] == kept
    assert not {"UpdateModel", "UpdateModelInstance"} & handler.requests.keys()
    result = run(environment, *settings(directory, "kaggle", 2, "--nodry_run", "--replace_card"))
    assert result.returncode == 0, result.stderr
    assert "of its own" not in result.stdout
    assert {"UpdateModel", "UpdateModelInstance"} <= handler.requests.keys()


def test_an_upload_needs_a_licence(run, kaggle, directory):
    handler, environment = kaggle
    handle = [f"--directory={directory}", "--to=kaggle", f"--handle={KAGGLE}", "--version=1"]
    result = run(environment, *handle, "--nodry_run")
    assert result.returncode == 1
    assert "the licence of the weights is not known: their card states none. --licence" in result.stderr
    result = run(environment, *handle, "--nodry_run", "--licence=secret")
    assert result.returncode == 1
    assert "the licence must be one that Kaggle has, Apache-2.0," in result.stderr
    assert not handler.asked


def test_kaggle_out_of_order(run, kaggle, directory):
    handler, environment = kaggle
    handler.is_broken = True
    result = run(environment, *settings(directory, "kaggle", 1, "--nodry_run"))
    assert result.returncode == 1
    assert f"Kaggle does not accept {KAGGLE}: 500" in result.stderr
    assert {method for _, method in handler.asked} == {"GetModelInstance"}


def test_huggingface_takes_versions(run, huggingface, directory):
    handler, environment = huggingface
    handler.files |= {".gitattributes": b"", "README.md": b"# Card\n"}
    result = first = run(environment, *settings(directory, "huggingface", 1, "--nodry_run"))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "huggingface has me/bit@v1: 4 files, 274 bytes"
    assert handler.files == {**FILES, ".gitattributes": b"", "README.md": b"# Card\n"}
    assert handler.tags == ["v1"]

    asked = len(handler.asked)
    for version, message in ((1, "me/bit has version 1; the next one is 2"), (3, "version of me/bit is 2, got 3")):
        result = run(environment, *settings(directory, "huggingface", version, "--nodry_run"))
        assert result.returncode == 1
        assert message in result.stderr
    assert not {"/preupload/main", "/commit/main"} & {path for _, path in handler.asked[asked:]}

    assert "huggingface has README.md of its own, which --replace_card replaces" in first.stdout
    (directory / "assets" / "class_names.txt").unlink()
    (directory / "saved_model.pb").write_bytes(b"another graph")
    result = run(environment, *settings(directory, "huggingface", 2, "--nodry_run", "--replace_card"))
    assert result.returncode == 0, result.stderr
    assert handler.files["README.md"].startswith(b'---\nlicense: "apache-2.0"\n')
    assert handler.files.keys() == {*FILES, ".gitattributes", "README.md"} - {"assets/class_names.txt"}
    assert handler.files["saved_model.pb"] == b"another graph"
    assert handler.tags == ["v1", "v2"]


@pytest.mark.parametrize(
    ("to", "name", "message"),
    [
        ("kaggle", "KAGGLE_API_TOKEN", "Kaggle needs credentials: set KAGGLE_API_TOKEN, or"),
        ("huggingface", "HF_TOKEN", "Hugging Face needs credentials: set HF_TOKEN or run"),
    ],
)
def test_credentials_are_needed(run, request, directory, to, name, message):
    handler, environment = request.getfixturevalue(to)
    environment = {key: value for key, value in environment.items() if key != name}
    result = run(environment, *settings(directory, to, 1, "--nodry_run"))
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not handler.asked

    result = run({**environment, name: "wrong"}, *settings(directory, to, 1, "--nodry_run"))
    assert result.returncode == 1
    assert "does not accept me/bit" in result.stderr
    assert "401" in result.stderr
    assert "Traceback" not in result.stderr
    assert not handler.blobs


@pytest.mark.parametrize(
    ("to", "package", "message"),
    [("kaggle", "kagglehub", r"bit-keras\[kaggle\]"), ("huggingface", "huggingface_hub", r"bit-keras\[huggingface\]")],
)
def test_without_the_package(directory, monkeypatch, to, package, message):
    monkeypatch.setitem(sys.modules, package, None)
    handle = {"kaggle": KAGGLE, "huggingface": "me/bit"}[to]
    assert len(publish(directory, to, handle, 1).uploads) == 4
    with pytest.raises(ImportError, match=message):
        publish(directory, to, handle, 1, dry_run=False, licence="MIT")


@pytest.mark.parametrize("names", [["1/saved_model.pb", "2/saved_model.pb"], ["model.tflite", "labels.txt"], ["a.npz"]])
def test_artefacts(tmp_path, names):
    write(tmp_path / "model", dict.fromkeys(names, b"1"))
    assert {upload.path for upload in list_uploads(tmp_path / "model")} == set(names)


@pytest.mark.parametrize("names", [[], ["README.md"], ["module/saved_model.pb"], ["saved_model.pb/1"]])
def test_other_directories_are_refused(tmp_path, names):
    write(tmp_path / "model", dict.fromkeys(names, b"1"))
    with pytest.raises(ValueError, match=r"must be a directory with saved_model.pb, .* got .*model"):
        list_uploads(tmp_path / "model")


def test_links_and_hidden_files_are_refused(directory):
    (directory / "assets" / ".hidden").touch()
    (directory / "link").symlink_to("saved_model.pb")
    with pytest.raises(ValueError, match=r"not published, got .*assets/.hidden, .*model/link"):
        list_uploads(directory)


@pytest.mark.parametrize(
    ("to", "handle", "version", "message"),
    [
        ("tfhub", "me/bit", 1, "to must be one of kaggle, huggingface, got 'tfhub'"),
        ("kaggle", "me/bit", 1, "a handle on kaggle is OWNER/MODEL/FRAMEWORK/VARIATION, got 'me/bit'"),
        ("kaggle", f"{KAGGLE}/1", 1, "a handle on kaggle is OWNER/MODEL/FRAMEWORK/VARIATION"),
        ("huggingface", "me/../bit", 1, "a handle on huggingface is OWNER/REPOSITORY"),
        ("huggingface", "me/bit", 0, "version must be 1 or more, got 0"),
    ],
)
def test_arguments_are_refused(directory, to, handle, version, message):
    with pytest.raises(ValueError, match=message):
        publish(directory, to, handle, version)


def test_kaggle_takes_fifty_files(directory):
    write(directory, {f"assets/{k}": b"" for k in range(47)})
    assert len(publish(directory, "huggingface", "me/bit", 1).uploads) == 51
    with pytest.raises(ValueError, match="Kaggle accepts at most 50 separate files, got 51"):
        publish(directory, "kaggle", KAGGLE, 1)


def test_program_that_fails(run, tmp_path):
    result = run({}, *settings(tmp_path, "kaggle"))
    assert result.returncode == 1
    assert "what is published must be a directory with saved_model.pb" in result.stderr
    assert "Traceback" not in result.stderr
