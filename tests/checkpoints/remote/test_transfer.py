"""Transfers from a faulty server."""

import contextlib
import io
import json
import resource
import shutil
import socket
import time

import pytest
from rich.console import Console

from bit_keras.checkpoints import CheckpointError
from bit_keras.checkpoints.remote import transfer
from bit_keras.checkpoints.remote.transfer import discard, receive

PATH = "/weights.bin"
CONTENT = bytes(range(256)) * 1200
HALF = len(CONTENT) // 2


@pytest.fixture
def partial(tmp_path, cache):
    return tmp_path / "weights.bin.part"


@pytest.fixture
def url(site) -> str:
    site.files[PATH] = CONTENT
    return site.url + PATH


def _half(handler):
    handler.answer(stop=HALF)


def _kept(partial) -> int:
    """Returns the bytes kept of a transfer that was interrupted in the middle; the last chunk may be lost."""
    size = partial.stat().st_size
    assert HALF - 65_536 <= size <= HALF
    return size


@pytest.fixture
def broken(site, url, partial) -> int:
    """Interrupts a transfer in the middle of the file and returns the number of bytes kept."""
    site.faults = [_half] + [lambda handler: handler.answer(stop=0)] * 3
    with pytest.raises(ConnectionError):
        receive(url, partial)
    site.asked.clear()
    return _kept(partial)


def test_a_whole_file(site, url, partial):
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert [(path, headers["Range"], headers["Accept-Encoding"]) for path, headers in site.asked] == [
        (PATH, None, "identity")
    ]
    receive(url, partial)
    assert len(site.asked) == 1, "a complete file needs no request"
    discard(partial)
    assert not list(partial.parent.iterdir())


def test_an_empty_file(site, partial):
    site.files["/empty"] = b""
    receive(f"{site.url}/empty", partial)
    assert partial.read_bytes() == b""


def test_an_interrupted_transfer_is_resumed_within_one_call(site, url, partial):
    site.faults = [_half, lambda handler: handler.answer(stop=len(CONTENT) - 10)]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges[0] is None
    first, second = (int(each.removeprefix("bytes=").removesuffix("-")) for each in site.ranges[1:])
    assert 0 < first <= HALF < second < len(CONTENT)


def test_a_call_resumes_the_transfer_of_the_previous_one(site, url, partial, broken):
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [f"bytes={broken}-"]
    assert (
        site.asked[0][1]["If-Range"] == json.loads(partial.with_name(f"{partial.name}.json").read_text())["validator"]
    )


def test_the_error_states_what_was_received(site, url, partial):
    site.faults = [_half] * 4
    with pytest.raises(ConnectionError) as caught:
        receive(url, partial)
    assert f"; received {_kept(partial):,} of {len(CONTENT):,} bytes, the next call resumes from there" in str(
        caught.value
    )
    assert len(site.asked) == transfer.ATTEMPTS


def test_attempts_wait_longer_and_longer(site, url, partial, monkeypatch):
    waits = []
    monkeypatch.setattr("bit_keras.checkpoints.remote.transfer.time.sleep", waits.append)
    monkeypatch.setattr(transfer, "BACKOFF", 0.5)
    site.faults = [lambda handler: handler.send(503, b"", {})] * 4
    with pytest.raises(ConnectionError, match=r"^503 Server Error: .*weights\.bin$"):
        receive(url, partial)
    assert waits == [0.5, 1, 2]


def test_a_silent_server_is_asked_again(site, url, partial, monkeypatch):
    monkeypatch.setattr(transfer, "_TIMEOUT", (10, 0.2))
    site.faults = [lambda handler: (handler.answer(stop=HALF), handler.wfile.flush(), time.sleep(0.5))]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges[1] is not None


def test_a_busy_server_is_asked_again(site, url, partial):
    site.faults = [lambda handler, status=status: handler.send(status, b"busy", {}) for status in (503, 429)]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final(site, url, partial, status):
    site.faults = [lambda handler: handler.send(status, b"<html>no</html>", {"Content-Type": "text/html"})]
    with pytest.raises(ConnectionError, match=f"{status} Client Error"):
        receive(url, partial)
    assert len(site.asked) == 1
    assert not partial.exists()


def test_no_server(partial):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, but no server listens
        with pytest.raises(ConnectionError, match="refused"):
            receive(f"http://127.0.0.1:{free.getsockname()[1]}/weights.bin", partial)
    assert not partial.exists()


def test_a_file_that_changed_is_restarted(site, url, partial, broken):
    site.files[PATH] = b"new" * 50_000
    receive(url, partial)
    assert partial.read_bytes() == b"new" * 50_000
    assert site.ranges == [f"bytes={broken}-"]


