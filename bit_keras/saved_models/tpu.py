"""SavedModels for Cloud TPUs, in two forms. Neither has ever been run on a TPU.

OUTPUT/converter is for Google's Inference Converter, which inserts the TPU's operations: a SavedModel for CPUs with the
alias "tpu_func" for the function to move (https://cloud.google.com/tpu/docs/v5e-inference-converter). OUTPUT/direct
already contains these operations and has the tags {serve, tpu}. What can be checked on a CPU is checked.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from bit_keras.checkpoints import provenance
from bit_keras.network.folding import folded
from bit_keras.network.model import BiT
from bit_keras.saved_models.check import relative_difference
from bit_keras.saved_models.decoding import decode_rows, in_rows
from bit_keras.saved_models.summary import Artefact, measure, write_summary
from bit_keras.system import files
from bit_keras.system.checks import known_arguments
from bit_keras.system.logs import logger
from bit_keras.system.paths import check_place
from bit_keras.system.processes import run_python

FORMS = ("converter", "direct")
# Largest difference of the bfloat16 network from the model, relative to the scale of the logits. Random weights
# amplify the rounding with depth; a wrong network differs by more than 1.
TOLERANCE = 0.25
_BATCH_TIMEOUT = 5_000  # microseconds that a request waits for others


@known_arguments
def export_tpu(
    model: BiT, output: str | os.PathLike, batch_sizes: Sequence[int] = (1, 8), resolution: int | None = None
) -> list[Artefact]:
    """Writes `output`/converter, `output`/direct and `output`/summary.json; leaves no files if a check fails.

    Both SavedModels have one signature, "serving_default": "image_bytes", image files as strings [N], to "logits"
    float32 [N, K], "valid" [N], whether a file could be decoded, and "error" [N], the reason why not. Files are those
    that `serve_bytes` of `bit_keras.export_saved_model` takes; the logits of an invalid one are 0. They are decoded on
    the CPU; the TPU receives images [N, resolution, resolution, 3] in [-1, 1]
    and runs the folded network, with kernels and convolutions in bfloat16.

    The direct form collects requests into batches, which are padded to one of `batch_sizes`; no request may be larger
    than the largest. The converter form is batched by the converter, which needs these sizes as a setting.

    Checks on a CPU, in a fresh process per form: exactly one function is for the TPU, it is called, and it contains no
    operation for the host; the TPU's operations exist; with ordinary calls in their place the logits equal those of the
    folded network; XLA compiles the function for each batch size, with all convolutions in bfloat16 and no dynamic
    dimension. **None of it has been run on a TPU.**

    Args:
        model: a classifier, which is not changed.
        output: directory to create, which must not exist.
        batch_sizes: ascending, distinct numbers of images for which a TPU compiles the network.
        resolution: side in pixels to which images are resized, 1 or more; None for that of the weights,
            `model.resolution`, or 224 if that is None.

    Returns:
        One record per form. Speeds are those of the folded network on this machine's CPU or GPU, not of a TPU.

    Raises:
        ValueError: an argument is out of its range, or the Keras backend is not tensorflow.
        FileExistsError: `output` exists.
        RuntimeError: a check failed.
    """
    output = check_place("output", output)
    resolution = provenance.serving_resolution(model, resolution)
    _check_arguments(output, batch_sizes, resolution)
    network = folded(model, "bfloat16")

    def call(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(network(images, training=False), tf.float32)

    with files.whole(output) as written:
        written.mkdir()
        expected = written.with_name("expected.npz")
        rounding = _write_expected(model, call, batch_sizes, resolution, expected)
        rates = measure(
            tf.function(lambda images: call(2.0 * images - 1.0), reduce_retracing=True, autograph=False), resolution
        )
        facts = {}
        for form in FORMS:
            logger.info("writing the %s form and checking it in a fresh process", form)
            _write(form, network, call, written / form, batch_sizes, resolution, model.card.resize)
            # By path, not as a module: the check must not import the library.
            program, result = Path(__file__).with_name("tpu_check.py"), written.with_name(f"{form}.json")
            run_python(f"the {form} form is faulty", program, written / form, expected, result)
            facts[form] = json.loads(result.read_text())
    artefacts = [Artefact(form, output / form, rounding, rates, _extra(facts[form], batch_sizes)) for form in FORMS]
    write_summary(artefacts, output / "summary.json")
    return artefacts


def _check_arguments(output: Path, batch_sizes: Sequence[int], resolution: int) -> None:
    if keras.config.backend() != "tensorflow":
        raise ValueError(f"the Keras backend must be tensorflow, set KERAS_BACKEND, got {keras.config.backend()}")
    if os.path.lexists(output):
        raise FileExistsError(f"output must be a directory that does not exist yet, got {output}")
    if not batch_sizes or list(batch_sizes) != sorted(set(batch_sizes)) or batch_sizes[0] < 1:
        raise ValueError(f"batch_sizes must be numbers of 1 or more, ascending, got {list(batch_sizes)}")
    if resolution < 1:
        raise ValueError(f"resolution must be 1 or more, got {resolution}")


def _write_expected(model: BiT, call: Callable, batch_sizes: Sequence[int], resolution: int, path: Path) -> float:
    """Writes images and logits for the check; returns the largest difference of bfloat16 from the model."""
    serve = _signature(call, resolution, model.card.resize)
    random, expected, differences = np.random.default_rng(0), {}, []
    with tf.device("/CPU:0"):  # where the check runs
        for size in batch_sizes:
            images = random.integers(0, 256, (size, resolution, resolution, 3), np.uint8)
            png_files = tf.stack([tf.io.encode_png(image) for image in images])
            logits = serve(image_bytes=png_files)["logits"].numpy()
            expected[f"images/{size}"], expected[f"logits/{size}"] = images, logits
            model_logits = keras.ops.convert_to_numpy(model(images / np.float32(127.5) - 1, training=False))
            differences.append(relative_difference(model_logits, logits))
    if max(differences) > TOLERANCE:
        raise RuntimeError(
            f"in bfloat16 the logits differ by {max(differences):.2g} of their scale, allowed is {TOLERANCE}"
        )
    np.savez(path, **expected)
    return max(differences)


def _write(
    form: str,
    network: keras.Model,
    call: Callable,
    path: Path,
    batch_sizes: Sequence[int],
    resolution: int,
    fit: str,
) -> None:
    images_spec = tf.TensorSpec([None, resolution, resolution, 3], name="images")

    @tf.function(input_signature=[images_spec], autograph=False)
    def tpu_func(images):
        return call(images) if form == "converter" else tf.compat.v1.tpu.rewrite(call, [images])[0]

    if form == "converter":
        run, options = tpu_func, tf.saved_model.SaveOptions(function_aliases={"tpu_func": tpu_func})
    else:
        run = _batched(tpu_func.get_concrete_function(), batch_sizes)
        options = tf.saved_model.SaveOptions(extra_tags=["tpu"])
    # Without the Keras model, which would be stored too.
    root = tf.train.Checkpoint(variables=[variable.value for variable in network.variables])
    root.tpu_func = tpu_func
    signature = _signature(run, resolution, fit)
    tf.saved_model.save(root, str(path), signatures={"serving_default": signature}, options=options)


def _signature(run: Callable, resolution: int, fit: str) -> Callable:
    """Returns the signature: decodes image files and calls `run`, a function from images in [-1, 1] to logits."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def serve(image_bytes):
        index, images, errors = decode_rows(image_bytes, resolution, fit)
        decoded = in_rows(index, images, tf.size(image_bytes))
        valid = tf.equal(errors, "")
        logits = run(decoded)
        return {
            "logits": tf.where(valid[:, tf.newaxis], logits, tf.zeros_like(logits)),
            "valid": valid,
            "error": errors,
        }

    return serve


def _batched(function, batch_sizes: Sequence[int]) -> Callable:
    """Returns a function that collects batches and runs `function`, from images to logits [N, K], on the TPU."""
    (images,), (logits,) = function.structured_input_signature[0], function.outputs

    @tf.nondifferentiable_batch_function(
        num_batch_threads=1,
        max_batch_size=max(batch_sizes),
        batch_timeout_micros=_BATCH_TIMEOUT,
        allowed_batch_sizes=list(batch_sizes),
    )
    def run(batch):
        (outputs,) = tf.raw_ops.TPUPartitionedCall(
            args=[tf.ensure_shape(batch, images.shape), *function.captured_inputs],
            device_ordinal=tf.raw_ops.TPUOrdinalSelector(),
            Tout=[logits.dtype],
            f=function,
        )
        return outputs

    return lambda batch: tf.ensure_shape(run(batch), logits.shape)


def _extra(facts: dict, batch_sizes: Sequence[int]) -> dict[str, float | str]:
    return {
        "from bfloat16": facts["max_difference"],
        "convolutions in bf16": str(facts["convolutions"]),
        "batch sizes": ", ".join(map(str, batch_sizes)),
        "run on a TPU": "never",
    }
