"""Classifies image files through the REST interface of TF Serving, with the standard library only.

python client_rest.py --server=http://localhost:8501 --model=bit cat.jpg dog.png
"""

import argparse
import base64
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path


def classify(server: str, model: str, images: Sequence[bytes], timeout: float = 60) -> list[dict]:
    """Classifies JPEG, PNG, GIF or BMP files, sent as one batch.

    Args:
        server: address, for example "http://localhost:8501".
        model: name of the model.
        images: contents of the files.
        timeout: seconds to wait for the response.

    Returns:
        For each file {"valid": bool, "error": str, "classes": [str], "scores": [float], "logits": [float]}.

    Raises:
        RuntimeError: the server rejects the request; the message contains its reason.
        OSError: the server does not respond.
    """
    instances = [{"image_bytes": {"b64": base64.b64encode(image).decode("ascii")}} for image in images]
    body = json.dumps({"signature_name": "serve_bytes", "instances": instances}).encode()
    address = f"{server.rstrip('/')}/v1/models/{model}:predict"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        with error:
            reason = error.read().decode(errors="replace")
        raise RuntimeError(f"{address} answered {error.code}: {reason}") from None


def main() -> int:
    parser = argparse.ArgumentParser(description="Classifies image files through TF Serving's REST interface.")
    parser.add_argument("--server", default="http://localhost:8501")
    parser.add_argument("--model", default="bit")
    parser.add_argument("images", nargs="+", type=Path)
    arguments = parser.parse_args()
    answers = classify(arguments.server, arguments.model, [path.read_bytes() for path in arguments.images])
    for path, answer in zip(arguments.images, answers):
        best = ", ".join(f"{name} {score:.4f}" for name, score in zip(answer["classes"], answer["scores"]))
        print(f"{path}: {best if answer['valid'] else answer['error']}")
    return 0 if all(answer["valid"] for answer in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