def test_a_server_without_ranges_restarts(site, url, partial, broken):
    def whole_file(handler):
        del handler.headers["Range"]
        handler.answer()

    site.faults = [whole_file]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "content_range",
    [
        None,
        "bytes 0-307199/307200",
        "bytes */307200",
        "words",
        "bytes {kept}-307199/400000",
        "items {kept}-307199/307200",
    ],
)
def test_a_wrong_range_restarts(site, url, partial, broken, content_range):
    wrong = content_range and content_range.format(kept=broken)
    site.faults = [lambda handler: handler.answer(**{"Content-Range": wrong})]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [f"bytes={broken}-", None]


def test_a_shorter_range_is_resumed(site, url, partial, broken):
    def first_bytes(handler):
        span = f"bytes {broken}-{broken + 999}/{len(CONTENT)}"
        etag = handler.headers["If-Range"]
        handler.send(206, CONTENT[broken:][:1000], {"Content-Range": span, "Content-Length": "1000", "ETag": etag})

    site.faults = [first_bytes]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [f"bytes={broken}-", f"bytes={broken + 1000}-"]


def test_an_unsatisfied_range_restarts(site, url, partial, broken):
    site.faults = [lambda handler: handler.send(416, b"", {"Content-Range": "bytes */10"})]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [f"bytes={broken}-", None]


def test_a_length_that_is_too_long(site, url, partial):
    site.faults = [lambda handler: handler.answer(**{"Content-Length": str(len(CONTENT) + 10)})] * 4
    with pytest.raises(ConnectionError, match=r"has no bytes from 307,200 on"):
        receive(url, partial)


def test_a_partial_file_of_more_than_its_length_restarts(site, url, partial, broken):
    span = f"bytes {broken}-{len(CONTENT) - 1}/{len(CONTENT)}"
    site.faults = [lambda handler: handler.send(206, CONTENT, {"Content-Range": span})]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [f"bytes={broken}-", None]


def test_without_a_length_the_file_ends_with_the_connection(site, url, partial):
    site.faults = [lambda handler: handler.answer(**{"Content-Length": None})]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_nothing_is_resumed(site, url, partial, etag):
    site.faults = [lambda handler: handler.answer(stop=HALF, ETag=etag)]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [None, None]


def test_a_date_is_a_validator(site, url, partial):
    date = "Mon, 02 Dec 2019 10:00:00 GMT"

    def rest(handler):
        assert handler.headers["If-Range"] == date
        del handler.headers["If-Range"]
        handler.answer()

    site.faults = [lambda handler: handler.answer(stop=HALF, ETag=None, **{"Last-Modified": date}), rest]
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges[1] is not None


def test_the_partial_file_of_another_address_is_not_gone_on_with(site, url, partial, broken, new_site):
    other = new_site()
    other.files[PATH] = CONTENT
    receive(other.url + PATH, partial)
    assert partial.read_bytes() == CONTENT
    assert other.ranges == [None]


@pytest.mark.parametrize("record", [b"", b"[1]", b'{"url": 1}', b"\xff", None])
def test_a_partial_file_without_a_good_record_is_restarted(site, url, partial, broken, record):
    path = partial.with_name(f"{partial.name}.json")
    path.unlink() if record is None else path.write_bytes(record)
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [None]


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "TEXT/HTML", "application/xhtml+xml"])
def test_a_web_page_is_refused_and_the_partial_file_kept(site, url, partial, broken, content_type):
    page = b"<body>\n  Please log in\n</body>" + b" " * 5000
    site.faults = [lambda handler: handler.send(200, page, {"Content-Type": content_type})]
    with pytest.raises(CheckpointError, match=r"a server answered with a web page(.|\n)*Please log in"):
        receive(url, partial)
    assert _kept(partial) == broken
    receive(url, partial)
    assert partial.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (204, {}, "the server answered 204 in place of 200"),
        (206, {"Content-Range": "bytes 0-9/10"}, "the server answered 206 in place of 200"),
        (200, {"Content-Encoding": "gzip"}, r"the server sent it compressed \(gzip\)"),
    ],
)
def test_other_answers_are_refused(site, url, partial, status, headers, message):
    site.faults = [lambda handler: handler.send(status, b"", headers)] * 4
    with pytest.raises(ConnectionError, match=message):
        receive(url, partial)
    assert not partial.exists()


