"""Notebooks open with what is asked and the answer; code cells are short; a sentence stands below every figure."""

import json

import pytest

from analysis import load
from analysis.execute import SOURCES

FOLDER = load.ROOT / "analysis"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LONGEST = 9  # lines of a code cell, blank ones left out


def cells_of(path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def shown(cell: dict) -> list[tuple[str, str]]:
    """(kind, text) of what a code cell shows: figures, Markdown."""
    found = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            found.append(("figure", ""))
        elif "text/markdown" in data:
            found.append(("markdown", "".join(data["text/markdown"])))
    return found


@pytest.mark.parametrize("path", sorted(SOURCES.glob("*.py")), ids=lambda path: path.stem)
def test_code_cells_are_short(path):
    for cell in path.read_text(encoding="utf-8").split("# %%")[1:]:
        head, _, code = cell.partition("\n")
        if "[markdown]" not in head:
            assert sum(bool(line.strip()) for line in code.splitlines()) <= LONGEST, code


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_the_question_and_its_answer(path):
    cells = cells_of(path)
    assert cells[0]["cell_type"] == "markdown" and "**Asked.**" in "".join(cells[0]["source"])
    first = next(output for cell in cells for output in shown(cell))
    assert first[0] == "markdown" and first[1].startswith("**Answer.**") and first[1].rstrip().endswith(".")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_sentence_stands_below_every_figure(path):
    for cell in cells_of(path):
        outputs = shown(cell)
        for i, (kind, _) in enumerate(outputs):
            if kind == "figure":
                assert outputs[i + 1][0] == "markdown" and outputs[i + 1][1].rstrip().endswith("."), path.name


def test_some_notebooks_have_figures():
    counts = {
        path.stem: sum(kind == "figure" for cell in cells_of(path) for kind, _ in shown(cell)) for path in NOTEBOOKS
    }
    assert len(NOTEBOOKS) > 10 and sum(counts.values()) > 20 and counts["table2"] == 2
