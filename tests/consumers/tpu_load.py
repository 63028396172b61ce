"""Loads both forms for TPUs with TensorFlow only, on a CPU; prints the results as JSON.

    python tpu_load.py CONVERTER DIRECT IMAGE...

The images are JPEG, PNG, GIF or BMP files.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf


def load(converter: str, direct: str, *images: str) -> dict:
    files = tf.constant([Path(image).read_bytes() for image in images])
    on_cpu = tf.saved_model.load(converter).signatures["serving_default"]
    answer = {name: value.numpy().tolist() for name, value in on_cpu(image_bytes=files).items()}
    answer["error"] = [error.decode() for error in answer["error"]]
    on_tpu = tf.saved_model.load(direct, tags=["serve", "tpu"]).signatures["serving_default"]
    try:
        on_tpu(image_bytes=files)
        refusal = ""
    except tf.errors.OpError as error:
        refusal = str(error)
    return {
        **answer,
        "inputs": {name: str(spec.dtype) for name, spec in on_tpu.structured_input_signature[1].items()},
        "outputs": {name: [spec.dtype.name, *spec.shape] for name, spec in on_tpu.structured_outputs.items()},
        "refusal": refusal,
        "library_imported": "bit_keras" in sys.modules,
    }


if __name__ == "__main__":
    print(json.dumps(load(*sys.argv[1:])))
