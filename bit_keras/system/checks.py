"""Checks of arguments; their messages name the argument, the value received and what is allowed."""

import difflib
import functools
import inspect
import math
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from pathlib import PurePath

# {name in other libraries: our names for it}; the first one that a function or program has is suggested.
_OTHER_NAMES = {
    "augment": ("flip", "random_crop"),
    "augmentation": ("flip", "random_crop"),
    "data": ("dataset",),
    "dtype": ("precision",),
    "epochs": ("steps",),
    "gradient_accumulation": ("accumulate",),
    "gradient_accumulation_steps": ("accumulate",),
    "image_size": ("resolution",),
    "img_size": ("resolution",),
    "input_shape": ("resolution",),
    "learning_rate": ("base_lr",),
    "lr": ("base_lr",),
    "max_steps": ("steps",),
    "mixed_precision": ("precision",),
    "model_dir": ("workdir",),
    "num_epochs": ("epochs", "steps"),
    "num_steps": ("steps",),
    "num_train_epochs": ("epochs", "steps"),
    "out": ("output", "workdir"),
    "output_dir": ("output", "workdir"),
    "preset": ("model",),
    "save_dir": ("workdir", "output"),
    "strategy": ("distribute",),
    "train_steps": ("steps",),
    "weights": ("model",),
}


_LONGEST_PATH = 4096  # of a path, on Linux
_MOST = 2**31  # of a count: what libraries store in 32 bits


class WrongType(TypeError, ValueError):
    """An argument has the wrong type. Also a ValueError, which programs report without a traceback."""


def check_choice(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    """Raises ValueError unless the value of a setting is one of the allowed ones."""
    if not isinstance(value, str | None) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(filter(None, allowed))}; got {describe(value)}")


def check_names(
    function: str,
    names: Iterable[str],
    allowed: Collection[str],
    instead: Mapping[str, str] | None = None,
) -> None:
    """Checks the names of keyword arguments, and suggests the nearest one for an unknown name.

    Args:
        function: name of the function, for the message.
        names: names of the arguments that were given.
        allowed: names of the arguments that the function has.
        instead: {name: what to do instead}, for arguments that other libraries have and this function does not.

    Raises:
        TypeError: a name is unknown, as in Python.
    """
    for name in names:
        if name not in allowed:
            hint = f": {instead[name]}" if name in (instead or {}) else did_you_mean(name, allowed)
            raise TypeError(f"{function}() has no argument {name!r}{hint}")


def known_arguments(function: Callable | Iterable[str], unchecked: Collection[str] = ()) -> Callable:
    """Decorates a function, or the `__init__` of a class, so that it checks the names and types of its arguments.

    An unknown name raises TypeError with a suggestion. Where a parameter has an annotation, the value is converted by
    `check_kind`.

    Args:
        function: to decorate; or, for a decorator of a function with `**options`, the names of these.
        unchecked: names of arguments whose types the function checks itself.
    """
    if not callable(function):
        return functools.partial(_checked, options=tuple(function), unchecked=unchecked)
    if isinstance(function, type):
        function.__init__ = known_arguments(function.__init__)
        return function
    return _checked(function)


def checked_types(*unchecked: str) -> Callable:
    """As `known_arguments`, for a function that checks the names of its `**options` itself.

    Args:
        *unchecked: as in `known_arguments`.
    """
    return functools.partial(_checked, options=None, unchecked=unchecked)


def _checked(function: Callable, options: tuple[str, ...] | None = (), unchecked: Collection[str] = ()) -> Callable:
    """Returns a function that refuses arguments which are no parameters of its own and none of `options`, if given."""
    name = function.__qualname__.removesuffix(".__init__")
    signature = inspect.signature(function)
    parameters = signature.parameters.values()
    named = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    kinds = {parameter.name: parameter.annotation for parameter in named if parameter.name not in unchecked}
    kinds = {argument: kind for argument, kind in kinds.items() if kind is not inspect.Parameter.empty}

    @functools.wraps(function)
    def checked(*args, **kwargs):
        if options is not None:
            check_names(name, kwargs, [*(parameter.name for parameter in named), *options])
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return function(*args, **kwargs)  # raises Python's own message, which names the function
        for argument in bound.arguments.keys() & kinds.keys():
            bound.arguments[argument] = check_kind(argument, bound.arguments[argument], kinds[argument])
        return function(*bound.args, **bound.kwargs)

    return checked


def check_integer(name: str, value, minimum: int = 1) -> int:
    """Returns a setting as an int; raises ValueError unless it is an integer and at least `minimum`."""
    if not _is_integer(value):
        raise WrongType(f"{name} must be an integer, {minimum} or more, got {describe(value)}")
    if value < minimum:
        raise ValueError(f"{name} must be {minimum} or more, got {value}")
    if value >= _MOST:
        raise ValueError(f"{name} must be less than 2**31, got {describe(value)}")
    return int(value)


def check_name_or_path(name: str, value, allowed: str) -> str:
    """Returns a name or path as a string; raises TypeError, which states what is `allowed`, for any other type."""
    if not _is_text(value):
        raise WrongType(f"{name} must be {allowed}; got {describe(value)}")
    return os.fspath(value)


