"""A series of runs that resumes where it was interrupted."""

import json
from collections.abc import Callable
from pathlib import Path

import keras

from bit_keras.runs.workdir import comparable
from bit_keras.system.files import write_json

_IDENTITY = "identity"


def recorded(record: Path, identity: dict, measure: Callable[[], dict]) -> dict:
    """Returns what one run of a series measured, now or in an earlier start.

    Args:
        record: the JSON file of the run, written when it ends.
        identity: everything that decides what is measured, JSON-able. A record of another identity is not used; see
            `workdir.comparable`.
        measure: does the run and returns what goes into the file; not called where the run has its record.
    """
    identity = json.loads(json.dumps(identity))  # as it will be read back
    content = _read(record)
    known = content.get(_IDENTITY)
    if not isinstance(known, dict) or comparable(known) != comparable(identity):
        content = {**measure(), _IDENTITY: identity}
        write_json(record, content)
        keras.backend.clear_session()
    return {name: value for name, value in content.items() if name != _IDENTITY}


def _read(record: Path) -> dict:
    """Returns what a record holds, nothing where there is none or it is damaged."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
