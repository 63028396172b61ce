"""Program: holds a SavedModel against the numbers of the Keras model that it was made from. TensorFlow only.

    python saved_model_check.py SAVED_MODEL EXPECTED.npz TOLERANCE

`bit_keras.export_saved_model` writes EXPECTED.npz and runs this in a fresh process. Exit status 0 means that all
agrees, 1 comes with a list of what does not.
"""

import sys

import numpy as np
import tensorflow as tf


def check(directory: str, expected_file: str, tolerance: str) -> str | None:
    """Compares a reusable SavedModel with expected numbers.

    Args:
        directory: the SavedModel.
        expected_file: npz file of "trainable_variables" (a count), "regularization_loss" (a sum) and, for
            k = 0, 1, ..., "k/images" [N, H, W, 3] in [0, 1], "k/inference" and "k/training" [N, K].
        tolerance: largest difference allowed, relative to the largest expected number.

    Returns:
        None, or the list of faults.
    """
    loaded = tf.saved_model.load(directory)
    (serve,) = loaded.signatures.values()
    with np.load(expected_file, allow_pickle=False) as archive:
        expected = dict(archive)
    found = {
        "trainable_variables": len(loaded.trainable_variables),
        "regularization_loss": sum(float(loss()) for loss in loaded.regularization_losses),
    }
    pairs = [(name, value, expected[name]) for name, value in found.items()]
    for k in range(sum(name.endswith("/images") for name in expected)):
        images = tf.constant(expected[f"{k}/images"])
        (served,) = serve(images=images).values()
        pairs += [
            (f"{k}/inference", loaded(images).numpy(), expected[f"{k}/inference"]),
            (f"{k}/serving_default", served.numpy(), expected[f"{k}/inference"]),
            # Last: it may move the state that the next images meet, as it did when the model was called.
            (f"{k}/training", loaded(images, training=True).numpy(), expected[f"{k}/training"]),
        ]
    faults = [fault for pair in pairs if (fault := _compare(*pair, float(tolerance)))]
    return "\n".join(faults) or None


def _compare(name: str, found, expected: np.ndarray, tolerance: float) -> str | None:
    if np.shape(found) != expected.shape:
        return f"{name}: shape must be {expected.shape}, got {np.shape(found)}"
    difference, scale = np.max(np.abs(found - expected)), np.max(np.abs(expected))
    if difference <= tolerance * scale:  # false for NaN
        return None
    return f"{name}: the largest difference is {difference:.3g} at a scale of {scale:.3g}, allowed is {tolerance} of it"


if __name__ == "__main__":
    sys.exit(check(*sys.argv[1:]))
