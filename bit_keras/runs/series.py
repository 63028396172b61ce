"""A series of runs that resumes where it was interrupted."""

import json
from collections.abc import Callable
from pathlib import Path

import keras

from bit_keras.runs.workdir import differences
from bit_keras.system.files import write_json

_IDENTITY = "identity"


def recorded(record: Path, identity: dict, measure: Callable[[], dict]) -> dict:
    """Returns the results of one run of a series, measured now or by an earlier start.

    Args:
        record: JSON file of the run, written when it is complete.
        identity: everything that affects the results, JSON-able. A record with a different identity is ignored; see
            `workdir.differences`.
        measure: does the run and returns its results; not called if they are recorded already.
    """
    content = _read(record)
    known = content.get(_IDENTITY)
    if not isinstance(known, dict) or differences(known, identity):
        content = {**measure(), _IDENTITY: identity}
        write_json(record, content)
        keras.backend.clear_session()
    return {name: value for name, value in content.items() if name != _IDENTITY}


def _read(record: Path) -> dict:
    """Returns the content of a record, {} if it is missing or damaged."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
