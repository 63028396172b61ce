"""One file over HTTP: resumed where it broke off (RFC 9110, section 14), checked for its length, its progress shown."""

import contextlib
import dataclasses
import json
import re
import time
from pathlib import Path

from rich import progress
from rich.console import Console

from bit_keras.checkpoints.remote.contents import web_page_error
from bit_keras.system.files import write_json
from bit_keras.system.logs import logger

ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt, twice as many before each one after it

_TIMEOUT = (10, 60)  # seconds for a connection, seconds between two packets
_CHUNK = 1 << 16  # bytes; what a broken connection may lose


def receive(url: str, part: Path, token: str | None = None) -> None:
    """Completes the file `part` with the content of `url`.

    What a broken transfer left in `part` is kept and gone on with, as long as the server says that its file is the
    same (ETag or Last-Modified, kept beside the part).

    Args:
        url: an http or https address.
        part: the file; its folder is there.
        token: sent as bearer to the host of `url`, and to no host that it redirects to.

    Raises:
        ConnectionError: the file could not be had, or not all of it. The message says how much of it is there.
        CheckpointError: the server answered with a web page. `part` stays as it was.
        OSError: the disk is full or not to be written.
    """
    import requests  # a tenth of a second, for programs that download nothing too

    with requests.Session() as session, _Meter(url, part.stem) as meter:
        session.auth = _bearer(token)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                return _attempt(session, url, part, meter)
            except (requests.RequestException, _BrokenTransferError) as error:
                fault = error
                status = error.response.status_code if isinstance(error, requests.HTTPError) else 500
                if status < 500 and status not in (408, 429):  # asking again would bring the same answer
                    break
    raise ConnectionError(f"{fault}{_received(part, url)}") from fault


def discard(part: Path) -> None:
    """Deletes a part and what is known about it."""
    _record_of(part).unlink(missing_ok=True)
    part.unlink(missing_ok=True)


class _BrokenTransferError(Exception):
    """The answer is no use; another one may be."""


@dataclasses.dataclass(frozen=True)
class _Origin:
    """Which file a part belongs to, as its server described it."""

    url: str
    validator: str | None  # strong ETag, else Last-Modified; None: no way to tell whether the file changed
    length: int | None  # bytes


def _attempt(session, url: str, part: Path, meter: "_Meter") -> None:
    origin, offset = _state(part, url)
    if origin and offset == origin.length:
        return
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges shall be those of the file
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": origin.validator}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if offset and response.status_code == 416:
            discard(part)
            raise _BrokenTransferError(f"the server has no bytes from {offset:,} on")
        response.raise_for_status()
        if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
            raise web_page_error(next(response.iter_content(1024), b""))
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _BrokenTransferError(f"the server sent it compressed ({response.headers['Content-Encoding']})")
        if offset and response.status_code == 206:
            _check_range(response.headers.get("Content-Range", ""), origin, offset, part)
        elif response.status_code == 200:
            origin, offset = _Origin(url, _validator(response.headers), _length(response.headers)), 0
            _begin(part, origin)
        else:
            raise _BrokenTransferError(f"the server answered {response.status_code} in place of 200")
        meter.begin(offset, origin.length)
        with open(part, "ab") as stream:
            for chunk in response.iter_content(_CHUNK):
                stream.write(chunk)
                meter.advance(len(chunk))
    size = part.stat().st_size
    if origin.length is not None and size != origin.length:
        raise _BrokenTransferError(f"the server sent {size:,} bytes in place of {origin.length:,}")


def _begin(part: Path, origin: _Origin) -> None:
    # In this order: a process killed in between leaves no record that does not belong to the part.
    _record_of(part).unlink(missing_ok=True)
    with open(part, "wb"):
        pass
    write_json(_record_of(part), dataclasses.asdict(origin))


def _state(part: Path, url: str) -> tuple[_Origin | None, int]:
    """What is known about a part and how many of its bytes can be kept, (None, 0) if nothing can."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        origin = _Origin(**json.loads(_record_of(part).read_text()))
        size = part.stat().st_size
        if origin.url == url and origin.validator and (origin.length is None or size <= origin.length):
            return origin, size
    return None, 0


def _record_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _received(part: Path, url: str) -> str:
    origin, offset = _state(part, url)
    if not offset:
        return "; the next call starts anew" if part.exists() else ""
    of = "an unknown number of" if origin.length is None else f"{origin.length:,}"
    return f"; received {offset:,} of {of} bytes, the next call goes on from there"


def _validator(headers) -> str | None:
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")  # If-Range takes no weak ETag


def _length(headers) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _check_range(content_range: str, origin: _Origin, offset: int, part: Path) -> None:
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range)
    if not match or int(match[1]) != offset or match[2] not in ("*", str(origin.length or match[2])):
        discard(part)
        of = "" if origin.length is None else f" of {origin.length:,}"
        raise _BrokenTransferError(
            f"the server answered with range {content_range!r} in place of bytes from {offset:,} on{of}"
        )


def _bearer(token: str | None):
    # An auth object, not a header: requests would put the password of a ~/.netrc in the header's place.
    def sign(request):
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign if token else None


class _Meter:
    """In a terminal a bar with bytes, speed and time left, else one line in the log."""

    def __init__(self, url: str, name: str):
        self._url = url
        self._was_logged = False
        console = Console(stderr=True)
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(name, start=False, total=None)

    def __enter__(self) -> "_Meter":
        self._bar.start()
        return self

    def __exit__(self, *_) -> None:
        self._bar.stop()

    def begin(self, offset: int, length: int | None) -> None:
        self._bar.reset(self._task, completed=offset, total=length)
        if self._bar.disable and not self._was_logged:
            size = "of unknown size" if length is None else f"{length:,} bytes"
            logger.info("downloading %s, %s, from byte %s on", self._url, size, f"{offset:,}")
            self._was_logged = True

    def advance(self, num_bytes: int) -> None:
        self._bar.advance(self._task, num_bytes)
