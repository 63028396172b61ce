import csv
import io
import json

from bit_keras.inference.prediction import Prediction
from bit_keras.predict import tables

ROWS = [
    Prediction("a.jpg", ("ant", "wren's nest"), (0.75, 0.25), (1, 0)),
    Prediction("größe ü.jpg", ('an "owl", white', "ant"), (0.999, 0.0001234567), (2, 1)),
    Prediction("a\nb\x1b[31m.jpg", error="no such file"),
]


def test_the_table_is_aligned_and_escapes_control_characters():
    assert tables.table(ROWS) == [
        "a.jpg              75.0% ant               25.0% wren's nest",
        'größe ü.jpg        99.9% an "owl", white    0.0% ant',
        r"a\nb\x1b[31m.jpg  error: no such file",
    ]
    assert tables.table([]) == []


def test_lines_of_json():
    first, _, last = (json.loads(tables.json_line(row)) for row in ROWS)
    assert first == {
        "file": "a.jpg",
        "predictions": [
            {"class": "ant", "probability": 0.75, "index": 1},
            {"class": "wren's nest", "probability": 0.25, "index": 0},
        ],
        "error": None,
    }
    assert last == {"file": "a\nb\x1b[31m.jpg", "predictions": [], "error": "no such file"}


def test_csv():
    file = io.StringIO(newline="")
    writer = tables.CsvWriter(file, top=2)
    for row in ROWS:
        writer.write(row)
    file.seek(0)
    header, *rows = csv.reader(file)
    assert header == ["file", "class_1", "class_2", "probability_1", "probability_2", "error"]
    assert rows == [
        ["a.jpg", "ant", "wren's nest", "0.75", "0.25", ""],
        ["größe ü.jpg", 'an "owl", white', "ant", "0.999", "0.000123457", ""],
        ["a\nb\x1b[31m.jpg", "", "", "", "", "no such file"],
    ]
