"""The worked examples of CONTRIBUTING.md run, and what the page names exists."""

import functools
import re
import subprocess
import types

import numpy as np
import pytest
from absl import flags

from bit_keras.zoo import presets, tasks
from tools.build_files import ROOT

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


def test_make_check_runs_and_leaves_out_files_that_exist():
    done = subprocess.run(["make", "-n", "check"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = re.findall(r"\btests/[\w./]+", done.stdout)
    assert len(paths) > 25
    assert not [path for path in paths if not (ROOT / path).exists()]


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
    slices = re.findall(r"\[(\d*):(\d+)\]", task.train)
    assert sum(int(end) - int(start or 0) for start, end in slices) == 1000
    tfds = pytest.importorskip("tensorflow_datasets")
    name, _, version = task.builder.partition(":")
    assert str(tfds.builder_cls(name).VERSION) == version


@pytest.mark.usefixtures("tiny")
def test_the_exporter_writes_the_arrays_of_the_folded_network(tiny_npz, tmp_path, capsys):
    namespace = {}
    exec(BLOCKS[2], namespace)
    values = flags.FlagValues()
    define = functools.partial(flags.DEFINE_string, flag_values=values)
    namespace["flags"] = types.SimpleNamespace(FLAGS=values, DEFINE_string=define)
    namespace["define_flags"]()
    output = tmp_path / "arrays.npz"
    values(["arrays", f"--model={tiny_npz}", f"--output={output}"])
    namespace["main"]()
    with np.load(output) as arrays:
        assert capsys.readouterr().out.splitlines()[-1] == f"{len(arrays)} arrays in {output}"
        kernel = arrays[next(name for name in arrays if "root_block" in name and name.endswith("kernel"))]
    # Standardized: per filter of mean 0 and variance 1.
    np.testing.assert_allclose(kernel.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(kernel.var((0, 1, 2)), 1, rtol=1e-4)
    with pytest.raises(FileExistsError, match="output must not exist yet"):
        namespace["main"]()


def test_the_places_of_an_exporter_exist():
    exporters = (ROOT / "bit_keras" / "export" / "__main__.py").read_text()
    assert "SUBCOMMANDS = " in exporters
    assert "_PACKAGES = " in exporters
