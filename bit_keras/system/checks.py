"""Checks of arguments; their messages name the argument, the value received and what is allowed."""

import difflib
import functools
import inspect
import math
import numbers
import os
import typing
from collections.abc import Callable, Collection, Iterable, Mapping

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


def check_choice(name: str, value: str | None, allowed: tuple[str | None, ...]) -> None:
    """Raises ValueError unless the value of a setting is one of the allowed ones."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(filter(None, allowed))}; got {value!r}")


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


def known_arguments(function: Callable | Iterable[str]) -> Callable:
    """Decorates a function, or the `__init__` of a class: an unknown argument raises TypeError with a suggestion.

    Args:
        function: to decorate; or, for a decorator of a function with `**options`, the names of these.
    """
    if not callable(function):
        return functools.partial(_checked, options=tuple(function))
    if isinstance(function, type):
        function.__init__ = known_arguments(function.__init__)
        return function
    return _checked(function)


def _checked(function: Callable, options: tuple[str, ...] = ()) -> Callable:
    """Returns a function that refuses arguments which are no parameters of its own and none of `options`."""
    name = function.__qualname__.removesuffix(".__init__")
    parameters = inspect.signature(function).parameters.values()
    allowed = [*(p.name for p in parameters if p.kind is not p.VAR_KEYWORD), *options]

    @functools.wraps(function)
    def checked(*args, **kwargs):
        check_names(name, kwargs, allowed)
        return function(*args, **kwargs)

    return checked


def check_integer(name: str, value, minimum: int = 1) -> int:
    """Returns a setting as an int; raises ValueError unless it is an integer and at least `minimum`."""
    if not _is_integer(value):
        raise ValueError(f"{name} must be an integer, {minimum} or more, got {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be {minimum} or more, got {value}")
    return int(value)


def check_name_or_path(name: str, value, allowed: str) -> str:
    """Returns a name or path as a string; raises TypeError, which states what is `allowed`, for any other type."""
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be {allowed}; got {_describe(value)}")
    return os.fspath(value)


def check_kind(name: str, value, annotation):
    """Returns a setting converted to the type of its annotation, for example `int | None`.

    Integers are accepted as floats, paths as strings and NumPy's numbers as Python's; a bool is not accepted as a
    number.

    Raises:
        TypeError: the value is of another type.
        ValueError: the value is a float that is NaN or infinite.
    """
    kinds = typing.get_args(annotation) or (annotation,)
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        if kind in _IS and _IS[kind](value):
            value = os.fspath(value) if kind is str else kind(value)
            if kind is float and not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
            return value
    allowed = " or ".join("None" if kind is type(None) else _CALLED[kind] for kind in kinds)
    raise TypeError(f"{name} must be {allowed}; got {_describe(value)}")


def _is_integer(value) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


_IS = {
    bool: lambda value: isinstance(value, bool),
    int: _is_integer,
    float: lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    str: lambda value: isinstance(value, str | os.PathLike),
}
_CALLED = {bool: "True or False", int: "an integer", float: "a number", str: "a string"}


def _describe(value) -> str:
    """Returns the value itself for a message if it is short, and else its type."""
    return repr(value) if isinstance(value, str | numbers.Number | None) else f"a value of type {type(value).__name__}"


def did_you_mean(name: str, allowed: Collection[str]) -> str:
    """Returns the end of a message about an unknown name, "" if no allowed name is similar.

    >>> did_you_mean("lr", ["steps", "base_lr"])
    '; did you mean base_lr?'
    """
    close = [known for known in _OTHER_NAMES.get(name, ()) if known in allowed]
    close = close or difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""
