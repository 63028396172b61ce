"""Names of models and data sets as tables, pictures and folders show them."""

from collections.abc import Callable, Sequence
from pathlib import PurePath

from bit_keras.zoo.evaluation_sets import EVALUATION_SETS, find_set
from bit_keras.zoo.presets import PRESETS
from bit_keras.zoo.tasks import TASKS
from bit_keras.zoo.variants import VARIANTS


def display_names(names: Sequence[str], write: Callable[[str], str] = str) -> dict[str, str]:
    """Returns {name: name to show}; of a path only as much of its end as distinguishes it from the other names.

    Args:
        names: of models or data sets.
        write: how names are written, to a picture or a table.
    """
    forms = {name: _forms(name) for name in dict.fromkeys(names)}
    return {name: write(next(form for form in forms[name] if _is_unique(form, name, forms))) for name in forms}


def stem(name: str) -> str:
    """Returns a path without folder and suffix, an evaluation set without its path; other names unchanged."""
    row, path = find_set(name)
    if path:
        return row.name
    is_version = PurePath(name).suffix[1:].isdigit()  # "cifar10:3.0.2"
    return name if _is_known(name) or is_version else PurePath(name).stem


def _is_known(name: str) -> bool:
    return name in PRESETS or name in VARIANTS or name in TASKS or name in EVALUATION_SETS


def _is_unique(form: str, name: str, forms: dict[str, list[str]]) -> bool:
    """Returns whether a form of a name is the full name, or is not a form of any other name."""
    return form == forms[name][-1] or not any(form in forms[other] for other in forms if other != name)


def _forms(name: str) -> list[str]:
    """Returns the ways to write a name, from the shortest to the full one."""
    if name in VARIANTS:
        return [f"random {name}"]
    if _is_known(name):
        return [name]
    if find_set(name)[1]:
        return [stem(name), name]
    parts = PurePath(name).parts
    return [stem(name), *("/".join(parts[-count:]) for count in range(1, len(parts))), name]
