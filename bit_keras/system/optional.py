"""Optional packages, and the extras of this package that install them."""

import importlib
import importlib.util

# {module: extra of setup.cfg that installs it}; tests/test_setup.py compares it with setup.cfg.
EXTRAS = {
    "ai_edge_litert": "edge",
    "apache_beam": "beam",
    "fsspec": "ray",
    "array_record": "tfds",
    "grain": "grain",
    "huggingface_hub": "huggingface",
    "jax": "jax",
    "kagglehub": "kaggle",
    "onnx": "edge",
    "onnxruntime": "edge",
    "pillow_heif": "heif",
    "pyarrow": "ray",
    "pycocotools": "detection",
    "ray": "ray",
    "safetensors": "safetensors",
    "sklearn": "few-shot",
    "tensorboard": "tensorflow",
    "tensorflow": "tensorflow",
    "tensorflow_datasets": "tfds",
    "tensorflow_serving": "serving",
    "tf2onnx": "edge",
    "torch": "torch",
}


def is_installed(name: str) -> bool:
    """Tells whether a package can be imported. It is imported, because an installed package may still fail to load."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def require(user: str, *names: str) -> None:
    """Checks that optional packages are installed, without importing them.

    Args:
        user: what needs them, the beginning of the message.
        *names: modules, keys of `EXTRAS`.

    Raises:
        ImportError: one is not installed. The message names the extra that installs it.
    """
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise ImportError(
                f"{user} needs the package {name}, which is not installed: {install_command(name)}", name=name
            )


def install_command(name: str) -> str:
    """Returns the command that installs a module of `EXTRAS`."""
    return f"pip install 'bit-keras[{EXTRAS[name]}]'"
