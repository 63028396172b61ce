"""Opens TensorFlow Datasets up to their first request, which a local proxy records and rejects.

Runs in an environment that contains only the installed package. The arguments are names of datasets. Prints a line per
dataset, and exits at the first that neither sends a request nor asks for a manual download.
"""

import http.server
import os
import sys
import tempfile
import threading

requests = []  # addresses, in order


class Refusal(http.server.BaseHTTPRequestHandler):
    """A proxy that rejects all requests."""

    def do_CONNECT(self):
        requests.append(f"https://{self.path.removesuffix(':443')}")
        self.send_error(503)

    def do_GET(self):
        requests.append(self.path)
        self.send_error(404)

    def log_message(self, *args):
        pass


def start_proxy() -> None:
    """Starts the proxy and sends all requests of this process to it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for variable in ("NO_PROXY", "no_proxy", "ALL_PROXY", "all_proxy"):
        os.environ.pop(variable, None)
    for variable in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        os.environ[variable] = f"http://127.0.0.1:{server.server_port}"


def outcome(name: str) -> str:
    """Returns how far a dataset was opened; exits if it sent no request."""
    from bit_keras import data

    with tempfile.TemporaryDirectory() as folder:
        try:
            data.load(name, data_dir=folder, manual_dir=f"{folder}/manual")
        except data.DataError as error:
            message = str(error)
        else:
            sys.exit(f"{name}: prepared without a request")
    if f" must be downloaded by hand, to the folder {folder}/manual" in message:
        return "asks for a download by hand"
    # In the message, because the previous dataset may still repeat requests in the background.
    refused = next((address for address in requests if address in message), None)
    if refused is None:
        sys.exit(f"{name}: {message}")
    return f"reached {refused}"


def main(names: list[str]) -> None:
    if not names:
        sys.exit("usage: python tfds_names.py NAME...")
    start_proxy()
    for name in names:
        print(f"{name}: {outcome(name)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
