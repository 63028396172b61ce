"""Program: compares inference of a served BiT with other libraries and runtimes, on the CPU, with random weights.

Example:
    python -m benchmarks.served --batch_size=1 --batch_size=8 --rounds=7
    python -m benchmarks.served --batch_size=32 --allocator="kept memory" --only=bit_keras --only=timm

"bit_keras" is the signature serving_default of a SavedModel for TF Serving, with the environment variable that
`bit-export serving` sets for servers on CPUs; "variable not set" is without it. "batch split" runs a batch as TF
Serving does with its batching-cpu.config: four images in each of two threads. timm and transformers run in torch.
"unfolded Keras" is the network with `keras.layers.GroupNormalization` and weight standardization in the forward pass.
ONNX Runtime, LiteRT and OpenVINO run the folded network as converted by `bit_keras.edge.convert`. Needs the extras
edge, dev and benchmarks.
"""

import dataclasses
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from absl import flags

from benchmarks import contest, frame, networks

_HALF = contest.HALF
_OURS, _TIMM, _UNSET, _SPLIT = "bit_keras", "timm", "bit_keras, variable not set", "bit_keras, batch split"
CONTENDERS = (
    *(_OURS, _OURS + _HALF, _SPLIT, _SPLIT + _HALF, _UNSET, _UNSET + _HALF),
    *(_TIMM, _TIMM + _HALF, "timm compiled", "timm compiled" + _HALF),
    *("transformers", "unfolded Keras"),
    *("onnxruntime", "LiteRT", "openvino", "openvino" + _HALF),
)
_FROZEN = {"TF_ONEDNN_ASSUME_FROZEN_WEIGHTS": "1"}
_ENVIRONMENTS = {name + half: _FROZEN for name in (_OURS, _SPLIT) for half in ("", _HALF)}
_SPLIT_SIZE, _THREADS = (
    4,
    2,
)  # max_execution_batch_size and num_batch_threads of bit_keras/saved_models/server/batching-cpu.config

_CLASSES = 1000


def _define_flags() -> None:
    flags.DEFINE_string("contender", None, "Run as this contender; for the program itself.")
    flags.DEFINE_string("folder", None, "Folder of the exported networks; for the program itself.")
    flags.DEFINE_multi_enum("only", None, CONTENDERS, "Contenders, all by default.")
    flags.DEFINE_multi_integer("batch_size", [1, 8, 16, 32], "Images per call.", lower_bound=1)
    flags.DEFINE_integer("side", 224, "Side of the images in pixels.", lower_bound=1)
    flags.DEFINE_integer("rounds", 7, "Turns per contender.", lower_bound=1)
    contest.define_allocator_flag()


def main() -> None:
    if flags.FLAGS.contender:
        run(flags.FLAGS.contender)
        return
    names = flags.FLAGS.only or CONTENDERS
    print(contest.processor())
    with tempfile.TemporaryDirectory() as folder:
        macs = export(Path(folder), "R50x1", flags.FLAGS.side)
        for batch_size in flags.FLAGS.batch_size:
            settings = [f"--folder={folder}", f"--side={flags.FLAGS.side}", f"--batch_size={batch_size}"]
            running = [name for name in names if batch_size > _SPLIT_SIZE or not name.startswith(_SPLIT)]
            contenders = {name: _ENVIRONMENTS.get(name, {}) for name in (*running, *contest.GEMMS.values())}
            contests = contest.on_all_allocators(
                "benchmarks.served", contenders, flags.FLAGS.rounds, settings, flags.FLAGS.allocator
            )
            for allocator, seconds in contests:
                print(contest.table(seconds, allocator, batch_size, 2 * macs * batch_size, _TIMM))


def export(folder: Path, variant: str, side: int) -> int:
    """Writes the SavedModels and converted networks; returns the number of multiplications per image."""
    from bit_keras import BiT, export_saved_model
    from bit_keras.edge import convert
    from bit_keras.network.folding import folded

    model = BiT(variant, _CLASSES)
    head = model.get_layer("head")
    head.set_weights([np.random.default_rng(0).normal(0, 0.01, weight.shape) for weight in head.get_weights()])
    for precision in contest.GEMMS:
        export_saved_model(model, folder / precision, "serving", precision=precision)
    network = folded(model)
    images = np.zeros((1, side, side, 3), "float32")
    card = dataclasses.replace(model.card, resolution=side)
    convert.convert(network, card, images, folder, ["litert_float32", "onnx"])
    return networks.multiplications(network, side)


