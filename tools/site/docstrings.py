"""Docstrings for Sphinx: what napoleon does not know of their form."""

import dataclasses
import inspect
import re

# In reStructuredText stars begin emphasis; napoleon escapes only those at the start of an entry.
_STARS = re.compile(r"([ (])(\*{1,2}(?:args|options|kwargs)\b)(?!:)")
# How addresses begin; else it becomes a link to nowhere.
_SCHEME = re.compile(r"(?<!`)\b(https?://)(?=[\s,;.)]|$)")
# Endings of files, such as `.keras`; the role for names would drop the dot.
_ENDING = re.compile(r"(?<!`)`(\.[^`]+)`(?!`)")
# "Input shape: [N, H, W, 3]" has its text in the same line, so it is no section of napoleon.
_LINE = re.compile(r"^((?:Input|Output) shape|Targets of `fit` and `evaluate`): ")


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _of_init)
    return {"parallel_read_safe": True}


def _of_init(app, what, name, obj, options, signature, return_annotation):
    """Returns the signature of `__init__` for classes of Keras, whose `__new__` takes anything."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
    return str(inspect.Signature([each.replace(annotation=each.empty) for each in parameters])), return_annotation


def _prepare(app, what, name, obj, options, lines: list[str]) -> None:
    prepared = []
    for line in lines:
        if _LINE.match(line):
            prepared.append("")
        prepared.append(_LINE.sub(lambda match: f"**{match[1].replace('`', '')}:** ", line))
    if what == "class" and dataclasses.is_dataclass(obj):
        prepared += _settings(obj)
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in prepared]


def _escaped(line: str) -> str:
    """Returns a line of text, not of an example, without what reStructuredText would take for its own."""
    return _ENDING.sub(r"``\1``", _SCHEME.sub(r"``\1``", _STARS.sub(r"\1\\\2", line)))


def _settings(config: type) -> list[str]:
    """Returns the section of the fields whose text is the help of a flag."""
    texts = {field.name: field.metadata.get("help") for field in dataclasses.fields(config)}
    known = [f"    {name}: {text}" for name, text in texts.items() if text]
    return ["", "Attributes:", *known] if known else []