def test_the_token_goes_to_its_host_only(site, url, partial, new_site):
    other = new_site()
    other.files[PATH] = CONTENT
    for target in (other.url, other.url.replace("127.0.0.1", "localhost")):
        site.faults = [
            lambda handler: handler.send(302, b"", {"Location": "/here"}),
            lambda handler, target=target: handler.send(302, b"", {"Location": target + PATH}),
        ]
        receive(url, partial, token="secret")
        discard(partial)
    assert [headers["Authorization"] for _, headers in site.asked] == ["Bearer secret"] * 4
    assert other.paths == [PATH] * 2
    assert [headers["Authorization"] for _, headers in other.asked] == [None] * 2


def test_the_token_has_precedence_over_netrc(site, url, partial, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    receive(url, partial, token="secret")
    assert site.asked[0][1]["Authorization"] == "Bearer secret"


def test_a_full_disk(url, partial, monkeypatch):
    partial.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        receive(url, partial)
    assert not isinstance(caught.value, ConnectionError)


def test_what_fits_on_the_disk_is_kept(site, url, partial):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            receive(url, partial)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not isinstance(caught.value, ConnectionError)
    kept = _kept(partial)
    receive(url, partial)
    assert partial.read_bytes() == CONTENT
    assert site.ranges == [None, f"bytes={kept}-"]


def test_an_error_without_a_validator_states_that_nothing_is_resumed(site, url, partial):
    site.faults = [lambda handler: handler.answer(stop=HALF, ETag=None)] * 4
    with pytest.raises(ConnectionError, match="; the next call starts anew"):
        receive(url, partial)


def test_without_a_terminal_a_transfer_is_one_log_line(site, url, partial, caplog):
    site.faults = [_half]
    with caplog.at_level("INFO", "bit_keras"):
        receive(url, partial)
    assert caplog.messages == [f"downloading {url}, 307,200 bytes, from byte 0 on"]


def test_a_terminal_shows_bytes_speed_and_time_left(url, partial, caplog, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(transfer, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    with caplog.at_level("INFO", "bit_keras"):
        receive(url, partial)
    assert caplog.messages == []
    text = screen.getvalue()
    assert "weights.bin" in text
    assert "307.2/307.2 kB" in text
    assert "B/s" in text
    assert "0:00:00" in text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1, "the cursor must come back"


def _endless(handler):
    """Sends chunks without end and without length."""
    handler.send(200, b"", {"Content-Length": None})
    try:
        while True:
            handler.wfile.write(CONTENT)
    except OSError:  # the client has gone
        handler.close_connection = True


def test_a_file_without_end_is_larger_than_any(site, url, partial, monkeypatch):
    monkeypatch.setattr(transfer, "LARGEST_BYTES", 1_000_000)
    site.faults = [_endless] * 4
    with pytest.raises(ConnectionError, match="the server sent over 1,000,000 bytes, the most that are expected"):
        receive(url, partial)
    assert not list(partial.parent.iterdir())


def _free(monkeypatch, size: int) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage._replace(free=size))


def test_a_file_without_end_leaves_room_on_the_disk(site, url, partial, monkeypatch):
    _free(monkeypatch, 1_000_000)
    site.faults = [_endless]
    with pytest.raises(OSError, match=r"weights\.bin cannot be stored: over 900,000 bytes came.*\.part'") as caught:
        receive(url, partial)
    assert caught.value.errno == 28
    assert not list(partial.parent.iterdir())
    assert len(site.asked) == 1


def test_a_file_larger_than_the_disk_is_not_begun(site, url, partial, monkeypatch):
    _free(monkeypatch, 300_000)
    message = r"weights\.bin cannot be stored: 307,200 bytes are to come, 300,000 are free.*\.part'"
    with pytest.raises(OSError, match=message):
        receive(url, partial)
    assert partial.stat().st_size == 0


def _drip(handler):
    handler.send(200, b"", {"Content-Length": str(len(CONTENT)), "ETag": '"x"'})
    with contextlib.suppress(OSError):
        for k in range(200):
            handler.wfile.write(CONTENT[k : k + 1])
            handler.wfile.flush()
            time.sleep(0.02)


def test_a_byte_now_and_then(site, url, partial, monkeypatch):
    monkeypatch.setattr(transfer, "_SLOWEST", (0.2, 1000))
    site.faults = [_drip] * 4
    begun = time.monotonic()
    with pytest.raises(ConnectionError, match=r"the server sent no more than \d+ bytes in 0\.2 seconds; received"):
        receive(url, partial)
    assert time.monotonic() - begun < 8  # 4 attempts of 200 bytes would take 16 seconds


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "\u0663"])
def test_a_length_that_is_none(length):
    assert transfer._length({"Content-Length": length}) is None
