"""Program: holds a module against the numbers of the Keras model that it was made from. TensorFlow only.

    python tfhub_check.py MODULE EXPECTED.npz TOLERANCE

`export.tfhub` writes EXPECTED.npz and runs this in a fresh process. Exit status 0 comes with the largest difference,
relative to the scale of its output, and 1 with a list of what does not agree.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

# The index and the graph of objects, beside the numbers themselves.
_OVERHEAD = 1.02
_OVERHEAD_BYTES = 200_000


def check(directory: str, expected_file: str, tolerance: str) -> str | None:
    """Compares a module with expected numbers, and prints the largest difference.

    Args:
        directory: the SavedModel.
        expected_file: npz file of "variables" and "trainable_variables" (counts), "regularization_loss" (a sum),
            "output" (the endpoint that a call gives) and, for k = 0, 1, ..., "k/images" [N, H, W, 3] in [0, 1],
            "k/False/ENDPOINT" and "k/True/ENDPOINT": each endpoint for either value of `training`.
        tolerance: largest difference allowed, relative to the largest expected number of the output.

    Returns:
        None, or the list of faults.
    """
    module = tf.saved_model.load(directory)
    with np.load(expected_file, allow_pickle=False) as archive:
        expected = dict(archive)
    differences, faults = [], list(_variable_faults(module, Path(directory), expected))
    for name, found, wanted in _outputs(module, expected):
        difference = _relative_difference(np.asarray(found), wanted)
        differences.append(difference)
        if not difference <= float(tolerance):
            faults.append(f"{name}: differs by {difference:.3g} of its scale, allowed is {tolerance}")
    print(max(differences))
    return "\n".join(faults) or None


def _outputs(module, expected: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yields (name, what the module gives, what it must give)."""
    yield (
        "regularization_loss",
        np.array(sum(float(loss()) for loss in module.regularization_losses)),
        expected["regularization_loss"],
    )
    output = str(expected["output"])
    for k in range(sum(name.endswith("/images") for name in expected)):
        images = tf.constant(expected[f"{k}/images"])
        for training in (False, True):
            prefix = f"{k}/{training}/"
            wanted = {name.removeprefix(prefix): array for name, array in expected.items() if name.startswith(prefix)}
            found = module.endpoints(images, training=training)
            for name in sorted(wanted.keys() | found.keys()):
                yield f"{prefix}endpoints/{name}", found.get(name, np.nan), wanted.get(name, np.array(np.nan))
            yield f"{prefix}call", module(images, training=training), wanted[output]
        served = module.signatures["serving_default"](images=images)
        yield f"{k}/serving_default", served[output], expected[f"{k}/False/{output}"]


def _variable_faults(module, directory: Path, expected: dict[str, np.ndarray]) -> Iterator[str]:
    for name in ("variables", "trainable_variables"):
        found, wanted = len(getattr(module, name)), int(expected[name])
        if found != wanted:
            yield f"{name}: must be {wanted}, got {found}"
    images = tf.constant(expected["0/images"])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(module(images, training=True) ** 2)
    gradients = tape.gradient(loss, module.trainable_variables)
    missing = [v.name for v, gradient in zip(module.trainable_variables, gradients) if gradient is None]
    if missing:
        yield f"no gradient reaches {', '.join(missing)}"
    stored = sum(path.stat().st_size for path in (directory / "variables").iterdir())
    needed = sum(np.prod(v.shape, dtype=np.int64) * v.dtype.size for v in module.variables)
    if stored > _OVERHEAD * needed + _OVERHEAD_BYTES:
        yield f"variables/ takes {stored} bytes for {needed} bytes of variables: some are stored twice"


def _relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    if found.shape != expected.shape:
        return float("inf")
    scale = max(float(np.abs(expected).max()), np.finfo("float32").tiny)  # a head of zeros gives zeros
    return float(np.abs(found - expected).max()) / scale


if __name__ == "__main__":
    sys.exit(check(*sys.argv[1:]))
