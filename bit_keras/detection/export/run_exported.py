"""Program: runs an exported detector on images; imports NumPy and the runtime only, as its users do.

    python run_exported.py SAVED_MODEL|MODEL.onnx|MODEL.tflite INPUTS.npz RESULT.npz

INPUTS.npz contains "k/images" for k = 0, 1, ...: float32 [N, H, W, 3] in [0, 1]; for a SavedModel also "file k/bytes",
uint8 [B], the content of an image file, and "file k/images" [1, H, W, 3], what the network gets of it, for valid ones,
and "score", a threshold.

RESULT.npz will contain the raw outputs "k/heads/class" and "k/heads/box"; for a SavedModel also those of "file
k/images", "k/NAME" for the outputs of `serving_default`, "files/NAME" for those of `serve_bytes` for all files in one
batch, the same as "low/k/NAME" and "low/files/NAME" with the threshold of scores lowered to "score" in INPUTS.npz, and
"variable_bytes", the size of its variables.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np

Run = Callable[[np.ndarray], dict[str, np.ndarray]]


def run_saved_model(path: str, inputs: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, array) of all that RESULT.npz contains."""
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    signatures = loaded.signatures

    def heads(images: np.ndarray) -> dict[str, np.ndarray]:
        return _arrays(signatures["heads"](images=tf.constant(images)))

    yield from run_heads(heads, inputs)
    files = [inputs[f"file {k}/bytes"].tobytes() for k in range(len(inputs)) if f"file {k}/bytes" in inputs]

    def found() -> Iterator[tuple[str, np.ndarray]]:
        for prefix, images in _images(inputs):
            if not prefix.startswith("file"):
                for name, array in _arrays(signatures["serving_default"](images=tf.constant(images))).items():
                    yield f"{prefix}/{name}", array
        for name, array in _arrays(signatures["serve_bytes"](image_bytes=tf.constant(files, tf.string))).items():
            yield f"files/{name}", array

    yield from found()
    loaded.score.assign(inputs["score"])
    yield from ((f"low/{name}", array) for name, array in found())
    yield "variable_bytes", np.array(sum(np.prod(v.shape, dtype=np.int64) * v.dtype.size for v in loaded.variables))


def run_heads(run: Run, inputs: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (name, array) of the raw outputs."""
    for prefix, images in _images(inputs):
        for name, array in run(images).items():
            yield f"{prefix}/heads/{name}", array


def load_onnx(path: str) -> Run:
    """Returns a function from images to the raw outputs of an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = ["class", "box"]
    return lambda images: dict(zip(names, session.run(names, {"images": images}), strict=True))


def load_litert(path: str) -> Run:
    """Likewise for a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(path).get_signature_runner("serving_default")
    return lambda images: run(images=images)


def _images(inputs: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    return ((name.removesuffix("/images"), array) for name, array in inputs.items() if name.endswith("/images"))


def _arrays(tensors: dict) -> dict[str, np.ndarray]:
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    # npz files cannot hold objects.
    return {name: array.astype(np.bytes_) if array.dtype == object else array for name, array in arrays.items()}


def main(path: str, inputs_file: str, result_file: str) -> None:
    with np.load(inputs_file, allow_pickle=False) as archive:
        inputs = dict(archive)
    if path.endswith((".onnx", ".tflite")):
        load = load_onnx if path.endswith(".onnx") else load_litert
        result = run_heads(load(path), inputs)
    else:
        result = run_saved_model(path, inputs)
    np.savez(result_file, **dict(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
