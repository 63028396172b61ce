"""Warm-up requests, which TF Serving runs before it reports a version as available.

Source: tensorflow/serving, docs "SavedModel Warmup": a TFRecord of PredictionLog messages in `assets.extra`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

# allowed_batch_sizes of server/batching-gpu.config, since memory is allocated per size. On a CPU the server splits the
# largest.
BATCH_SIZES = (1, 2, 4, 8)
PATH = Path("assets.extra", "tf_serving_warmup_requests")


def write_warmup(saved_model: Path, name: str, resolution: int, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
    """Adds requests for `serving_default` and `serve_bytes` to a SavedModel, one per signature and batch size.

    Args:
        saved_model: directory of a version.
        name: of the model.
        resolution: side in pixels of the images.
        batch_sizes: numbers of images.
    """
    image = np.full((resolution, resolution, 3), 127, np.uint8)
    encoded = [encode(image).numpy() for encode in (tf.io.encode_jpeg, tf.io.encode_png)]
    path = saved_model / PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for batch_size in batch_sizes:
            images = tf.TensorShape([batch_size, resolution, resolution, 3]).as_proto()
            # A tensor proto with one value repeats it: kilobytes, not megabytes.
            tensor = tf.make_tensor_proto(0.5, shape=[1])
            tensor.tensor_shape.CopyFrom(images)
            files = tf.make_tensor_proto([encoded[k % 2] for k in range(batch_size)])
            for signature, argument, value in (
                ("serving_default", "images", tensor),
                ("serve_bytes", "image_bytes", files),
            ):
                request = PredictRequest()
                request.model_spec.name = name
                request.model_spec.signature_name = signature
                request.inputs[argument].CopyFrom(value)
                log = PredictionLog()
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())


def replay_warmup(saved_model: Path, loaded) -> int:
    """Runs the warm-up requests of a SavedModel as the server would, and returns their number.

    Args:
        saved_model: directory of the SavedModel.
        loaded: the loaded SavedModel.

    Raises:
        RuntimeError: request and response differ in their numbers of rows, or a response contains values that are not
            finite, or False for "valid".
    """
    count = 0
    for record in tf.data.TFRecordDataset(str(saved_model / PATH)).as_numpy_iterator():
        request = PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        (batch_size,) = {len(tensor) for tensor in inputs.values()}
        signature = request.model_spec.signature_name
        for name, output in loaded.signatures[signature](**inputs).items():
            is_finite = not output.dtype.is_floating or np.isfinite(output).all()
            if len(output) != batch_size or not is_finite or (name == "valid" and not np.all(output)):
                raise RuntimeError(f"the warm-up of {signature} with {batch_size} images gave wrong {name}: {output}")
        count += 1
    return count
