"""Docstrings for Sphinx: what napoleon does not know of their form."""

import dataclasses
import inspect
import itertools
import re

from numpy.typing import ArrayLike
from sphinx.util.inspect import stringify_signature
from sphinx.util.nodes import make_refnode
from sphinx.util.typing import stringify_annotation

_ARRAY_LIKE = stringify_annotation(ArrayLike, "smart")
# In reStructuredText stars begin emphasis; napoleon escapes only those at the start of an entry.
_STARS = re.compile(r"([ (])(\*{1,2}(?:args|options|kwargs)\b)(?!:)")
# How addresses begin; else it becomes a link to nowhere.
_SCHEME = re.compile(r"(?<!`)\b(https?://)(?=[\s,;.)]|$)")
# Flags, such as --steps, whose hyphens would become a dash.
_FLAG, _AS_CODE = re.compile(r"--\w+"), r"``\g<0>``"
# Endings of files, such as `.keras`; the role for names would drop the dot.
_ENDING = re.compile(r"(?<!`)`(\.[^`]+)`(?!`)")
# "Input shape: [N, H, W, 3]" has its text in the same line, so it is no section of napoleon.
_LINE = re.compile(r"^((?:Input|Output) shape|Targets of `fit` and `evaluate`): ")


# The examples in it need Beam, which cannot be installed beside the site's packages; tests/bulk/test_beam.py runs them.
_NOT_RUN = "bit_keras.bulk.beam."


def setup(app) -> dict:
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # before napoleon
    app.connect("autodoc-process-signature", _typed)
    app.connect("missing-reference", _of_short_name)
    return {"parallel_read_safe": True}


def _typed(app, what, name, obj, options, signature, return_annotation):
    """Returns the signature with what Sphinx cannot know.

    For classes of Keras it is that of `__init__`, because their `__new__` takes anything. What numpy takes for an array
    is a union of ten types, and the default of a field that a function makes has no text.
    """
    if signature is None:
        return None
    if what == "class" and signature.startswith("(*args"):
        parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
        signature = stringify_signature(inspect.Signature(parameters), unqualified_typehints=True)
    signature = signature.replace(f"{_ARRAY_LIKE} | None", "ArrayLike | None").replace(_ARRAY_LIKE, "ArrayLike")
    return signature.replace("<factory>", "..."), return_annotation


def _of_short_name(app, env, node, content):
    """Returns the link of a name without its module, such as `choose_loader`, if the reference has only one such name.

    Words without "_" or a capital, such as `predict`, are left: they have several meanings.
    """
    target = node["reftarget"]
    if node.get("refdomain") != "py" or not re.search("[A-Z_]", target):
        return None
    kinds = ("class", "exception", "function")
    objects = env.domains.python_domain.objects
    found = [
        (name, entry)
        for name, entry in objects.items()
        if entry.objtype in kinds and not entry.aliased and name.endswith(f".{target}")
    ]
    if len(found) != 1:
        return None
    [(name, entry)] = found
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def _prepare(app, what, name, obj, options, lines: list[str]) -> None:
    prepared = []
    for line in lines:
        if _LINE.match(line):
            prepared.append("")
        prepared.append(_LINE.sub(lambda match: f"**{match[1].replace('`', '')}:** ", line))
    if what == "class" and dataclasses.is_dataclass(obj):
        attributes = [] if "Attributes:" in prepared else _settings(obj) or _attributes(obj)
        place = next((row for row, line in enumerate(prepared) if line in ("Raises:", "Example:")), len(prepared))
        prepared[place:place] = attributes
    if name.startswith(_NOT_RUN):
        prepared = _as_code(prepared)
    lines[:] = [line if line.lstrip().startswith((">>>", "...")) else _escaped(line) for line in prepared]


def _escaped(line: str) -> str:
    """Returns a line of text, not of an example, without what reStructuredText would take for its own."""
    return _ENDING.sub(r"``\1``", _SCHEME.sub(r"``\1``", _STARS.sub(r"\1\\\2", line)))


def _as_code(lines: list[str]) -> list[str]:
    """Returns a docstring whose examples, at its end, are only shown."""
    start = lines.index("Example:") + 1 if "Example:" in lines else len(lines)
    block = ["    .. code-block:: pycon", ""] if start < len(lines) else []
    return [*lines[:start], *block, *(f"    {line}" for line in lines[start:])]


def _attributes(record: type) -> list[str]:
    """Returns the section of the attributes of the nearest base class that has one."""
    for base in record.__mro__[1:]:
        _, title, text = inspect.cleandoc(base.__doc__ or "").partition("Attributes:\n")
        if title:
            lines = itertools.takewhile(lambda line: line.startswith("    "), text.split("\n"))
            return ["", "Attributes:", *lines, ""]
    return []


def _settings(config: type) -> list[str]:
    """Returns the section of the fields whose text is the help of a flag."""
    texts = {field.name: field.metadata.get("help") for field in dataclasses.fields(config)}
    known = [f"    {name}: {_FLAG.sub(_AS_CODE, text)}" for name, text in texts.items() if text]
    return ["", "Attributes:", *known, ""] if known else []
