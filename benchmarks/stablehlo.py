"""What a step consists of when jax has lowered it for a device that this machine need not have."""

import collections
import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping

import keras

PLATFORMS = ("cuda", "tpu")
SHORT = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}  # StableHLO's names
NUM_CLASSES = 1000
_TYPES = re.compile(r"\((tensor<[^)]*)\) -> ")


@dataclasses.dataclass(frozen=True)
class Lowered:
    """What a step consists of in StableHLO, the input of XLA.

    Attributes:
        operations: number of operations.
        convolutions: {type of the inputs: number of convolutions}, gradients among them; types such as "bf16".
        products: {type of the inputs: number of matrix products}.
        custom_calls: names of what is not an operation of StableHLO: kernels of a library, or functions of this
            process, which no other device can call.
    """

    operations: int
    convolutions: Mapping[str, int]
    products: Mapping[str, int]
    custom_calls: frozenset[str]


def lower(platform: str, step: Callable, *arguments) -> Lowered:
    """Lowers a pure function for a platform that this machine need not have.

    Args:
        platform: "cpu", "cuda" or "tpu".
        step: to compile with `jax.jit`.
        *arguments: of the function; nested `jax.ShapeDtypeStruct`.

    Raises:
        ValueError, NotImplementedError: the platform lacks an operation, or the function calls this process.
    """
    import jax

    from bit_keras.network import execution

    compiled = jax.jit(lambda *arguments: step(*arguments))  # a new function, which jax has not traced for a CPU
    with execution.choose("as on CPUs" if platform == "cpu" else "plain"):
        text = jax.export.export(compiled, platforms=(platform,))(*arguments).mlir_module()
    lines = [line for line in text.splitlines() if " = " in line and ("stablehlo." in line or "chlo." in line)]
    return Lowered(
        len(lines),
        _by_type(line for line in lines if "stablehlo.convolution" in line),
        _by_type(line for line in lines if "stablehlo.dot_general" in line),
        frozenset(name for line in lines for name in re.findall(r"stablehlo\.custom_call @(\S+?)\(", line)),
    )


def _by_type(lines: Iterable[str]) -> dict[str, int]:
    inputs = (re.findall(r"(\w+)>", _TYPES.search(line).group(1)) for line in lines)
    return dict(collections.Counter("+".join(sorted({kind.rpartition("x")[2] for kind in pair})) for pair in inputs))


def training_step(model: keras.Model, batch_size: int, side: int) -> tuple:
    """Returns the training step of a compiled classifier and its two arguments, for `lower`."""
    images, labels = (batch_size, side, side, 3), (batch_size, model.output_shape[-1])
    batch = tuple(_abstract(shape, "float32") for shape in (images, labels))
    model._symbolic_build(data_batch=batch)  # as `fit` does: optimizer and metrics
    variables = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )
    return model.train_step, _abstract_all(*variables), batch


def prediction_step(model: keras.Model, batch_size: int, side: int) -> tuple:
    """Returns the prediction step of a model and its two arguments, for `lower`."""
    state = _abstract_all(model.trainable_variables, model.non_trainable_variables)
    return model.predict_step, state, (_abstract((batch_size, side, side, 3), "float32"),)


def _abstract(shape, dtype: str):
    import jax

    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def _abstract_all(*groups) -> tuple:
    return tuple([_abstract(variable.shape, variable.dtype) for variable in group] for group in groups)


def abstract_network(variant: str, precision: str, **options) -> keras.Model:
    """Returns a BiT, compiled as for fine-tuning, whose weights have shapes but no values; `options` are of BiT."""
    from bit_keras import BiT, HyperRule

    optimizer = HyperRule(1_281_167, (224, 224)).optimizer()
    with keras.StatelessScope(initialize_variables=False):
        model = BiT(variant, NUM_CLASSES, dtype=precision, **options)
        optimizer.build(model.trainable_variables)
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    return model