def check_kind(name: str, value, annotation):
    """Returns a setting converted to the type of its annotation, for example `int | None` or `Sequence[str]`.

    Integers are accepted as floats, paths as strings, lists as tuples and NumPy's numbers as Python's; a bool is not
    accepted as a number. Annotations without a type that could be checked, such as `Iterable`, accept everything.

    Raises:
        TypeError: the value is of another type. It is also a ValueError.
        ValueError: the value is a float that is NaN or infinite, or a blank or endless path.
    """
    kinds = typing.get_args(annotation) if isinstance(annotation, types.UnionType) else (annotation,)
    may_be_none, kinds = types.NoneType in kinds, [kind for kind in kinds if kind is not types.NoneType]
    if value is None and may_be_none:
        return None
    if not all(map(_is_checked, kinds)):
        return value
    for kind in kinds:
        if typing.get_origin(kind) in _SEVERAL:
            if _is_sequence(value):
                return _check_each(name, value, kind)
        elif _is_kind(value, kind):
            value = _converted(name, value, kind)
            if os.PathLike in kinds and isinstance(value, str):
                _check_path(name, value)
            return value
    allowed = " or ".join(dict.fromkeys([*map(_called, kinds), *["None"] * may_be_none]))
    # A network in place of its name
    hint = "; bit_keras.save_npz writes a BiT to a file" if str in kinds and hasattr(value, "get_weights") else ""
    raise WrongType(f"{name} must be {allowed}; got {describe(value)}{hint}")


_SEVERAL = (tuple, Sequence)


def _is_checked(kind) -> bool:
    if typing.get_origin(kind) in _SEVERAL or isinstance(kind, types.UnionType):
        return all(map(_is_checked, (item for item in typing.get_args(kind) if item is not Ellipsis)))
    return isinstance(kind, type) and not getattr(kind, "_is_protocol", False) and kind.__module__ != "collections.abc"


def _is_kind(value, kind: type) -> bool:
    return _IS[kind](value) if kind in _IS else isinstance(value, kind)


def _check_path(name: str, value: str) -> None:
    """Raises ValueError unless a name or path can be that of a file."""
    if not value.strip() or "\0" in value:
        raise ValueError(f"{name} must be given, as a name or path, got {describe(value)}")
    if len(value) > _LONGEST_PATH:
        raise ValueError(f"{name} must have at most {_LONGEST_PATH:,} characters, got {len(value):,}")


def _converted(name: str, value, kind: type):
    if kind is str:
        return os.fspath(value)
    if kind not in (bool, int, float):
        return value
    try:
        value = kind(value)
    except OverflowError:  # an integer of hundreds of digits
        value = math.inf
    if kind is int and abs(value) >= 2**63:
        raise ValueError(f"{name} must be an integer of 64 bits, got {describe(value)}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")
    return value


def _check_each(name: str, values, kind):
    """Returns a sequence with checked items: a tuple of fixed length for `tuple[int, int]`, a list for `Sequence`."""
    items, values = typing.get_args(kind), list(values)
    if typing.get_origin(kind) is tuple and items[-1] is not Ellipsis:
        if len(values) != len(items):
            raise ValueError(f"{name} must be {_called(kind)}; got {describe(values)}")
    else:
        items = items[:1] * len(values)
    checked = [check_kind(f"{name}[{index}]", *pair) for index, pair in enumerate(zip(values, items))]
    return tuple(checked) if typing.get_origin(kind) is tuple else checked


def _is_sequence(value) -> bool:
    is_other = isinstance(value, str | bytes | os.PathLike | Mapping | Set)
    return not is_other and (isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1)


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_text(value) -> bool:
    return isinstance(value, str) or (isinstance(value, os.PathLike) and isinstance(os.fspath(value), str))


def _is_bool(value) -> bool:
    is_of_numpy = getattr(value, "shape", None) == () and str(getattr(value, "dtype", None)) == "bool"
    return isinstance(value, bool) or is_of_numpy


_IS = {
    bool: _is_bool,
    int: _is_integer,
    float: lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    str: _is_text,
}
_CALLED = {bool: "True or False", int: "an integer", float: "a number", str: "a string", os.PathLike: "a path"}
_PLURAL = {int: "integers", float: "numbers", str: "strings", str | os.PathLike: "names or paths"}
_LONGEST = 80  # characters of a value in a message


def _called(kind) -> str:
    """Returns what a message calls the values of a type."""
    if typing.get_origin(kind) not in _SEVERAL:
        return _CALLED.get(kind) or f"a {kind.__module__.partition('.')[0]}.{kind.__name__}"
    items = typing.get_args(kind)
    number = f"{len(items)} " if typing.get_origin(kind) is tuple and items[-1] is not Ellipsis else ""
    return f"a list of {number}{_PLURAL.get(items[0], 'values')}"


def describe(value) -> str:
    """Returns the value itself for a message if it is short, and else its beginning or its type."""
    is_short = isinstance(value, tuple | list | dict | set) and len(value) <= 8
    if isinstance(value, str | numbers.Number | None | bytes | PurePath) or is_short:
        try:
            text = repr(value)
        except ValueError:  # an integer of thousands of digits
            text = ""
        if 0 < len(text) <= _LONGEST:
            return text
        if isinstance(value, str):
            return f"{text[:_LONGEST]}..."
    return f"a value of type {type(value).__name__}"


def did_you_mean(name: str, allowed: Collection[str]) -> str:
    """Returns the end of a message about an unknown name, "" if no allowed name is similar.

    >>> did_you_mean("lr", ["steps", "base_lr"])
    '; did you mean base_lr?'
    """
    close = [known for known in _OTHER_NAMES.get(name, ()) if known in allowed]
    close = close or difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""
