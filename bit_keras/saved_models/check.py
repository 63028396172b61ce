"""Program: compares a SavedModel with the outputs of the Keras model that it was exported from.

    python check.py KIND SAVED_MODEL EXPECTED.npz TOLERANCE

`writer.write_checked` writes EXPECTED.npz and runs this file in a fresh process. It imports NumPy and TensorFlow only,
because users of a SavedModel need not have the library. It prints the largest relative difference and exits with status
0, or prints a list of faults and exits with status 1.
"""

import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

# Largest difference of scores, which are recomputed in float64, relative to the largest score.
_SCORES_TOLERANCE = 1e-5
# The files of variables also contain an index and the object graph.
_OVERHEAD = 1.02
_OVERHEAD_BYTES = 200_000


def relative_difference(expected: np.ndarray, found: np.ndarray) -> float:
    """Returns the largest difference relative to the largest expected value; infinite for NaN or a different shape."""
    if np.shape(expected) != np.shape(found):
        return float("inf")
    scale = max(float(np.abs(expected).max()), float(np.finfo("float32").tiny))  # a zero head has outputs of 0
    difference = float(np.abs(np.asarray(found, "float64") - expected).max()) / scale
    return float("inf") if np.isnan(difference) else difference


def check(kind: str, directory: str, expected_file: str, tolerance: float) -> tuple[float, list[str]]:
    """Compares a SavedModel with expected outputs.

    Args:
        kind: "reusable" or "serving".
        directory: the SavedModel.
        expected_file: npz file of the arrays that `_reusable` or `_serving` documents.
        tolerance: largest relative difference allowed.

    Returns:
        The largest relative difference, and the faults.
    """
    import tensorflow as tf

    compare = {"reusable": _reusable, "serving": _serving}[kind]
    with np.load(expected_file, allow_pickle=False) as archive:
        expected = dict(archive)
    loaded = tf.saved_model.load(directory)
    faults, largest = list(_storage_faults(loaded, Path(directory))), 0.0
    for name, found, wanted, allowed in compare(loaded, expected, tolerance):
        found = np.asarray(found)
        difference = relative_difference(wanted, found)
        largest = max(largest, difference)
        if difference > allowed:
            shapes = "" if found.shape == wanted.shape else f": shape must be {wanted.shape}, got {found.shape}"
            faults.append(f"{name}: differs by {difference:.3g} of its scale, allowed is {allowed}{shapes}")
    if kind == "reusable":
        faults += _training_faults(loaded, expected)
    return largest, faults


def _reusable(loaded, expected: dict[str, np.ndarray], tolerance: float) -> Iterator[tuple]:
    """Yields (name, value found in the SavedModel, expected value, tolerance).

    Args:
        loaded: the SavedModel.
        expected: "variables" and "trainable_variables" (counts), "regularization_loss" (a sum), "output" (name of the
            output of a call), "endpoints" (whether it has them) and, for k = 0, 1, ..., "k/images" [N, H, W, 3] in
            [0, 1], "k/False/NAME" and "k/True/NAME": the output, or each endpoint, for either value of `training`.
        tolerance: as for `check`.
    """
    losses = sum(float(loss()) for loss in loaded.regularization_losses)
    yield "regularization_loss", losses, expected["regularization_loss"], tolerance
    output, nothing = str(expected["output"]), np.array(np.nan)
    (serve,), call = loaded.signatures.values(), _for_all_sizes(loaded)
    endpoints = _for_all_sizes(loaded.endpoints) if expected["endpoints"] else None
    for k, images in _numbered(expected, "{}/images"):
        served = serve(images=images).get(output, nothing)
        yield f"{k}/serving_default", served, expected[f"{k}/False/{output}"], tolerance
        # Training mode last, as in `reusable.expected`: it may change the state that the next images depend on.
        for training in (False, True):
            prefix = f"{k}/{training}/"
            yield f"{prefix}call", call[training](images), expected[prefix + output], tolerance
            if endpoints is None:
                continue
            wanted = {name.removeprefix(prefix): array for name, array in expected.items() if name.startswith(prefix)}
            found = endpoints[training](images)
            for name in sorted(wanted.keys() | found.keys()):
                yield f"{prefix}endpoints/{name}", found.get(name, nothing), wanted.get(name, nothing), tolerance


def _for_all_sizes(function) -> dict:
    """Returns {training: function of images}; TensorFlow would optimize one anew for each size of images."""
    import tensorflow as tf

    images = tf.TensorSpec([None, None, None, 3])
    return {
        training: tf.function(functools.partial(function, training=training), input_signature=[images], autograph=False)
        for training in (False, True)
    }


