"""The worked examples of CONTRIBUTING.md run, and what the page names exists."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import bit_keras
from bit_keras.zoo import presets, tasks

ROOT = Path(bit_keras.__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_every_path_exists_except_those_to_write():
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    named = re.findall(
        r"`((?:bit_keras|docs|export|hub_modules|tests|tools)/[\w./]+|[\w.]+\.(?:md|cfg))`( \(new\))?", text
    )
    assert len(named) > 15
    for path, is_new in named:
        assert (ROOT / path).exists() != bool(is_new), path
    links = re.findall(r"\]\((?!https?://)([^)#]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_command_exists():
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)`", PAGE)) <= set(targets)
    modules = re.findall(r"-m ((?:tools|hub_modules|bit_keras)\.\w+)", PAGE)
    assert len(modules) == 3
    for module in modules:
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
    programs = set(re.findall(r"`(bit-[a-z-]+)", PAGE))
    scripts = re.findall(r"^    (bit-[\w-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
    assert programs <= set(scripts)


def test_the_preset_fits_into_the_table():
    namespace = {}
    exec(BLOCKS[0], namespace)
    row = namespace["_birds"]()
    table = presets._table([*presets.PRESETS.values(), row])
    assert table[row.name] is row
    with pytest.raises(ValueError, match="preset names must be unique"):
        presets._table([row, row])
    assert {"_bit_s", "PRESETS"} <= vars(presets).keys()


def test_the_task_has_the_size_that_it_states():
    namespace = {}
    exec(BLOCKS[1], namespace)
    task = namespace["birds"]
    assert task.name not in tasks.TASKS
    assert task.group in tasks.VTAB_GROUPS
    assert task.preparation is not None
    slices = re.findall(r"\[(\d*):(\d+)\]", task.train)
    assert sum(int(end) - int(start or 0) for start, end in slices) == 1000
    tfds = pytest.importorskip("tensorflow_datasets")
    name, _, version = task.builder.partition(":")
    assert version in map(str, tfds.builder_cls(name).VERSION and [tfds.builder_cls(name).VERSION])


def test_the_exporter_writes_the_arrays_of_the_folded_network(tiny_npz, tmp_path):
    program = tmp_path / "arrays.py"
    end = "if __name__ == '__main__':\n    from bit_keras.system import command_line\n    define_flags()\n"
    program.write_text(f"{BLOCKS[2]}\n\n{end}    command_line.run(main)\n")
    output = tmp_path / "arrays.npz"
    done = subprocess.run(
        [sys.executable, program, f"--model={tiny_npz}", f"--output={output}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**__import__("os").environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(output) as arrays:
        assert done.stdout.splitlines()[-1] == f"{len(arrays)} arrays in {output}"
        kernels = [name for name in arrays if name.endswith("kernel")]
        assert kernels
        assert all(np.isfinite(arrays[name]).all() for name in arrays)
    exporters = (ROOT / "bit_keras" / "export" / "__main__.py").read_text()
    assert "SUBCOMMANDS = " in exporters
    assert "_PACKAGES = " in exporters
