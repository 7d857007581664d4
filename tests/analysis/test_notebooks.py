"""Notebooks open with what is asked and the answer; code cells are short; a sentence stands below every figure."""

import io
import json

import pytest
from PIL import Image

from analysis import load, notebook, style
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


def test_a_notebook_shows_the_whole_figure():
    """Title and caption take no part in the layout, so an image that is cut to the layout would lose them."""
    figure, axes = style.subplots(1, 1, height=1.0, width=style.COLUMN)
    axes.plot([0, 1])
    style.finish(figure, "A title", "A caption.")
    image = Image.open(io.BytesIO(notebook.png(figure)))
    assert image.size == pytest.approx(tuple(figure.get_size_inches() * figure.dpi), abs=1)
    top = image.convert("L").crop((0, 0, image.width, round(0.2 * figure.dpi)))
    assert top.getextrema()[0] < 128, "the title is there"
