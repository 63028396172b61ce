"""The files of a release: one version, a citation by the rules of CFF, and what SECURITY.md and CHANGELOG.md name."""

import re

import pytest

import bit_keras
from tests.newcomer import versions
from tools.build_files import ROOT

# Source: the schema of CFF 1.2.0, https://github.com/citation-file-format/citation-file-format.
_REQUIRED = {"cff-version", "message", "title", "authors"}
_ALLOWED = {
    *("abstract", "authors", "cff-version", "commit", "contact", "date-released", "doi", "identifiers", "keywords"),
    *("license", "license-url", "message", "preferred-citation", "references", "repository", "repository-artifact"),
    *("repository-code", "title", "type", "url", "version"),
}


def test_all_files_state_the_version():
    assert versions.version(ROOT) == bit_keras.__version__
    assert versions.faults(ROOT) == []


@pytest.mark.parametrize("name", ["CITATION.cff", "CHANGELOG.md", "setup.cfg"])
def test_another_version_is_found(name, tmp_path):
    for file in ("CITATION.cff", "CHANGELOG.md", "setup.cfg", versions.SOURCE):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        text = (ROOT / file).read_text()
        other = text.replace("attr: bit_keras.system.version.VERSION", "9.9.9").replace(bit_keras.__version__, "9.9.9")
        (tmp_path / file).write_text(other if file == name else text)
    (fault,) = versions.faults(tmp_path)
    assert fault.startswith(name)
    assert "9.9.9" in fault


def test_the_citation():
    yaml = pytest.importorskip("yaml")
    cff = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert _REQUIRED <= cff.keys() <= _ALLOWED
    assert cff["cff-version"] == "1.2.0"
    assert cff["type"] in ("software", "dataset")
    for authors in (cff["authors"], cff["preferred-citation"]["authors"]):
        assert authors
        for author in authors:
            assert author.keys() in ({"name"}, {"family-names", "given-names"})
    paper = cff["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert re.fullmatch(r"10\.\d{4,9}(\.\d+)?/[A-Za-z0-9:/_;\-.()\[\]\\]+", paper["doi"])
    assert [author["family-names"] for author in paper["authors"]] == [
        *("Kolesnikov", "Beyer", "Zhai", "Puigcerver", "Yung", "Gelly", "Houlsby")
    ]
    assert (paper["title"], paper["year"], paper["type"]) == (
        *("Big Transfer (BiT): General Visual Representation Learning", 2020),
        "conference-paper",
    )
    assert [row["value"] for row in paper["identifiers"]] == ["arXiv:1912.11370"]
    assert all(row["type"] in ("doi", "url", "swh", "other") for row in paper["identifiers"])


@pytest.mark.parametrize("name", ["CHANGELOG.md", "SECURITY.md", "docs/images/README.md", "tests/fixtures/README.md"])
def test_links_lead_to_files(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


def test_programs_of_the_pages_exist():
    scripts = set(re.findall(r"^    (bit-[\w-]+) = ", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    for name in ("CHANGELOG.md", "SECURITY.md"):
        programs = set(re.findall(r"`(bit-[a-z-]+)", (ROOT / name).read_text()))
        assert programs
        assert programs <= scripts
