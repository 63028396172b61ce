"""Images at http:// and https:// addresses, in memory."""

import time

from bit_keras.system.version import VERSION

MAX_BYTES = 2**26  # 64 MiB: more than photographs have
_TIMEOUT = (10, 20)  # seconds for a connection, seconds between two packets
_DEADLINE = 60  # seconds for the whole image
_CHUNK = 2**16


def is_address(name: str) -> bool:
    """Tells whether the name of an image is an address that `fetch_image` takes."""
    return name.lower().startswith(("http://", "https://"))


def fetch_image(url: str) -> bytes:
    """Returns the content of an address.

    Raises:
        ValueError: it cannot be read, is a web page, has more than `MAX_BYTES` bytes, or takes too long; the message
            is the reason.
    """
    import requests  # slow, and only needed for addresses
    import urllib3

    try:
        headers = {"User-Agent": f"bit-keras/{VERSION}"}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            return _content(response)
    except requests.Timeout as error:
        raise ValueError("the server does not answer in time") from error
    except requests.exceptions.SSLError as error:
        raise ValueError("the server has no valid certificate") from error
    except requests.ConnectionError as error:
        raise ValueError("the server cannot be reached, or the connection broke") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
        raise ValueError(f"cannot be downloaded: {error}") from error


def _content(response) -> bytes:
    began, content = time.monotonic(), bytearray()
    if not response.ok:
        raise ValueError(f"the server answered {response.status_code} {response.reason}")
    if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
        raise ValueError("the address leads to a web page, not to an image")
    for chunk in response.iter_content(_CHUNK):
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"has more than {MAX_BYTES:,} bytes")
        if time.monotonic() - began > _DEADLINE:
            raise ValueError(f"takes longer than {_DEADLINE} s to download")
    return bytes(content)