def run(name: str) -> None:
    """Runs as the named contender, in its own process."""
    if name.startswith(contest.GEMM):
        contest.multiply(name.removeprefix(contest.GEMM))
        return
    (batch_size,), side = flags.FLAGS.batch_size, flags.FLAGS.side
    images = np.random.default_rng(0).uniform(size=(batch_size, side, side, 3)).astype("float32")
    is_half = name.endswith(_HALF)
    makers = {
        **dict.fromkeys((_OURS, _UNSET), _served),
        _SPLIT: _split,
        _TIMM: lambda images, is_half: _torch(networks.timm(_CLASSES), images, is_half),
        "timm compiled": lambda images, is_half: _torch(networks.compiled(networks.timm(_CLASSES)), images, is_half),
        "transformers": lambda images, is_half: _torch(networks.transformers(_CLASSES), images, is_half),
        "unfolded Keras": _unfolded,
        "onnxruntime": _onnxruntime,
        "LiteRT": _litert,
        "openvino": _openvino,
    }
    step = makers[name.removesuffix(_HALF)](images, is_half)
    contest.take_turns(step, calls=3 if batch_size == 1 else 1, warm_up=3)


def _served(images: np.ndarray, is_half: bool) -> Callable:
    import tensorflow as tf

    run, images = _signature(is_half), tf.constant(images)
    return lambda: run(images)


def _split(images: np.ndarray, is_half: bool) -> Callable:
    import tensorflow as tf

    run, threads = _signature(is_half), ThreadPoolExecutor(_THREADS)
    slices = [tf.constant(images[start : start + _SPLIT_SIZE]) for start in range(0, len(images), _SPLIT_SIZE)]
    return lambda: list(threads.map(run, slices))


def _signature(is_half: bool) -> Callable:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(Path(flags.FLAGS.folder) / ("bfloat16" if is_half else "float32")))
    return lambda images: loaded.signatures["serving_default"](images=images)["logits"].numpy()


def _unfolded(images: np.ndarray, is_half: bool) -> Callable:
    import tensorflow as tf

    network = networks.unfolded(_CLASSES)
    call = tf.function(lambda images: network(2.0 * images - 1.0, training=False))
    images = tf.constant(images)
    return lambda: call(images).numpy()


def _torch(model, images: np.ndarray, is_half: bool) -> Callable:
    import torch

    model = model.eval().to(memory_format=torch.channels_last)
    images = torch.from_numpy(2 * images - 1).permute(0, 3, 1, 2)  # a view: in memory channels stay last

    def step():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=is_half):
            return model(images)

    return step


def _onnxruntime(images: np.ndarray, is_half: bool) -> Callable:
    from bit_keras.edge.run import load_onnx

    run, _ = load_onnx(str(Path(flags.FLAGS.folder) / "model.onnx"))
    return lambda: run(images)


def _litert(images: np.ndarray, is_half: bool) -> Callable:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(Path(flags.FLAGS.folder) / "float32.tflite"), num_threads=os.cpu_count())
    (inputs,), (outputs,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.resize_tensor_input(inputs["index"], images.shape)
    interpreter.allocate_tensors()

    def step():
        interpreter.set_tensor(inputs["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(outputs["index"])

    return step


def _openvino(images: np.ndarray, is_half: bool) -> Callable:
    import openvino

    core = openvino.Core()
    model = core.read_model(Path(flags.FLAGS.folder) / "model.onnx")
    model.reshape(list(images.shape))
    hints = {"INFERENCE_PRECISION_HINT": "bf16" if is_half else "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(model, "CPU", hints)
    return lambda: compiled(images)[0]


if __name__ == "__main__":
    _define_flags()
    frame.run(main, "contender")
