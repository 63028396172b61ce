"""A stand-in for TF Serving's server, which is a program in C++ and is not run here.

It serves the models of a models.config over gRPC and REST, in the process of the test. Requests and responses are the
messages of the package tensorflow-serving-api and the JSON of TF Serving's documentation ("RESTful API"), so that
clients of the real server can be tested. It has no batching, serves the newest version only, and supports the JSON
format of float and string tensors only. Signatures are run by `tf.saved_model.load`;
`tests/consumers/serving_client.c` loads them as the server does.
"""

import base64
import concurrent.futures
import contextlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format, text_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig


class RequestError(Exception):
    """A request that the server rejects, with a status."""

    def __init__(self, status: grpc.StatusCode, message: str):
        super().__init__(message)
        self.status = status


class Models:
    """The models of a directory, for a server that mounts it at /models."""

    def __init__(self, directory: Path):
        config = text_format.Parse((directory / "models.config").read_text(), ModelServerConfig())
        self._loaded = {}
        for model in config.model_config_list.config:
            folder = directory / Path(model.base_path).relative_to("/models")
            version = max(int(child.name) for child in folder.iterdir() if child.name.isdecimal())
            self._loaded[model.name] = (version, tf.saved_model.load(str(folder / str(version))))

    def _find(self, spec):
        version, loaded = self._loaded.get(spec.name, (None, None))
        if loaded is None or spec.version.value not in (0, version):
            raise RequestError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {spec.name}")
        return version, loaded

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        version, loaded = self._find(request.model_spec)
        name = request.model_spec.signature_name or "serving_default"
        if name not in loaded.signatures:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, f"Serving signature name: {name!r} not found")
        signature = loaded.signatures[name]
        arguments = signature.structured_input_signature[1]
        if set(request.inputs) != set(arguments):
            message = f"input must be {sorted(arguments)}, got {sorted(request.inputs)}"
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)
        try:
            outputs = signature(**{key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = name
        for key in request.output_filter or outputs:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key].numpy()))
        return response

    def status(self, request: get_model_status_pb2.GetModelStatusRequest):
        version, _ = self._find(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        response.model_version_status.add(version=version, state="AVAILABLE")
        return response

    def metadata(self, request: get_model_metadata_pb2.GetModelMetadataRequest):
        version, loaded = self._find(request.model_spec)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, signature in loaded.signatures.items():
            for key, spec in signature.structured_input_signature[1].items():
                signatures.signature_def[name].inputs[key].dtype = spec.dtype.as_datatype_enum
            for key, spec in signature.structured_outputs.items():
                signatures.signature_def[name].outputs[key].dtype = spec.dtype.as_datatype_enum
        response.metadata["signature_def"].Pack(signatures)
        return response


@contextlib.contextmanager
def serve_grpc(models: Models) -> Iterator[str]:
    """Yields host and port."""

    def answer(method):
        def handle(self, request, context):
            try:
                return method(request)
            except RequestError as error:
                context.abort(error.status, str(error))

        return handle

    prediction = {"Predict": answer(models.predict), "GetModelMetadata": answer(models.metadata)}
    status = {"GetModelStatus": answer(models.status)}
    prediction_service = type("Prediction", (prediction_service_pb2_grpc.PredictionServiceServicer,), prediction)
    model_service = type("Model", (model_service_pb2_grpc.ModelServiceServicer,), status)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=[("grpc.max_receive_message_length", -1)])
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(prediction_service(), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(model_service(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()


@contextlib.contextmanager
def serve_rest(models: Models) -> Iterator[str]:
    """Yields the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(_get, models, self.path)

        def do_POST(self):
            self._answer(_post, models, self.path, self.rfile.read(int(self.headers["Content-Length"])))

        def _answer(self, answer, *arguments):
            try:
                code, content = 200, answer(*arguments)
            except RequestError as error:
                code = 404 if error.status == grpc.StatusCode.NOT_FOUND else 400
                content = {"error": str(error)}
            body = json.dumps(content, allow_nan=False).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _match(pattern: str, path: str) -> re.Match:
    match = re.fullmatch(rf"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+))?{pattern}", path)
    if match is None:
        raise RequestError(grpc.StatusCode.NOT_FOUND, f"Malformed request: {path}")
    return match


def _fill(spec, match: re.Match) -> None:
    spec.name = match["name"]
    spec.version.value = int(match["version"] or 0)


def _get(models: Models, path: str) -> dict:
    match = _match("(?P<metadata>/metadata)?", path)
    if match["metadata"]:
        request, answer = get_model_metadata_pb2.GetModelMetadataRequest(), models.metadata
    else:
        request, answer = get_model_status_pb2.GetModelStatusRequest(), models.status
    _fill(request.model_spec, match)
    return json_format.MessageToDict(answer(request), preserving_proto_field_name=True)


def _post(models: Models, path: str, body: bytes) -> dict:
    """Runs a prediction in row format ("instances") or column format ("inputs")."""
    request = predict_pb2.PredictRequest()
    _fill(request.model_spec, _match(":predict", path))
    content = json.loads(body)
    request.model_spec.signature_name = content.get("signature_name", "serving_default")
    rows = content.get("instances")
    if (rows is None) == ("inputs" not in content):
        raise RequestError(grpc.StatusCode.INVALID_ARGUMENT, 'the body must have "instances" or "inputs"')
    columns = content["inputs"] if rows is None else {key: [row[key] for row in rows] for key in rows[0]}
    for key, values in columns.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(_from_json(values)))
    outputs = {key: _to_json(key, tf.make_ndarray(value)) for key, value in models.predict(request).outputs.items()}
    if rows is None:
        return {"outputs": outputs}
    return {"predictions": [{key: values[k] for key, values in outputs.items()} for k in range(len(rows))]}


def _from_json(values):
    if isinstance(values, list) and values and isinstance(values[0], dict):
        return [base64.b64decode(value["b64"], validate=True) for value in values]
    return np.asarray(values, np.float32)


def _to_json(name: str, array: np.ndarray) -> list:
    if array.dtype != object:
        return array.tolist()
    if name.endswith("_bytes"):
        return np.vectorize(lambda value: {"b64": base64.b64encode(value).decode()})(array).tolist()
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist()
