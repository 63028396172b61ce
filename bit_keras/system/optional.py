"""Packages that need not be installed."""

import importlib


def is_installed(name: str) -> bool:
    """Returns whether a package can be imported; imports it, since a package that is found may still fail to load."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
