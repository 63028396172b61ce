"""Downloads from local servers into a cache folder."""

import contextlib
import hashlib
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from bit_keras.checkpoints import CheckpointError, fetch, read_npz
from bit_keras.checkpoints.remote import addresses
from bit_keras.checkpoints.remote.addresses import cache_path
from bit_keras.checkpoints.remote.download import fetch_folder

PATH = "/bit_models/weights.npz"


@pytest.fixture(autouse=True)
def _cache(cache):
    pass


@pytest.fixture
def url(site, npz_bytes) -> str:
    site.files[PATH] = npz_bytes
    return site.url + PATH


@pytest.fixture
def local(url) -> Path:
    return cache_path(url)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _names(folder: Path) -> set[str]:
    """Returns all files except locks, which are kept."""
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def _put(local: Path, content: bytes):
    local.parent.mkdir(parents=True, exist_ok=True)
    local.write_bytes(content)


def test_a_file_is_downloaded_once(cache, site, url, npz_bytes):
    path = fetch(url)
    assert path == cache / site.url.removeprefix("http://").replace(":", "_") / "bit_models" / "weights.npz"
    assert path.read_bytes() == npz_bytes
    assert fetch(url) == path
    assert site.paths == [PATH]
    assert _names(cache) == {"weights.npz", "weights.npz.sha256"}


def test_the_record_is_that_of_sha256sum(url, npz_bytes):
    path = fetch(url)
    record = path.with_name("weights.npz.sha256")
    assert record.read_text() == f"{_sha256(npz_bytes)}  weights.npz\n"
    subprocess.run(["sha256sum", "--check", "--strict", record.name], cwd=path.parent, check=True, capture_output=True)


def test_files_of_one_name_are_kept_apart(site, new_site, url):
    other = new_site()
    site.files |= {"/weights.npz?file=a": b"PK", "/a/data": b"1", "/a/data?b": b"2", "/b/data": b"3"}
    other.files["/a/data"] = b"4"
    urls = [f"{site.url}/a/data", f"{site.url}/a/data?b", f"{site.url}/b/data", f"{other.url}/a/data"]
    assert [fetch(each).read_bytes() for each in urls] == [b"1", b"2", b"3", b"4"]
    assert [fetch(each).read_bytes() for each in urls] == [b"1", b"2", b"3", b"4"]
    assert len(site.asked) + len(other.asked) == 4


def test_an_address_cannot_leave_the_cache(cache, site):
    site.files["/../../../../../../weights"] = site.files["/weights"] = b"1"
    path = fetch(f"{site.url}/../../../../../../weights")
    assert path.resolve().is_relative_to(cache.resolve())


@pytest.mark.parametrize("name", ["weights.npz", "s3://bucket/w.npz", ""])
def test_what_is_no_address(name):
    with pytest.raises(ValueError, match=f"an address must begin with http://, https://.*, got {name!r}"):
        fetch(name)


def test_http_errors_leave_nothing(cache, site):
    url = f"{site.url}/nothing.npz"
    with pytest.raises(ConnectionError) as caught:
        fetch(url)
    head, answer = str(caught.value).splitlines()
    assert head == f"cannot download {url}; a copy made by hand may be put at {cache_path(url)}"
    assert answer.startswith(f"  {url}: 404 Client Error")
    assert _names(cache) == set()


def test_a_broken_download_goes_on_in_the_next_call(cache, site, url, local, npz_bytes):
    site.faults = [lambda handler: handler.answer(stop=200_000)] + [lambda handler: handler.answer(stop=0)] * 3
    with pytest.raises(ConnectionError, match=r"received [\d,]+ of [\d,]+ bytes, the next call resumes from there"):
        fetch(url)
    assert _names(cache) == {"weights.npz.part", "weights.npz.part.json"}
    kept = local.with_name("weights.npz.part").stat().st_size
    assert 100_000 < kept <= 200_000
    assert fetch(url).read_bytes() == npz_bytes
    assert site.ranges[4] == f"bytes={kept}-"
    assert _names(cache) == {"weights.npz", "weights.npz.sha256"}


def test_a_broken_download_of_a_file_that_changed_begins_anew(site, url, npz_bytes, golden_npz):
    site.faults = [lambda handler: handler.answer(stop=200_000)] + [lambda handler: handler.answer(stop=0)] * 3
    with pytest.raises(ConnectionError):
        fetch(url)
    site.files[PATH] = golden_npz.read_bytes()
    assert fetch(url).read_bytes() == golden_npz.read_bytes()
    assert site.ranges[4] is not None


