"""Downloads a file over HTTP: resumes transfers (RFC 9110, section 14), checks the length, shows progress."""

import contextlib
import dataclasses
import errno
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from rich import progress
from rich.console import Console

from bit_keras.checkpoints.checks import LARGEST_BYTES
from bit_keras.checkpoints.remote.contents import web_page_error
from bit_keras.system.files import write_json
from bit_keras.system.logs import logger

ATTEMPTS = 4
BACKOFF = 1.0  # seconds before the second attempt, doubled before each further one

_TIMEOUT = (10, 60)  # seconds for a connection, seconds between two packets
_CHUNK = 1 << 16  # bytes; the most that an interruption loses
_SLOWEST = (60, 60 << 10)  # seconds, in which at least that many bytes must arrive
_DISK_SHARE = 0.9  # of the free disk, for a file of unknown length


def receive(url: str, partial: Path, token: str | None = None) -> None:
    """Downloads the content of `url` to the file `partial`.

    An interrupted transfer is resumed from the bytes in `partial` if the server's file is unchanged according to its
    ETag or Last-Modified, which are stored next to `partial`.

    Args:
        url: an http or https address.
        partial: the file; its folder must exist.
        token: sent as bearer token to the host of `url`, but not to hosts that it redirects to.

    Raises:
        ConnectionError: the file could not be downloaded completely. The message states how much was received.
        CheckpointError: the server answered with a web page. `partial` is unchanged.
        OSError: the disk is full or would be, or the file cannot be written. The message has the address and the file.
    """
    import requests  # takes 0.1 s, which programs without downloads save
    import urllib3

    with requests.Session() as session, _Meter(url, partial.stem) as meter:
        session.auth = _bearer(token)
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(BACKOFF * 2 ** (attempt - 1))
            try:
                return _attempt(session, url, partial, meter)
            except (requests.RequestException, urllib3.exceptions.HTTPError, _BrokenTransferError) as error:
                fault = error
                status = error.response.status_code if isinstance(error, requests.HTTPError) else 500
                if status < 500 and status not in (408, 429):  # another attempt would get the same answer
                    break
    message = f"{fault}{_received(partial, url)}"
    if not _state(partial, url)[1]:
        discard(partial)  # it cannot be resumed
    raise ConnectionError(message) from fault


def discard(partial: Path) -> None:
    """Deletes a partial file and its record."""
    _record_of(partial).unlink(missing_ok=True)
    partial.unlink(missing_ok=True)


class _BrokenTransferError(Exception):
    """The attempt failed, but another one may succeed."""


@dataclasses.dataclass(frozen=True)
class _Origin:
    """The remote file that a partial file belongs to, as described by the server."""

    url: str
    validator: str | None  # strong ETag, else Last-Modified; None: changes of the file cannot be detected
    length: int | None  # bytes


def _attempt(session, url: str, partial: Path, meter: "_Meter") -> None:
    origin, offset = _state(partial, url)
    if origin and offset == origin.length:
        return
    headers = {"Accept-Encoding": "identity"}  # lengths and ranges must refer to the file itself
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": origin.validator}
    with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
        if offset and response.status_code == 416:
            discard(partial)
            raise _BrokenTransferError(f"the server has no bytes from {offset:,} on")
        response.raise_for_status()
        if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
            raise web_page_error(response.raw.read1(1024, decode_content=True))
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _BrokenTransferError(f"the server sent it compressed ({response.headers['Content-Encoding']})")
        if offset and response.status_code == 206:
            _check_range(response.headers.get("Content-Range", ""), origin, offset, partial)
        elif response.status_code == 200:
            origin, offset = _Origin(url, _validator(response.headers), _length(response.headers)), 0
            _begin(partial, origin)
        else:
            raise _BrokenTransferError(f"the server answered {response.status_code} in place of 200")
        meter.begin(offset, origin.length)
        _store(response.raw, partial, origin, offset, meter)
    size = partial.stat().st_size
    if origin.length is not None and size != origin.length:
        raise _BrokenTransferError(f"the server sent {size:,} bytes in place of {origin.length:,}")


