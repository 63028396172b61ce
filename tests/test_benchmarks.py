"""Errors in the settings of the benchmarks; tests/system/test_command_line.py tries their `--help`."""

import pytest

from benchmarks import step_memory
from benchmarks.step_memory import parse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["startup", "--before=/nowhere"], "before must be the folder of a checkout, which holds bit_keras/, got"),
        (["step_memory", "--case=R50x1"], "case must be VARIANT,BATCH,SIDE and any of detector, remat"),
        (["step_memory", "--case=R1x1,8,32"], "R1x1"),
        (["data_memory", "--images=many"], "images must be integers, 1 or more, got 'many'"),
        (["load_memory", "--variant=R1x1"], "R1x1"),
        (["step_profile", "--variant=R1x1"], "R1x1"),
        (["convolutions", "--variant=R1x1"], "R1x1"),
        (["fit", "--variant=R1x1"], "R1x1"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(arguments, message, run_program):
    name, *settings = arguments
    done = run_program(f"benchmarks.{name}", *settings)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_flag_is_named(run_program):
    done = run_program("benchmarks.predict", "--image=3")
    assert done.returncode == 2
    assert done.stderr.startswith("unknown flag --image; did you mean images?")


def test_cases_of_step_memory():
    assert parse("R50x1,16,128,remat,accumulate=4") == {
        **{"variant": "R50x1", "batch_size": 16, "side": 128, "remat": True, "accumulate": 4}
    }
    for case in step_memory.flags.FLAGS["case"].default:
        assert parse(case)["batch_size"] >= 2
    for case in ("", "R50x1,0,32", "R50x1,8,32,remat=", "R50x1,8,32,fast", "R50x1,8,32,accumulate=0", "R50x1,8,x"):
        with pytest.raises(ValueError, match=r"case must be VARIANT,BATCH,SIDE"):
            parse(case)
