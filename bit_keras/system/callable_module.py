"""Packages that are called like a function, so that one name is both."""

import inspect
import sys
import types
from collections.abc import Callable


def make_callable(module: str, function: Callable) -> None:
    """Makes a call of the module call the function: `bit_keras.finetune` is both."""

    class CallableModule(types.ModuleType):
        __call__ = staticmethod(function)

    sys.modules[module].__class__ = CallableModule
    sys.modules[module].__signature__ = inspect.signature(function)  # for help() and notebooks
