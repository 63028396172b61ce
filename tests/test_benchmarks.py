"""Errors in the settings of the benchmarks; tests/system/test_command_line.py tries their `--help`."""

import subprocess
import time

import pytest
from PIL import Image

from benchmarks import end_to_end, served, stamps, step_memory, user_scripts
from benchmarks.step_memory import parse


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["startup", "--before=/nowhere"], "before must be the folder of a checkout, which holds bit_keras/, got"),
        (["end_to_end"], "images must be a path, of something to read or to make"),
        (["end_to_end", "--images=a", "--weights=b", "--official=/nowhere"], "official must be a checkout that holds"),
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


def test_networks_to_serve_are_written(tiny, check_here, tmp_path):
    with check_here():
        products = served.export(tmp_path, "tiny", 32)
    assert products > 1e6
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"float32", "bfloat16", "float32.tflite", "model.onnx"}


def test_what_a_user_waits_for_is_added_up_by_phase():
    ours = [{"imports": [4.0, 3.0], "exit": [1.0, 0.5], "total": [5.0, 3.5]}]
    ours += [{"imports": [6.0, 3.2], "exit": [1.0, 0.5], "total": [7.0, 3.7]}]
    peer = [{"other steps": [9.0, 18.0], "exit": [1.0, 1.0], "total": [10.0, 19.0]}] * 2
    rows = end_to_end.table({"bit_keras": ours, "timm": peer}).splitlines()
    assert rows[2] == "| imports | 5.0 (4.0 to 6.0); 3.1 (3.0 to 3.2) |  |"
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows[3:]] == [
        *("other steps", "exit", "predict, a new process", "total", "total, relative to the first")
    ]
    assert rows[-1].startswith(
        "| total, relative to the first | 1.0 (1.0 to 1.0); 1.0 (1.0 to 1.0) | 1.7 (1.4 to 2.0);"
    )


def test_a_clock_measures_each_phase_once():
    clock = user_scripts.Clock(began=time.time() - 2)
    clock.mark("imports")
    time.sleep(0.05)
    clock.mark("load")
    assert clock.seconds["imports"][0] == pytest.approx(2, abs=1)
    assert 0.05 <= clock.seconds["load"][0] < 2
    assert clock.seconds["load"][1] < clock.seconds["load"][0] + 0.02  # it slept


@pytest.fixture
def stamps_package(tmp_path):
    """A ".deb" file with ten pictures per class and one that is no photograph."""
    root = tmp_path / "package"
    for place in (*stamps.CLASSES.values(), "animals/birds/cartoon"):
        folder = root / "usr/share/tuxpaint/stamps" / place
        folder.mkdir(parents=True)
        for k in range(10):
            color = (0, 0, 255, 255) if "cartoon" in place else (255, 25 * k, 0, 255)
            Image.new("RGBA", (60, 40), color).save(folder / f"{k}.png")
    (root / "DEBIAN").mkdir()
    control = "Package: stamps\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@localhost>\nDescription: stamps\n"
    (root / "DEBIAN/control").write_text(control)
    package = tmp_path / "stamps.deb"
    subprocess.run(["dpkg-deb", "--build", root, package], check=True, stdout=subprocess.DEVNULL)
    return package


def test_photographs_by_class_are_crops_and_in_one_split(stamps_package, tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "COUNTS", {"train": 8, "test": 2})
    stamps.write(tmp_path / "images", stamps_package)
    files = sorted((tmp_path / "images").glob("*/*/*.jpg"))
    assert len(files) == 10 * len(stamps.CLASSES)
    colors = {}
    for file in files:
        with Image.open(file) as picture:
            assert picture.size == (500, 375)
            colors.setdefault((file.parts[-3], file.parts[-2]), set()).add(picture.getpixel((250, 187)))
    assert all(red > 200 and blue < 50 for found in colors.values() for red, _, blue in found)  # no cartoon
    for label in stamps.CLASSES:
        assert not colors["train", label] & colors["test", label]
