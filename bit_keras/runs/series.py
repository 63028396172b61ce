"""A series of runs that goes on where it was cut off."""

import json
from collections.abc import Callable
from pathlib import Path

import keras

from bit_keras.files import write_json


def recorded(record: Path, measure: Callable[[], dict]) -> dict:
    """Returns what one run of a series measured, now or in an earlier start.

    Args:
        record: the JSON file of the run, written when it ends.
        measure: does the run and returns what goes into the file; not called where the file is there.
    """
    if not record.is_file():
        write_json(record, measure())
        keras.backend.clear_session()
    return json.loads(record.read_text())
