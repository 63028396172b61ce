"""Program: runs a LiteRT or ONNX file in its runtime; imports only the runtime and NumPy.

    python run.py MODEL.tflite|MODEL.onnx IMAGES.npy RESULT.npz

IMAGES.npy contains float32 images [N, R, R, 3] in [0, 1]. RESULT.npz will contain "logits" [N, K], "input", a
description of the input format, and "images_per_second" for each of "batch_sizes".
"""

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

BATCH_SIZES = (1, 8)
_RUNS = 5


def load_litert(path: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Returns a function from images [N, R, R, 3] to logits [N, K], and a description of the file's input format."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    (images,), (logits,) = interpreter.get_input_details(), interpreter.get_output_details()
    is_quantized = images["dtype"] == np.int8

    def run(batch: np.ndarray) -> np.ndarray:
        if tuple(interpreter.get_input_details()[0]["shape"]) != batch.shape:
            interpreter.resize_tensor_input(images["index"], batch.shape)
        interpreter.allocate_tensors()
        if is_quantized:
            scale, zero_point = images["quantization"]
            batch = np.clip(np.round(batch / scale) + zero_point, -128, 127).astype(np.int8)
        interpreter.set_tensor(images["index"], batch)
        interpreter.invoke()
        outputs = interpreter.get_tensor(logits["index"])
        if is_quantized:
            scale, zero_point = logits["quantization"]
            outputs = scale * (outputs.astype(np.float32) - zero_point)
        return outputs

    input_format = "float32"
    if is_quantized:
        input_format = "int8, scale {:.6g}, zero point {}".format(*images["quantization"])
    return run, input_format


def load_onnx(path: str) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Likewise for an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["logits"], {"images": batch})[0], "float32"


def main(path: str, images_file: str, result_file: str) -> None:
    run, input_format = (load_onnx if path.endswith(".onnx") else load_litert)(path)
    images = np.load(images_file, mmap_mode="r")
    logits = [run(np.array(images[i : i + max(BATCH_SIZES)])) for i in range(0, len(images), max(BATCH_SIZES))]
    rates = [_images_per_second(run, np.resize(images, (size, *images.shape[1:]))) for size in BATCH_SIZES]
    np.savez(
        result_file, logits=np.concatenate(logits), input=input_format, batch_sizes=BATCH_SIZES, images_per_second=rates
    )


def _images_per_second(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    run(images)  # allocates
    seconds = []
    for _ in range(_RUNS):
        start = time.perf_counter()
        run(images)
        seconds.append(time.perf_counter() - start)
    return len(images) / statistics.median(seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
