"""Strict assignment of a weight file's arrays to a model, and its inverse."""

from collections.abc import Collection, Iterable, Mapping

import keras
import ml_dtypes
import numpy as np

from bit_keras.checkpoints import names
from bit_keras.checkpoints.checks import CheckpointError
from bit_keras.checkpoints.readers.npz import NpzArrays

_HEAD_KERNEL = names.weight_key(names.HEAD_PATH, "kernel")


def apply_weights(model: keras.Model, arrays: Mapping[str, np.ndarray], skip_head: bool = False) -> None:
    """Assigns arrays under official keys to all weights of a BiT model.

    Everything is checked before the first assignment, so an error leaves the model unchanged.

    Args:
        model: a bit_keras.BiT.
        arrays: {official key: array of finite floats}.
        skip_head: True leaves the model's head unchanged and ignores that in `arrays`.

    Raises:
        CheckpointError: entries are missing, unused or of the wrong shape. The message lists them all: "-" for
            entries that only the model has, "+" for entries that only the file has, "!" for shapes that differ. Or a
            number is too large for the data type of the model.
        ValueError: the head of the model has LoRA or is quantized.

    Example:
        >>> from bit_keras.checkpoints import apply_weights, locate, read_weights
        >>> arrays = read_weights(locate("BiT-mini-R17x0.5")[0])
        >>> apply_weights(bit_keras.BiT("R17x0.5", num_classes=10), arrays, skip_head=True)
    """
    if skip_head:
        left_out = {key for key in arrays if names.is_head(key)}
    else:
        left_out = set()
        _check_plain(model, lora=False)
    what = f"{model.variant_name} with {model.num_classes} classes"
    assign(_official_variables(model, skip_head), arrays, what, left_out)


