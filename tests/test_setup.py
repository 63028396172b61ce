"""The metadata of the package."""

import configparser
import importlib.metadata
import importlib.util
import re
from pathlib import Path

import bit_keras
from bit_keras.system.optional import EXTRAS

ROOT = Path(bit_keras.__file__).parents[1]


def _setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_the_description_links_to_web_pages_only():
    spec = importlib.util.spec_from_file_location("setup_of_the_package", ROOT / "setup.py")
    setup = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(setup)
    readme = (ROOT / "README.md").read_text()
    text = setup.description(readme)
    assert not re.findall(r"\]\((?!https?://)", text)
    assert re.findall(r"\]\(https?://", text) == re.findall(r"\]\(https?://", readme)
    assert setup.description("![a](b.png) [c](d.md) [e](https://f)") == " c [e](https://f)"


def test_the_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", bit_keras.__version__)
    assert _setup_cfg()["metadata"]["version"] == "attr: bit_keras.system.version.VERSION"


def test_extras_have_the_names_that_every_pip_finds():
    extras = _setup_cfg()["options.extras_require"]
    assert not [name for name in extras if "_" in name]
    mentions = {
        name
        for pattern in ("*.md", "docs/**/*.md", "bit_keras/**/*.py", "export/**/*.py", "export/**/*.md")
        for path in ROOT.glob(pattern)
        for names in re.findall(r"bit-keras\[([\w,-]+)\]", path.read_text())
        for name in names.split(",")
    }
    assert mentions
    assert mentions <= set(extras)


def test_the_server_is_of_the_version_of_the_exporter():
    minor = re.search(r"tensorflow >=(\d+\.\d+),", _setup_cfg()["options.extras_require"]["tensorflow"])[1]
    images = [
        image
        for path in (ROOT / "bit_keras" / "saved_models" / "server").glob("*.yaml")
        for image in re.findall(r"image: tensorflow/serving:(\S+)", path.read_text())
    ]
    assert len(images) == 4
    assert all(image.startswith(f"{minor}.") for image in images)


def test_the_extra_for_a_missing_package_installs_it():
    declared = _setup_cfg()["options.extras_require"]
    distributions = importlib.metadata.packages_distributions()
    for module, extra in EXTRAS.items():
        required = {_normalized(name) for name in re.findall(r"^[\w-]+", declared[extra], re.MULTILINE)}
        # apache_beam is installed in an environment of its own; see the Makefile.
        assert required & set(map(_normalized, distributions.get(module, [module]))), module


def _normalized(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_the_source_distribution_has_all_folders():
    grafted = set(re.findall(r"^graft (\S+)$", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE))
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"docs", "tests"} <= grafted
