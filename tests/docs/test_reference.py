"""The reference: which names it has, and what their docstrings say."""

import dataclasses
import importlib
import inspect

import pytest

from tools import reference

SHOWN = {pair: page for page in reference.PAGES.values() for pair in reference.names(page)}


@pytest.mark.parametrize(
    "package",
    [f"bit_keras{name}" for name in ("", ".checkpoints", ".data", ".detection", ".distribution", ".metrics", ".rules")]
    + ["bit_keras.detection.export", "bit_keras.detection.inference", "bit_keras.finetune", "bit_keras.predict"]
    + ["bit_keras.training"],
)
def test_every_public_name_is_in_the_reference(package):
    shown = [reference.value_of(*pair) for pair in SHOWN]
    for name in importlib.import_module(package).__all__:
        assert any(reference.value_of(package, name) is value for value in shown), name


def test_no_name_is_shown_twice():
    values = [value for pair in SHOWN if callable(value := reference.value_of(*pair))]
    assert len(values) == len(set(values))


@pytest.mark.parametrize(("module", "name"), SHOWN, ids=map(".".join, SHOWN))
def test_docstrings(module, name):
    value = reference.value_of(module, name)
    if not callable(value):
        return
    text = inspect.getdoc(value)
    assert text
    assert "\nExample:\n    >>> " in text
    if dataclasses.is_dataclass(value):
        described = "".join(base.__doc__ or "" for base in value.__mro__)
        fields = [field.name for field in dataclasses.fields(value) if not field.metadata.get("help")]
        assert not [name for name in fields if f"{name}:" not in described and f"{name}," not in described]
    if not isinstance(value, type):
        described = text.partition("Args:")[2] if "Args:" in text else text
        required = [
            parameter.name
            for parameter in inspect.signature(value).parameters.values()
            if parameter.kind is not parameter.VAR_KEYWORD
        ]
        if len(required) > 2:
            assert not [name for name in required if name not in described], "arguments are described"