def assign(
    variables: Mapping[str, keras.Variable],
    arrays: Mapping[str, np.ndarray],
    what: str,
    left_out: Collection[str] = (),
) -> None:
    """Assigns arrays to the variables of the same keys; see `apply_weights`.

    Args:
        variables: {official key: variable} of a network.
        arrays: {official key: array of finite floats}.
        what: the network, for the message.
        left_out: keys of arrays to ignore.

    Raises:
        CheckpointError: as in `apply_weights`; no variable has changed then.

    Example:
        >>> from bit_keras.checkpoints import assign
        >>> head = keras.layers.Dense(2)
        >>> head.build((None, 3))
        >>> arrays = {"kernel": np.ones((3, 2), "float32"), "bias": np.zeros(2, "float32")}
        >>> assign({"kernel": head.kernel, "bias": head.bias}, arrays, "my head")
    """
    shapes = {key: shape for key, shape in shapes_of(arrays).items() if key not in left_out}
    needed = {key: _official_shape(key, variable) for key, variable in variables.items()}
    faults = [f"- {key} {shape}" for key, shape in needed.items() if key not in shapes]
    faults += [f"+ {key} {shape}" for key, shape in shapes.items() if key not in needed]
    faults += [
        f"! {key} is {shapes[key]}, must be {shape}"
        for key, shape in needed.items()
        if key in shapes and shapes[key] != shape
    ]
    if faults:
        raise CheckpointError(
            f"the weights do not fit {what} (- missing, + unused, ! misshapen):\n" + "\n".join(faults)
        )
    _check_range(variables, arrays)
    for key, variable in variables.items():
        variable.assign(arrays[key].reshape(variable.shape))


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Returns {official key: shape}, without reading arrays from an npz file.

    Args:
        arrays: {official key: array}, for example of `read_weights`.

    Example:
        >>> from bit_keras.checkpoints import shapes_of
        >>> shapes_of({"resnet/head/conv2d/bias": np.zeros(10)})
        {'resnet/head/conv2d/bias': (10,)}
    """
    if isinstance(arrays, NpzArrays):
        return arrays.shapes
    return {key: array.shape for key, array in arrays.items()}


def dtypes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, np.dtype]:
    """Returns {official key: data type}, without reading arrays from an npz file."""
    if isinstance(arrays, NpzArrays):
        return arrays.dtypes
    return {key: array.dtype for key, array in arrays.items()}


def collect_weights(model: keras.Model) -> dict[str, np.ndarray]:
    """Returns {official key: array in its official shape} of a bit_keras.BiT, the inverse of `apply_weights`.

    LoRA is merged into the kernel of the head. Half-precision weights are returned as float32, because npz files do not
    support bfloat16.

    Args:
        model: a bit_keras.BiT, which is not changed.

    Raises:
        ValueError: a weight is NaN or infinite, or the head is quantized.

    Example:
        >>> from bit_keras.checkpoints import collect_weights
        >>> arrays = collect_weights(bit_keras.BiT("R17x0.5", num_classes=10))
        >>> arrays["resnet/head/conv2d/kernel"].shape, len(arrays)
        ((1, 1, 1024, 10), 54)
    """
    _check_plain(model, lora=True)
    values = _official_variables(model)
    values[_HEAD_KERNEL] = model.get_layer(names.HEAD).kernel  # with LoRA, if it has that
    return collect(values)


def collect(values: Mapping) -> dict[str, np.ndarray]:
    """Returns {official key: array in its official shape} of {official key: variable or tensor}.

    Args:
        values: floats of any precision; half precision becomes float32. The kernel of the head, [C, K], becomes
            [1, 1, C, K].

    Raises:
        ValueError: a weight is NaN or infinite.

    Example:
        >>> from bit_keras.checkpoints import collect
        >>> collect({"bias": keras.Variable([0.5, 1.0], dtype="bfloat16")})
        {'bias': array([0.5, 1. ], dtype=float32)}
    """
    arrays = {}
    for key, value in values.items():
        dtype = keras.backend.result_type(keras.backend.standardize_dtype(value.dtype), "float32")
        value = keras.ops.cast(value, dtype)
        array = keras.ops.convert_to_numpy(value).reshape(_official_shape(key, value))
        if not np.isfinite(array).all():
            raise ValueError(f"weights to write must be finite, got NaN or infinity in {key}: the training diverged?")
        arrays[key] = array
    return arrays


def named_variables(network: keras.Model, paths: Iterable[str]) -> dict[str, keras.Variable]:
    """Returns {official key: variable} of the layers of a network at official paths.

    Args:
        network: a backbone or a detector.
        paths: of layers in the official files, without "resnet/".

    Raises:
        ValueError: the network has no such layer.

    Example:
        >>> from bit_keras.checkpoints import named_variables
        >>> backbone = bit_keras.BiT("R17x0.5", num_classes=10).backbone
        >>> variables = named_variables(backbone, ["root_block/standardized_conv2d"])
        >>> {key: tuple(variable.shape) for key, variable in variables.items()}
        {'resnet/root_block/standardized_conv2d/kernel': (7, 7, 3, 32)}
    """
    layers = {path: network.get_layer(names.layer_name(path)) for path in paths}
    return {names.weight_key(path, weight.name): weight for path, layer in layers.items() for weight in layer.weights}


def _check_plain(model: keras.Model, lora: bool) -> None:
    """Raises ValueError unless the head has float weights: no quantized ones, and LoRA only if that is allowed."""
    head = model.get_layer(names.HEAD)
    if head.quantization_mode is not None:
        raise ValueError(
            f"weight files hold floats, but the head of the model is quantized to {head.quantization_mode}: write or "
            'load its weights before quantize(); model.save("model.keras") keeps a quantized network'
        )
    if head.lora_enabled and not lora:
        raise ValueError("the head of the model has LoRA: load weights before enable_lora(), or with skip_head=True")


def _check_range(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Raises CheckpointError if a finite number of a file becomes infinite in the data type of its variable."""
    types = dtypes_of(arrays)
    for key, variable in variables.items():
        if _largest(types[key]) <= _largest(variable.dtype):
            continue  # not read: each access to a file's array reads it again
        largest = np.abs(arrays[key]).max(initial=0)
        with np.errstate(over="ignore"):
            is_finite = np.isfinite(largest.astype(variable.dtype))
        if not is_finite:
            raise CheckpointError(f"{key} holds {largest:.3g}, which is too large for the model's {variable.dtype}")


def _largest(dtype) -> float:
    return float(ml_dtypes.finfo(dtype).max)


def _official_variables(model: keras.Model, skip_head: bool = False) -> dict[str, keras.Variable]:
    variables = named_variables(model.backbone, names.backbone_paths(model.variant))
    if not skip_head:
        weights = {weight.name: weight for weight in model.get_layer(names.HEAD).weights}
        variables |= {names.weight_key(names.HEAD_PATH, name): weights[name] for name in ("kernel", "bias")}
    return variables


def _official_shape(key: str, variable) -> tuple[int, ...]:
    """Returns the shape in the file, where the head's dense kernel [C, K] is a 1x1 convolution [1, 1, C, K]."""
    is_dense = names.is_head(key) and len(variable.shape) == 2
    return (1, 1, *variable.shape) if is_dense else tuple(variable.shape)
