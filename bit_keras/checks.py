"""Checks of settings, whose messages name what is allowed."""

import difflib
from collections.abc import Collection, Iterable

# What other libraries call a setting of ours; the first name that a function or program has is proposed.
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
    """Raises ValueError unless a setting is one of those that are allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(filter(None, allowed))}; got {value!r}")


def check_names(function: str, names: Iterable[str], allowed: Collection[str]) -> None:
    """Raises TypeError, as Python does, for an argument that a function does not have; proposes the one that is meant.

    Args:
        function: its name.
        names: of the arguments that were given.
        allowed: names of those that it has.
    """
    for name in names:
        if name not in allowed:
            raise TypeError(f"{function}() has no argument {name!r}{did_you_mean(name, allowed)}")


def did_you_mean(name: str, allowed: Collection[str]) -> str:
    """Returns the end of a message about an unknown name, "" where no allowed one comes close.

    >>> did_you_mean("lr", ["steps", "base_lr"])
    '; did you mean base_lr?'
    """
    close = [known for known in _OTHER_NAMES.get(name, ()) if known in allowed]
    close = close or difflib.get_close_matches(name, allowed, n=1)
    return f"; did you mean {close[0]}?" if close else ""