def test_given_hashes(site, url, npz_bytes):
    md5 = hashlib.md5(npz_bytes).hexdigest()
    for _ in range(2):
        assert fetch(url, md5=md5, sha256=_sha256(npz_bytes)).read_bytes() == npz_bytes
        assert fetch(url, md5=md5.upper()) == fetch(url, sha256=_sha256(npz_bytes).upper())
    assert len(site.asked) == 1


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_download_with_another_hash_is_deleted(cache, site, url, npz_bytes, algorithm):
    wanted, got = hashlib.new(algorithm, b"other").hexdigest(), hashlib.new(algorithm, npz_bytes).hexdigest()
    with pytest.raises(CheckpointError, match=f"its {algorithm} is {got}, the caller asks for {wanted}"):
        fetch(url, **{algorithm: wanted})
    assert _names(cache) == set()
    assert len(site.asked) == 1


@pytest.mark.parametrize("hashes", [{"md5": "12"}, {"sha256": "0" * 63}, {"md5": "g" * 32}, {"sha256": ""}])
def test_malformed_hashes(cache, site, url, hashes):
    with pytest.raises(ValueError, match=r"must be \d+ hexadecimal digits, got '"):
        fetch(url, **hashes)
    assert not site.asked
    assert not cache.exists()


def test_a_cached_file_with_another_hash_is_refused_and_kept(cache, site, url, npz_bytes):
    path = fetch(url)
    with pytest.raises(CheckpointError, match=f"{path} is not the file that it must be: its md5 is") as caught:
        fetch(url, md5="0" * 32)
    assert f"Delete it and {path}.sha256 to download {url} anew" in str(caught.value)
    assert path.read_bytes() == npz_bytes
    assert _names(cache) == {"weights.npz", "weights.npz.sha256"}


def test_a_cached_file_that_changed_is_refused_and_kept(site, url, npz_bytes, golden_npz):
    path = fetch(url)
    path.write_bytes(golden_npz.read_bytes())
    new, old = _sha256(golden_npz.read_bytes()), _sha256(npz_bytes)
    with pytest.raises(CheckpointError, match=f"its sha256 is {new}, {path}.sha256 holds {old}"):
        fetch(url)
    assert path.read_bytes() == golden_npz.read_bytes()
    path.with_name("weights.npz.sha256").unlink()
    assert fetch(url).read_bytes() == golden_npz.read_bytes()
    assert new in path.with_name("weights.npz.sha256").read_text()
    assert len(site.asked) == 1


def test_a_download_is_held_against_a_record_that_stayed(cache, site, url, npz_bytes, golden_npz):
    path = fetch(url)
    path.unlink()
    site.files[PATH] = golden_npz.read_bytes()
    with pytest.raises(CheckpointError, match=f"{path}.sha256 holds {_sha256(npz_bytes)}"):
        fetch(url)
    assert _names(cache) == {"weights.npz.sha256"}


@pytest.mark.parametrize("text", ["", "words", "0" * 63, "\0" * 100])
def test_a_malformed_record_is_refused(url, text):
    record = fetch(url).with_name("weights.npz.sha256")
    record.write_text(text)
    with pytest.raises(CheckpointError, match="must hold a line as sha256sum writes it; delete it"):
        fetch(url)


def test_a_copy_made_by_hand_is_used_and_recorded(site, npz_bytes):
    url = f"{site.url}/nothing.npz"
    with pytest.raises(ConnectionError) as caught:
        fetch(url)
    path = Path(str(caught.value).splitlines()[0].rsplit("a copy made by hand may be put at ", 1)[1])
    path.write_bytes(npz_bytes)
    assert fetch(url) == path
    assert path.with_name("nothing.npz.sha256").read_text() == f"{_sha256(npz_bytes)}  nothing.npz\n"
    assert site.paths == ["/nothing.npz"]
    path.write_bytes(npz_bytes[:-1] + b"\1")
    with pytest.raises(CheckpointError, match="holds"):
        fetch(url)


def test_a_broken_copy_made_by_hand_is_refused_and_kept(url, local, npz_bytes):
    _put(local, npz_bytes[:-1000])
    with pytest.raises(CheckpointError, match=f"{local} is not the file .*: weights.npz is no complete zip"):
        fetch(url)
    assert _names(local.parent) == {"weights.npz"}


