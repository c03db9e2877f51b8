"""What the documents name is there: files, headings, what a citation needs."""

import re
from pathlib import Path

import pytest
import yaml

from distlab import __version__

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("docs/*.md"), *ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md"])
LINK = re.compile(r"\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:benchmarks|conf|distlab|docs|tests)/[^`\s]*)`")
# Where a name is left to the reader: conf/model/NAME.yaml, conf/framework/<name>.yaml.
PLACEHOLDER = re.compile(r"[A-Z<*]")
each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)


def anchors(document: Path) -> set[str]:
    """The headings of a document as GitHub names them in links."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


@each_document
def test_relative_links_lead_somewhere(document: Path) -> None:
    for link in LINK.findall(document.read_text()):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@each_document
def test_files_that_are_named_are_there(document: Path) -> None:
    named = [name for name in NAMED.findall(document.read_text()) if not PLACEHOLDER.search(name)]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [file.parent.name for file in ROOT.glob("distlab/*/__init__.py")]
    assert rooms
    assert [room for room in rooms if f"| `distlab/{room}/` |" not in text] == []


def test_index_leads_to_every_document() -> None:
    links = LINK.findall((ROOT / "docs" / "index.md").read_text())
    known = {link.partition("#")[0] for link in links}
    assert {file.name for file in ROOT.glob("docs/*.md")} - {"index.md"} <= known


def test_citation() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    needed = {
        "cff-version",
        "message",
        "title",
        "authors",
        "abstract",
        "type",
        "license",
        "version",
    }
    assert needed <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert all(set(author) == {"name"} for author in citation["authors"])
