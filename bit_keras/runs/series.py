"""A series of runs that resumes where it was interrupted."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

from bit_keras.data import Source
from bit_keras.runs.config import DATA_OPTIONS
from bit_keras.runs.workdir import PLACES, differences
from bit_keras.system.checks import WrongType, check_kind, describe
from bit_keras.system.files import write_json

_IDENTITY = "identity"
# Settings of fine-tuning that a series chooses itself.
SET_BY_SERIES = (
    *("model", "variant", "dataset", "workdir", "validation"),
    *("examples_per_class", "seed", "new_head", "export_dir"),
)


# Options that earlier versions did not have, with their defaults.
_NOT_RECORDED = (("fit", "squash"), ("small_batch", False))


def effective(options: dict) -> dict:
    """Returns the options that affect the results; newer ones, and those on data, only if given, as in old records."""
    return {
        name: value
        for name, value in options.items()
        if (name, value) not in _NOT_RECORDED and (name not in DATA_OPTIONS or (value and name not in PLACES))
    }


def identity_of(run, weights: str | None, source: Source, options: dict) -> dict:
    """Returns everything that affects the result of a run.

    Args:
        run: a dataclass.
        weights: `config.fingerprint` of its model.
        source: its data.
        options: `effective` ones of the series.
    """
    return {
        **dataclasses.asdict(run),
        "weights": weights,
        "data": source.describe(),
        "options": options,
        "backend": keras.backend.backend(),
    }


def recorded(record: Path, identity: dict, measure: Callable[[], dict]) -> dict:
    """Returns the results of one run of a series, measured now or by an earlier start.

    Args:
        record: JSON file of the run, written when it is complete.
        identity: everything that affects the results, JSON-able. A record with a different identity is ignored; see
            `workdir.differences`.
        measure: does the run and returns its results; not called if they are recorded already.
    """
    if (known := known_results(record, identity)) is not None:
        return known
    results = measure()
    known = known_results(record, identity)  # of a process that was faster: the first ones stay
    if known is None:
        write_json(record, {**results, _IDENTITY: identity})
    keras.backend.clear_session()
    return results if known is None else known


def known_results(record: Path, identity: dict) -> dict | None:
    """Returns the recorded results of a run, None if there are none; arguments as in `recorded`."""
    content = read_record(record)
    known = content.pop(_IDENTITY, None)
    return None if not isinstance(known, dict) or differences(known, identity) else content


def read_record(record: Path) -> dict:
    """Returns the content of a record, {} if it is missing or damaged."""
    try:
        content = json.loads(record.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def each_once(argument: str, values: Sequence, kind: type) -> list:
    """Returns the distinct values of a list, each of which must be of a kind."""
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray) or not len(values):
        raise WrongType(f"{argument} must be a list of one or more, got {describe(values)}")
    values = [check_kind(argument, value, kind) for value in values]
    return [value for number, value in enumerate(values) if value not in values[:number]]


def cell_name(fields: Sequence, identity: dict) -> str:
    """Returns the name of a run's folder: a readable prefix, then a hash of the identity that makes it unique."""
    readable = re.sub(r"[^\w.-]+", "_", "-".join(str(field)[:40] for field in fields))
    return f"{readable}-{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]}"