def test_a_cache_that_cannot_be_written_can_be_used(url, local, npz_bytes, caplog):
    _put(local, npz_bytes)
    local.with_name("weights.npz.sha256").mkdir()
    assert fetch(url) == local
    assert f"the hash of {local} is not recorded: " in caplog.text


@pytest.mark.parametrize("stop", [1000, 200_000, -1])
def test_a_file_cut_off_at_its_source_is_refused(cache, site, url, npz_bytes, stop):
    site.files[PATH] = npz_bytes[:stop]
    with pytest.raises(CheckpointError, match=r"cannot download .*\n.*weights\.npz is no complete zip archive"):
        fetch(url)
    assert _names(cache) == set()


def test_a_length_that_is_too_short_cuts_the_file_off(cache, site, url):
    site.faults = [lambda handler: handler.answer(**{"Content-Length": "1000"})]
    with pytest.raises(CheckpointError, match=r"weights\.npz is no complete zip archive"):
        fetch(url)
    assert _names(cache) == set()


def test_a_length_that_is_too_long_is_a_fault_of_the_network(cache, site, url, npz_bytes):
    site.faults = [lambda handler: handler.answer(**{"Content-Length": str(10 * len(npz_bytes))})] * 4
    with pytest.raises(ConnectionError, match="cannot download"):
        fetch(url)
    assert "weights.npz" not in _names(cache)


@pytest.mark.parametrize("content_type", ["text/html", "application/octet-stream"])
def test_a_web_page_is_refused(cache, site, url, content_type):
    page = b"<!DOCTYPE html>\n<title>Log in</title>"
    site.faults = [lambda handler: handler.send(200, page, {"Content-Type": content_type})]
    with pytest.raises(CheckpointError, match=r"a server answered with a web page(.|\n)*<title>Log in</title>"):
        fetch(url)
    assert _names(cache) == set()
    assert zipfile.is_zipfile(fetch(url))


def test_mirrors_come_first_and_the_place_is_that_of_the_original(site, url, new_site, npz_bytes, monkeypatch):
    first, second = new_site(), new_site()
    second.files["/base" + PATH] = npz_bytes
    place = cache_path(url).parent.parent.name
    second.files[f"/base/{place}{PATH}"] = npz_bytes
    monkeypatch.setenv("BIT_KERAS_MIRROR", f"{first.url}/, {second.url}/base")
    assert fetch(url) == cache_path(url)
    assert first.paths == [f"/{place}{PATH}"]
    assert second.paths == [f"/base/{place}{PATH}"]
    assert not site.asked
    assert fetch(url, sha256=_sha256(npz_bytes)) == cache_path(url)


def test_the_original_comes_last(site, url, new_site, npz_bytes, monkeypatch, tmp_path):
    page, wrong = new_site(), new_site()
    place = cache_path(url).parent.parent.name
    page.faults = [lambda handler: handler.send(200, b"<html>portal</html>", {"Content-Type": "text/html"})]
    wrong.files[f"/{place}{PATH}"] = b"no archive"
    monkeypatch.setenv("BIT_KERAS_MIRROR", f"{page.url},{wrong.url},{tmp_path / 'none'}")
    assert fetch(url).read_bytes() == npz_bytes
    assert len(page.asked) == len(wrong.asked) == len(site.asked) == 1


def test_the_error_lists_what_each_place_answered(site, url, new_site, monkeypatch, tmp_path):
    page, folder = new_site(), tmp_path / "none"
    page.faults = [lambda handler: handler.send(200, b"<html>portal</html>", {"Content-Type": "text/html"})]
    site.files.clear()
    monkeypatch.setenv("BIT_KERAS_MIRROR", f"{page.url},{folder}")
    with pytest.raises(ConnectionError) as caught:
        fetch(url)
    text = str(caught.value)
    place = cache_path(url).parent.parent.name
    assert f"\n  {page.url}/{place}{PATH}: a server answered with a web page" in text
    assert f"\n  {folder}/{place}{PATH}: no such file" in text
    assert f"\n  {url}: 404 Client Error" in text