def _store(response, partial: Path, origin: _Origin, offset: int, meter: "_Meter") -> None:
    """Appends the content of a response to a partial file."""
    free = shutil.disk_usage(partial.parent).free
    if origin.length is not None and origin.length - offset > free:
        raise _disk_error(origin.url, partial, f"{origin.length - offset:,} bytes are to come, {free:,} are free")
    most = min(LARGEST_BYTES, int(_DISK_SHARE * free)) if origin.length is None else origin.length
    try:
        with open(partial, "ab") as stream:
            for chunk in _arriving(response):
                offset += len(chunk)
                if offset > most:
                    break
                stream.write(chunk)
                meter.advance(len(chunk))
    except OSError as error:
        if not origin.validator:
            discard(partial)  # it could not be resumed
        raise _disk_error(origin.url, partial, error.strerror, error.errno) from error
    if offset > most:
        discard(partial)
        if origin.length is None and most < LARGEST_BYTES:
            raise _disk_error(origin.url, partial, f"over {most:,} bytes came, of an unknown number; {free:,} are free")
        raise _BrokenTransferError(f"the server sent over {most:,} bytes, the most that are expected")


def _arriving(response) -> Iterator[bytes]:
    """Yields the content of a response as it arrives. To wait for whole chunks, as requests does, may take for ever."""
    seconds, least = _SLOWEST
    begun, count = time.monotonic(), 0
    while chunk := response.read1(_CHUNK, decode_content=False):
        yield chunk
        count += len(chunk)
        if time.monotonic() - begun > seconds:
            if count < least:
                raise _BrokenTransferError(f"the server sent no more than {count:,} bytes in {seconds} seconds")
            begun, count = time.monotonic(), 0


def _disk_error(url: str, partial: Path, reason: str, code: int = errno.ENOSPC) -> OSError:
    return OSError(code, f"{url} cannot be stored: {reason}", str(partial))


def _begin(partial: Path, origin: _Origin) -> None:
    # In this order, a process killed in between never leaves a record that belongs to other content.
    _record_of(partial).unlink(missing_ok=True)
    with open(partial, "wb"):
        pass
    write_json(_record_of(partial), dataclasses.asdict(origin))


def _state(partial: Path, url: str) -> tuple[_Origin | None, int]:
    """Returns the origin of a partial file and its length in bytes, (None, 0) if it cannot be resumed."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        origin = _Origin(**json.loads(_record_of(partial).read_text()))
        size = partial.stat().st_size
        if origin.url == url and origin.validator and (origin.length is None or size <= origin.length):
            return origin, size
    return None, 0


def _record_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.json")


def _received(partial: Path, url: str) -> str:
    origin, offset = _state(partial, url)
    if not offset:
        return "; the next call starts anew" if partial.exists() else ""
    of = "an unknown number of" if origin.length is None else f"{origin.length:,}"
    return f"; received {offset:,} of {of} bytes, the next call resumes from there"


def _validator(headers) -> str | None:
    etag = headers.get("ETag", "")
    return etag if etag.startswith('"') else headers.get("Last-Modified")  # If-Range does not allow weak ETags


def _length(headers) -> int | None:
    length = headers.get("Content-Length", "")
    return int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None


def _check_range(content_range: str, origin: _Origin, offset: int, partial: Path) -> None:
    match = re.fullmatch(r"bytes ([0-9]{1,18})-[0-9]+/([0-9]+|\*)", content_range)
    if not match or int(match[1]) != offset or match[2] not in ("*", str(origin.length or match[2])):
        discard(partial)
        of = "" if origin.length is None else f" of {origin.length:,}"
        raise _BrokenTransferError(
            f"the server answered with range {content_range!r} in place of bytes from {offset:,} on{of}"
        )


def _bearer(token: str | None):
    # An auth object, because requests would replace a header by the password of a ~/.netrc.
    def sign(request):
        request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign if token else None


class _Meter:
    """Shows a progress bar in a terminal, and else logs one line."""

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
