"""Optional packages."""

import importlib


def is_installed(name: str) -> bool:
    """Tells whether a package can be imported. It is imported, because an installed package may still fail to load."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