def test_a_folder_as_mirror_of_the_official_bucket(cache, npz_bytes, monkeypatch, tmp_path):
    _put(tmp_path / "mirror" / "vtab" / "weights.npz", npz_bytes)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BIT_KERAS_MIRROR", "~/mirror")
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")  # a mirror in a folder needs no network
    path = fetch("gs://bit_models/vtab/weights.npz")
    assert path == cache / "storage.googleapis.com" / "bit_models" / "vtab" / "weights.npz"
    assert path.read_bytes() == npz_bytes
    assert _names(tmp_path / "mirror") == {"weights.npz"}
    (tmp_path / "mirror" / "vtab" / "weights.npz").unlink()
    assert fetch("https://storage.googleapis.com/bit_models/vtab/weights.npz") == path


def test_google_storage(site, url, npz_bytes, monkeypatch):
    monkeypatch.setattr(addresses, "GOOGLE_STORAGE", site.url)
    assert fetch("gs://bit_models/weights.npz").read_bytes() == npz_bytes
    assert site.paths == [PATH]


def test_tfhub_dev_is_not_asked(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("BIT_KERAS_OFFLINE", "1")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(ConnectionError, match="kaggle://google/bit/tensorFlow2/m-r50x1/1 is not in kagglehub's cache"):
        fetch("https://tfhub.dev/google/bit/m-r50x1/1")
    assert not cache.exists()


@pytest.fixture
def _without_huggingface_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


@pytest.mark.usefixtures("_without_huggingface_hub")
def test_the_hugging_face_hub(cache, site, new_site, npz_bytes, monkeypatch):
    storage = new_site()
    storage.files["/blob"] = npz_bytes
    monkeypatch.setenv("HF_ENDPOINT", site.url)
    monkeypatch.setenv("HF_TOKEN", "secret")
    site.faults = [lambda handler: handler.send(302, b"", {"Location": f"{storage.url}/blob"})]
    path = fetch("hf://google/bit@v1/weights.npz")
    assert path == cache / "huggingface.co/google/bit/resolve/v1/weights.npz"
    assert path.read_bytes() == npz_bytes
    assert site.paths == ["/google/bit/resolve/v1/weights.npz"]
    assert site.asked[0][1]["Authorization"] == "Bearer secret"
    assert storage.asked[0][1]["Authorization"] is None
    monkeypatch.delenv("HF_TOKEN")
    site.files["/google/bit/resolve/main/weights.npz"] = npz_bytes
    fetch("hf://google/bit/weights.npz")
    assert site.asked[1][1]["Authorization"] is None


@pytest.mark.usefixtures("_without_huggingface_hub")
def test_the_hub_as_mirror_gets_the_token_and_others_do_not(site, url, new_site, monkeypatch):
    hub = new_site()
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("BIT_KERAS_MIRROR", "hf://me/bit")
    fetch(url)
    assert hub.asked[0][1]["Authorization"] == "Bearer secret"
    assert site.asked[0][1]["Authorization"] is None


FILES = ["saved_model.pb", "tfhub_module.pb", "variables/variables.data-00000-of-00001", "variables/variables.index"]


def test_a_file_of_the_package(cache):
    path = fetch("package://data/digits.npz")
    assert path == Path(addresses.__file__).parents[2] / "data" / "digits.npz"
    assert fetch("package://data/digits.npz", sha256=_sha256(path.read_bytes())) == path
    with pytest.raises(CheckpointError, match=r"digits\.npz is not the file that was shipped: .*\nInstall"):
        fetch("package://data/digits.npz", sha256="0" * 64)
    with pytest.raises(ValueError, match="the package has no file"):
        fetch("package://../README.md")
    assert not _names(cache)


def test_a_folder(site, cache):
    site.files = {f"/vtab/run0.tfhub/{name}": name.encode() for name in FILES}
    for _ in range(2):
        path = fetch_folder(f"{site.url}/vtab/run0.tfhub/", FILES)
        assert path == cache_path(f"{site.url}/vtab/run0.tfhub")
        assert [(path / name).read_text() for name in FILES] == FILES
    assert len(site.asked) == 4
    with pytest.raises(ConnectionError, match=r"other\.tfhub/saved_model.pb; a copy made by hand may be put at"):
        fetch_folder(f"{site.url}/vtab/other.tfhub", FILES)


@pytest.mark.parametrize("files", [[], ["../a"], ["/etc/passwd"], ["."], ["a", "b/../../c"]])
def test_files_that_are_in_no_folder(site, files):
    with pytest.raises(ValueError, match="files must be paths below the folder, at least one, got"):
        fetch_folder(f"{site.url}/vtab/run0.tfhub", files)


def test_the_address_of_a_folder_has_no_query(site):
    with pytest.raises(ValueError, match="the address of a folder has no query"):
        fetch_folder(f"{site.url}/folder?a=b", ["a"])


@pytest.mark.parametrize("value", ["1", "true", "YES"])
def test_offline(cache, site, url, local, npz_bytes, monkeypatch, value):
    monkeypatch.setenv("BIT_KERAS_OFFLINE", value)
    monkeypatch.setenv("BIT_KERAS_MIRROR", site.url)
    with pytest.raises(ConnectionError) as caught:
        fetch(url)
    assert f"put weights.npz into the folder {local.parent}, or unset BIT_KERAS_OFFLINE" in str(caught.value)
    assert url in str(caught.value)
    assert not cache.exists()
    _put(local, npz_bytes)
    assert fetch(url) == local
    assert not site.asked


@pytest.mark.parametrize("value", ["", "0", "false", "no"])
def test_not_offline(url, monkeypatch, value):
    monkeypatch.setenv("BIT_KERAS_OFFLINE", value)
    assert fetch(url).is_file()


def test_a_cache_folder_that_cannot_be(site, url, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("BIT_KERAS_CACHE", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"Not a directory|File exists") as caught:
        fetch(url)
    assert not isinstance(caught.value, ConnectionError)
    assert not site.asked


def test_a_full_disk_leaves_no_file(url, local):
    local.parent.mkdir(parents=True)
    local.with_name("weights.npz.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(url)
    assert not isinstance(caught.value, ConnectionError)
    assert not local.exists()
    local.with_name("weights.npz.part").unlink()
    assert zipfile.is_zipfile(fetch(url))


def test_two_threads_share_one_download(site, url, npz_bytes):
    threads = [threading.Thread(target=fetch, args=(url,)) for _ in range(4)]
    site.faults = [lambda handler: (time.sleep(0.2), handler.answer())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.paths == [PATH]
    assert fetch(url).read_bytes() == npz_bytes


PROGRAM = """
import sys
from bit_keras.checkpoints import fetch
from bit_keras.system.logs import shown
with shown(is_program=True):
    print(fetch(sys.argv[1]))
"""


@pytest.fixture
def start():
    processes = []

    def run(url: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "KERAS_BACKEND": "numpy"}
        command = [sys.executable, "-c", PROGRAM, url]
        processes.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def stall(site):
    """The next answer stops in the middle; returns the events "stopped" and "continue"."""
    stopped, go_on = threading.Event(), threading.Event()

    def half_and_wait(handler):
        content = handler.site.files[handler.path]
        handler.send(200, content[:200_000], {"Content-Length": str(len(content)), "ETag": '"1"'})
        handler.wfile.flush()
        stopped.set()
        go_on.wait(60)
        with contextlib.suppress(OSError):  # the client has disconnected
            handler.wfile.write(content[200_000:])

    site.faults = [half_and_wait]
    yield stopped, go_on
    go_on.set()


def test_two_processes_share_one_download(site, url, local, start, stall, npz_bytes):
    stopped, go_on = stall
    first, second = start(url), start(url)
    assert stopped.wait(60)
    for process in (first, second):
        for line in process.stderr:
            if "waiting for another process" in line:
                go_on.set()
            if go_on.is_set() or "downloading" in line:
                break
    for process in (first, second):
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert output.strip() == str(local)
    assert site.paths == [PATH]
    assert local.read_bytes() == npz_bytes


def test_a_killed_download_goes_on_in_the_next_call(site, url, local, start, stall, npz_bytes):
    stopped, go_on = stall
    process = start(url)
    assert stopped.wait(60)
    part = local.with_name("weights.npz.part")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 100_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    go_on.set()
    kept = part.stat().st_size
    assert not local.exists()
    site.files[PATH] = npz_bytes

    def rest(handler):
        assert handler.headers["If-Range"] == '"1"'
        del handler.headers["If-Range"]
        handler.answer()

    site.faults = [rest]
    assert fetch(url).read_bytes() == npz_bytes
    assert site.ranges == [None, f"bytes={kept}-"]


def test_a_fetched_file_is_read(site, golden_npz):
    site.files["/golden.npz"] = golden_npz.read_bytes()
    arrays = read_npz(fetch(f"{site.url}/golden.npz"))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
