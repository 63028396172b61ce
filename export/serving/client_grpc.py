"""Classifies image files through the gRPC interface of TF Serving: pip install tensorflow-serving-api.

python client_grpc.py --server=localhost:8500 --model=bit cat.jpg dog.png
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

# gRPC's default limit is 4 MB; a batch of photographs is larger.
_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def classify(server: str, model: str, images: Sequence[bytes], timeout: float = 60) -> dict[str, np.ndarray]:
    """Classifies JPEG, PNG, GIF or BMP files, sent as one batch of N.

    Args:
        server: host and port, for example "localhost:8500".
        model: name of the model.
        images: contents of the files.
        timeout: seconds to wait for the response.

    Returns:
        {"valid": bool [N], "error": bytes [N], "classes": bytes [N, top], "scores": float32 [N, top]}.

    Raises:
        grpc.RpcError: the server does not respond, or rejects the request.
    """
    request = PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "serve_bytes"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images, tf.string, [len(images)]))
    # The logits of all classes stay on the server.
    request.output_filter.extend(["valid", "error", "classes", "scores"])
    with grpc.insecure_channel(server, _OPTIONS) as channel:
        response = PredictionServiceStub(channel).Predict(request, timeout)
    return {name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="Classifies image files through TF Serving's gRPC interface.")
    parser.add_argument("--server", default="localhost:8500")
    parser.add_argument("--model", default="bit")
    parser.add_argument("images", nargs="+", type=Path)
    arguments = parser.parse_args()
    answer = classify(arguments.server, arguments.model, [path.read_bytes() for path in arguments.images])
    for k, path in enumerate(arguments.images):
        names = (name.decode() for name in answer["classes"][k])
        best = ", ".join(f"{name} {score:.4f}" for name, score in zip(names, answer["scores"][k]))
        print(f"{path}: {best if answer['valid'][k] else answer['error'][k].decode()}")
    return 0 if answer["valid"].all() else 1


if __name__ == "__main__":
    sys.exit(main())
