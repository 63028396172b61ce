import pytest

from bit_keras.runs.series import recorded

IDENTITY = {"model": "a.npz", "sizes": (1, 2)}


@pytest.fixture
def measure():
    def next_number():
        next_number.calls += 1
        return {"accuracy": next_number.calls}

    next_number.calls = 0
    return next_number


def test_a_run_is_measured_once(tmp_path, measure):
    for _ in range(2):
        assert recorded(tmp_path / "run" / "record.json", IDENTITY, measure) == {"accuracy": 1}


@pytest.mark.parametrize("other", [{**IDENTITY, "model": "b.npz"}, {**IDENTITY, "seed": 0}, {"model": "a.npz"}])
def test_the_record_of_another_run_is_not_used(tmp_path, measure, other):
    recorded(tmp_path / "record.json", other, measure)
    for _ in range(2):
        assert recorded(tmp_path / "record.json", IDENTITY, measure) == {"accuracy": 2}


@pytest.mark.parametrize("content", ["", "[]", '{"accuracy": 9}', '{"accuracy"'])
def test_a_record_that_is_damaged_or_tells_nothing_of_its_run_is_not_used(tmp_path, measure, content):
    (tmp_path / "record.json").write_text(content)
    assert recorded(tmp_path / "record.json", IDENTITY, measure) == {"accuracy": 1}
