"""SavedModels of detectors for TF Serving: the folded network and suppression behind named signatures.

As a program it writes one on the tensorflow backend, for a process on another backend:

    python -m bit_keras.detection.export.serving MODEL.keras SAVED_MODEL CLASS_NAMES.txt CARD.json OPTIONS

OPTIONS is JSON; CLASS_NAMES.txt need not exist. The library imports this module in functions only, because `python -m`
warns of a program that is already imported.
"""

import json
import logging
import sys
from pathlib import Path

import keras
import tensorflow as tf

from bit_keras.data.loaders import preprocessing
from bit_keras.detection.export.options import ServingOptions
from bit_keras.detection.network import decoding
from bit_keras.detection.network.anchors import anchor_count
from bit_keras.detection.network.detector import Detector
from bit_keras.network import execution
from bit_keras.network.folding import folded
from bit_keras.saved_models.decoding import in_rows, prepare_rows
from bit_keras.saved_models.serving import from_pixels, in_parts
from bit_keras.system.logs import only_from

# Image files whose outputs are computed together. An image of 1024 pixels has as many of them as 21 of 224.
_PART = 1


def write(detector: Detector, path: Path, options: ServingOptions, names_file: Path, card: Path) -> None:
    """Writes the SavedModel that `export.export_detector` describes; checks nothing.

    Args:
        detector: on the tensorflow backend.
        path: directory to create.
        options: of the SavedModel.
        names_file: text file with a class name per line, which becomes an asset; it need not exist.
        card: file that becomes an asset.
    """
    with execution.portable(), only_from(logging.WARNING, "tensorflow"):
        score = tf.Variable(options.score, trainable=False, dtype=tf.float32)
        signatures, network = _signatures(detector, options, score, names_file)
        # Without the Keras model, which would be stored too.
        root = tf.train.Checkpoint(variables=[variable.value for variable in network.variables])
        root.score = score  # the check lowers it
        root.card = tf.saved_model.Asset(str(card))
        if names_file.exists():
            root.class_names = tf.saved_model.Asset(str(names_file))
        tf.saved_model.save(root, str(path), signatures=signatures)


def _signatures(
    detector: Detector, options: ServingOptions, score: tf.Variable, names_file: Path
) -> tuple[dict, keras.Model]:
    """Returns the signatures, and the network whose variables they use."""
    network = folded(detector, options.precision)
    num_classes = detector.num_classes
    names = names_file.read_text(encoding="utf-8").splitlines() if names_file.exists() else map(str, range(num_classes))
    images_spec = tf.TensorSpec([None, None, None, 3], name="images")
    nothing = {
        "boxes": tf.zeros([0, options.limit, 4]),
        "scores": tf.zeros([0, options.limit]),
        "class_ids": tf.zeros([0, options.limit], tf.int32),
        "num": tf.zeros([0], tf.int32),
    }
    names = tf.constant(list(names))

    def run(images: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = network(images, training=False)
        return {name: tf.cast(output, tf.float32) for name, output in outputs.items()}

    def find(images: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
        """Returns the boxes in images in [-1, 1], in their pixels; `content` is what is not padding, int32 [N, 2]."""
        _, height, width, _ = tf.unstack(tf.shape(images))
        found = decoding.candidates(run(images), height, width, options.candidates, score)
        return _suppressed(*found, tf.cast(content, tf.float32), num_classes, score, options)

    def named(found: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        ids = found["class_ids"]
        return {**found, "classes": tf.where(ids < 0, "", tf.gather(names, tf.maximum(ids, 0)))}

    @tf.function(input_signature=[images_spec], autograph=False)
    def serving_default(images):
        images = from_pixels(images)
        count, height, width, _ = tf.unstack(tf.shape(images))
        content = tf.tile([[height, width]], [count, 1])
        return named(in_parts(find, (images, content), count, nothing))

    @tf.function(input_signature=[images_spec], autograph=False)
    def heads(images):
        images = from_pixels(images)
        count, height, width, _ = tf.unstack(tf.shape(images))
        none = {
            name: tf.ensure_shape(tf.zeros([0, anchor_count(height, width), size]), [0, None, size])
            for name, size in (("class", num_classes), ("box", 4))
        }
        return in_parts(run, (images,), count, none)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve_bytes(image_bytes):
        side, count = options.resolution, tf.size(image_bytes)

        def prepare(pixels: tf.Tensor) -> tuple[tf.Tensor, ...]:
            return *preprocessing.corner(pixels, side), tf.shape(pixels)[:2]

        like = (tf.zeros([side, side, 3]), tf.zeros([2], tf.int32), tf.zeros([2], tf.int32))
        limits = (options.max_rows, options.max_pixels, options.max_scans)
        index, (images, content, size), errors = prepare_rows(image_bytes, prepare, like, *limits)
        found = in_parts(find, (images, content), _PART, nothing)
        found["boxes"] = _scaled(found["boxes"], content, size)
        answer = {name: in_rows(index, output, count) for name, output in named(found).items()}
        is_valid = tf.equal(errors, "")
        answer["class_ids"] = tf.where(is_valid[:, tf.newaxis], answer["class_ids"], -1)
        return {**answer, "valid": is_valid, "error": errors}

    return {"serving_default": serving_default, "serve_bytes": serve_bytes, "heads": heads}, network


def _suppressed(
    boxes, scores, classes, content, num_classes: int, score, options: ServingOptions
) -> dict[str, tf.Tensor]:
    """Clips and suppresses candidates as `decoding.select` does.

    Args:
        boxes, scores, classes: as `decoding.candidates` returns them.
        content: float32 [N, 2] height and width of what is not padding.
        num_classes: K.
        score: threshold.
        options: of the SavedModel.
    """
    # By hand: the operation clips to [0, 1].
    boxes = tf.clip_by_value(boxes, 0.0, tf.tile(content, [1, 2])[:, tf.newaxis])
    is_box = tf.reduce_all(boxes[..., 2:] > boxes[..., :2], axis=-1)  # not in the padding
    scores = tf.where(is_box, scores, 0.0)
    found = tf.image.combined_non_max_suppression(
        boxes[:, :, tf.newaxis],
        scores[..., tf.newaxis] * tf.one_hot(classes, num_classes),
        max_output_size_per_class=options.limit,
        max_total_size=options.limit,
        iou_threshold=options.iou,
        score_threshold=score,
        clip_boxes=False,
    )
    is_found = tf.range(options.limit) < found.valid_detections[:, tf.newaxis]
    return {
        "boxes": found.nmsed_boxes,
        "scores": found.nmsed_scores,
        "class_ids": tf.where(is_found, tf.cast(found.nmsed_classes, tf.int32), -1),
        "num": found.valid_detections,
    }


def _scaled(boxes: tf.Tensor, content: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Returns boxes in pixels of the original images, as `augmentation.to_image`."""
    content, size = (tf.tile(tf.cast(each, tf.float32), [1, 2])[:, tf.newaxis] for each in (content, size))
    return tf.clip_by_value(boxes * (size / content), 0.0, size)


def _main(source: str, path: str, names_file: str, card: str, options: str) -> None:
    detector = keras.models.load_model(source, compile=False)
    write(detector, Path(path), ServingOptions(**json.loads(options)), Path(names_file), Path(card))


if __name__ == "__main__":
    _main(*sys.argv[1:])
