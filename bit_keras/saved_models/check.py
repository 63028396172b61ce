"""Program: holds a SavedModel against the numbers of the Keras model that it was made from. TensorFlow only.

    python check.py KIND SAVED_MODEL EXPECTED.npz TOLERANCE

`bit_keras.export_saved_model` writes EXPECTED.npz and runs this in a fresh process. Exit status 0 means that all
agrees, 1 comes with a list of what does not.
"""

import sys
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

# Of scores, which are computed again in float64, relative to the largest.
_SCORES_TOLERANCE = 1e-5


def check(kind: str, directory: str, expected_file: str, tolerance: str) -> str | None:
    """Compares a SavedModel with expected numbers.

    Args:
        kind: "reusable" or "serving".
        directory: the SavedModel.
        expected_file: npz file of what `reusable` or `serving` needs.
        tolerance: largest difference allowed, relative to the largest expected number.

    Returns:
        None, or the list of faults.
    """
    compare = {"reusable": reusable, "serving": serving}[kind]
    with np.load(expected_file, allow_pickle=False) as archive:
        expected = dict(archive)
    comparisons = compare(tf.saved_model.load(directory), expected, float(tolerance))
    return "\n".join(fault for comparison in comparisons if (fault := _compare(*comparison))) or None


def reusable(loaded, expected: dict[str, np.ndarray], tolerance: float) -> Iterator[tuple]:
    """Yields the arguments of `_compare`.

    Args:
        loaded: the SavedModel.
        expected: "trainable_variables" (a count), "regularization_loss" (a sum) and, for k = 0, 1, ..., "k/images"
            [N, H, W, 3] in [0, 1], "k/inference" and "k/training" [N, K].
        tolerance: as for `check`.
    """
    (serve,) = loaded.signatures.values()
    found = {
        "trainable_variables": len(loaded.trainable_variables),
        "regularization_loss": sum(float(loss()) for loss in loaded.regularization_losses),
    }
    for name, value in found.items():
        yield name, value, expected[name], tolerance
    for k, images in _numbered(expected, "{}/images"):
        (served,) = serve(images=tf.constant(images)).values()
        yield f"{k}/inference", loaded(images).numpy(), expected[f"{k}/inference"], tolerance
        yield f"{k}/serving_default", served.numpy(), expected[f"{k}/inference"], tolerance
        # Last: it may move the state that the next images meet, as it did when the model was called.
        yield f"{k}/training", loaded(images, training=True).numpy(), expected[f"{k}/training"], tolerance


def serving(loaded, expected: dict[str, np.ndarray], tolerance: float) -> Iterator[tuple]:
    """Yields the arguments of `_compare`.

    Args:
        loaded: the SavedModel.
        expected: "names" [K], "activation" (softmax or sigmoid), "top" (a count) and, for k = 0, 1, ..., "k/images"
            [N, H, W, 3] in [0, 1], "k/logits" [N, K] and "k/features" [N, C], then "file k/bytes", "file k/logits"
            [1, K] and "file k/valid" [1].
        tolerance: as for `check`.
    """
    serve_default, serve_bytes, features = (
        loaded.signatures[name] for name in ("serving_default", "serve_bytes", "features")
    )
    for k, images in _numbered(expected, "{}/images"):
        images = tf.constant(images)
        found = _arrays(serve_default(images=images))
        yield f"{k}/logits", found["logits"], expected[f"{k}/logits"], tolerance
        yield from _compare_ranking(f"{k}/", found, expected)
        yield f"{k}/features", features(images=images)["features"].numpy(), expected[f"{k}/features"], tolerance
    # All in one batch.
    numbers, contents = zip(*_numbered(expected, "file {}/bytes"))
    found = _arrays(serve_bytes(image_bytes=tf.constant([content.tobytes() for content in contents])))
    valid = np.concatenate([expected[f"file {k}/valid"] for k in numbers])
    logits = np.concatenate([expected[f"file {k}/logits"] for k in numbers])
    yield "serve_bytes/valid", found["valid"], valid, 0
    yield "serve_bytes/error", found["error"] == b"", valid, 0
    yield "serve_bytes/logits", found["logits"], logits, tolerance
    yield from _compare_ranking("serve_bytes/", {name: value[valid] for name, value in found.items()}, expected)


def _numbered(expected: dict[str, np.ndarray], name: str) -> Iterator[tuple[int, np.ndarray]]:
    k = 0
    while name.format(k) in expected:
        yield k, expected[name.format(k)]
        k += 1


def _arrays(tensors: dict) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _compare_ranking(prefix: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Iterator[tuple]:
    """Yields the comparisons of "classes" and "scores" with the "logits" that were found."""
    logits = found["logits"].astype("float64")
    best = np.argsort(-logits, axis=1, kind="stable")[:, : int(expected["top"])]
    names = np.char.encode(expected["names"], "utf-8")[best]
    yield f"{prefix}classes", found["classes"] == names, np.ones(best.shape, bool), 0
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = {"softmax": exponentials / exponentials.sum(axis=1, keepdims=True), "sigmoid": 1 / (1 + np.exp(-logits))}
    best_scores = np.take_along_axis(scores[str(expected["activation"])], best, axis=1)
    yield f"{prefix}scores", found["scores"], best_scores, _SCORES_TOLERANCE


def _compare(name: str, found, expected: np.ndarray, tolerance: float) -> str | None:
    if np.shape(found) != expected.shape:
        return f"{name}: shape must be {expected.shape}, got {np.shape(found)}"
    found, expected = np.asarray(found, "float64"), expected.astype("float64")
    difference, scale = np.max(np.abs(found - expected)), np.max(np.abs(expected))
    if difference <= tolerance * scale:  # false for NaN
        return None
    return f"{name}: the largest difference is {difference:.3g} at a scale of {scale:.3g}, allowed is {tolerance} of it"


if __name__ == "__main__":
    sys.exit(check(*sys.argv[1:]))