def _serving(loaded, expected: dict[str, np.ndarray], tolerance: float) -> Iterator[tuple]:
    """Yields (name, value found in the SavedModel, expected value, tolerance).

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
        found = _arrays(serve_default(images=images))
        yield f"{k}/logits", found["logits"], expected[f"{k}/logits"], tolerance
        yield from _ranking(f"{k}/", found, expected)
        yield f"{k}/features", features(images=images)["features"], expected[f"{k}/features"], tolerance
    # All files in one batch: a damaged one must not affect the others.
    numbers, contents = zip(*_numbered(expected, "file {}/bytes"))
    found = _arrays(serve_bytes(image_bytes=np.array([content.tobytes() for content in contents], object)))
    valid = np.concatenate([expected[f"file {k}/valid"] for k in numbers])
    logits = np.concatenate([expected[f"file {k}/logits"] for k in numbers])
    yield "serve_bytes/valid", found["valid"], valid, 0
    yield "serve_bytes/error", found["error"] == b"", valid, 0
    yield "serve_bytes/logits", found["logits"], logits, tolerance
    yield from _ranking("serve_bytes/", {name: value[valid] for name, value in found.items()}, expected)


def _ranking(prefix: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> Iterator[tuple]:
    """Yields "classes" and "scores" as `_serving` does; the expected values follow from the "logits" found."""
    logits = found["logits"].astype("float64")
    best = np.argsort(-logits, axis=1, kind="stable")[:, : int(expected["top"])]
    names = np.char.encode(expected["names"], "utf-8")[best]
    yield f"{prefix}classes", found["classes"] == names, np.ones(best.shape, bool), 0
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = {"softmax": exponentials / exponentials.sum(axis=1, keepdims=True), "sigmoid": 1 / (1 + np.exp(-logits))}
    best_scores = np.take_along_axis(scores[str(expected["activation"])], best, axis=1)
    yield f"{prefix}scores", found["scores"], best_scores, _SCORES_TOLERANCE


def _numbered(expected: dict[str, np.ndarray], name: str) -> Iterator[tuple[int, np.ndarray]]:
    k = 0
    while name.format(k) in expected:
        yield k, expected[name.format(k)]
        k += 1


def _arrays(tensors: dict) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _storage_faults(loaded, directory: Path) -> Iterator[str]:
    stored = sum(path.stat().st_size for path in (directory / "variables").iterdir())
    needed = sum(np.prod(v.shape, dtype=np.int64) * v.dtype.size for v in loaded.variables)
    if stored > _OVERHEAD * needed + _OVERHEAD_BYTES:
        yield f"variables/ takes {stored} bytes for {needed} bytes of variables: some are stored twice"


def _training_faults(loaded, expected: dict[str, np.ndarray]) -> Iterator[str]:
    """Yields a fault for a wrong number of variables and for trainable variables without a gradient."""
    for name in ("variables", "trainable_variables"):
        found, wanted = len(getattr(loaded, name)), int(expected[name])
        if found != wanted:
            yield f"{name}: must be {wanted}, got {found}"
    missing = [v.name for v, gradient in zip(loaded.trainable_variables, _gradients(loaded)) if gradient is None]
    if missing:
        yield f"no gradient reaches {', '.join(missing)}"


def _gradients(loaded) -> list:
    """Returns the gradients of a call in training mode, as tensors of its graph; None where there is none.

    Nothing is computed: TensorFlow would build the graph of the gradients twice and optimize it, which takes twenty
    seconds for R50x1.
    """
    import tensorflow as tf

    (call,) = (each for each in loaded.__call__.concrete_functions if each.structured_input_signature[0][1])
    inside = {id(outside): tensor for outside, tensor in call.graph.captures}
    handles = {v.ref(): inside[id(v.handle)] for v in loaded.trainable_variables if id(v.handle) in inside}
    with call.graph.as_default():
        gradients = tf.gradients(tf.reduce_mean(call.outputs[0] ** 2), list(handles.values()))
    found = dict(zip(handles, gradients))
    return [found.get(v.ref()) for v in loaded.trainable_variables]


def _main(kind: str, directory: str, expected_file: str, tolerance: str) -> str | None:
    largest, faults = check(kind, directory, expected_file, float(tolerance))
    print(largest)
    return "\n".join(faults) or None


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
