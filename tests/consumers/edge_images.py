"""Classifies uint8 images with a LiteRT or ONNX file, as on a small computer; prints the results as JSON.

    python edge_images.py MODEL IMAGES.npy

IMAGES.npy contains uint8 images [N, H, W, 3]; `photo` makes one of an image file as evaluation does.
"""

import collections
import json
import sys

import numpy as np


def photo(path: str, side: int) -> np.ndarray:
    """Returns the pixels of an image file, turned upright and squashed, uint8 [side, side, 3]."""
    from PIL import Image, ImageOps

    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    # Not `resize`, which smooths: the network is evaluated on images that are not.
    scale = (image.width / side, 0, 0, 0, image.height / side, 0)
    return np.asarray(image.transform((side, side), Image.Transform.AFFINE, scale, Image.Resampling.BILINEAR))


def run_litert(path: str, images: np.ndarray) -> dict:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    operations = interpreter._get_ops_details()
    types = {tensor["index"]: np.dtype(tensor["dtype"]).name for tensor in interpreter.get_tensor_details()}
    facts = {
        "signature": interpreter.get_signature_list(),
        "shape": interpreter.get_input_details()[0]["shape_signature"].tolist(),
        "operations": collections.Counter(operation["op_name"] for operation in operations),
        "quantized_convolutions": sum(
            operation["op_name"] == "CONV_2D" and types[operation["outputs"][0]] == "int8" for operation in operations
        ),
    }
    classify = interpreter.get_signature_runner("serving_default")
    (details,), (results,) = classify.get_input_details().values(), classify.get_output_details().values()
    facts["input_type"] = np.dtype(details["dtype"]).name
    if details["dtype"] == np.int8:
        # with scale 1 / 255 and zero point -128 pixels are only shifted
        batch = (images.astype(np.int16) - 128).astype(np.int8)
    else:
        batch = images.astype(np.float32) / 255
    logits = np.concatenate([classify(images=image[np.newaxis])["logits"] for image in batch])
    if results["dtype"] == np.int8:
        scale, zero_point = results["quantization"]
        logits = scale * (logits.astype(np.float32) - zero_point)
    return {**facts, "logits": logits.tolist()}


def run_onnx(path: str, images: np.ndarray) -> dict:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"images": images.astype(np.float32) / 255})
    (other,) = session.run(None, {"images": np.zeros((2, 50, 41, 3), np.float32)})
    return {
        "inputs": {value.name: value.shape for value in session.get_inputs()},
        "outputs": {value.name: value.shape for value in session.get_outputs()},
        "other_size": other.shape,
        "logits": logits.tolist(),
    }


if __name__ == "__main__":
    model, images_file = sys.argv[1:]
    result = (run_onnx if model.endswith(".onnx") else run_litert)(model, np.load(images_file))
    result["foreign_modules"] = sorted({"tensorflow", "keras", "bit_keras"} & set(sys.modules))
    print(json.dumps(result))
