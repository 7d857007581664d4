"""`make report`: a static site whose every link leads somewhere, with search, without a network."""

import json
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import lxml.html
import nbformat
import pytest

from analysis import report
from reproduce.errors import UserError


def notebook(answer: str) -> str:
    cells = [
        nbformat.v4.new_markdown_cell("# Entropy: what holds?\n**Asked.** What?", id="a"),
        nbformat.v4.new_code_cell(
            "secret_code()",
            id="b",
            execution_count=1,
            outputs=[nbformat.v4.new_output("display_data", {"text/markdown": f"**Answer.** {answer}"})],
        ),
    ]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells))


@pytest.fixture
def repository(tmp_path):
    root = tmp_path / "repository"
    for name, text in {
        "README.md": "# Top\n[how](analysis/README.md#how-it-is-done) [data](data/) [gone](nowhere.md) "
        "[numbers](figures/t.csv) [web](https://example.org/x)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
        "analysis/README.md": "# Analysis\n\n## How: it *is* done\n[back](../README.md) [here](#how-it-is-done)\n",
        "analysis/figure_entropy.ipynb": notebook("Seven of nine hold."),
        "figures/t.csv": "a,b\n1,2\n",
        "figures/claims.md": "# Claims\n</script> a < b\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "data").mkdir()
    return root


def broken_links(site: Path) -> list[str]:
    """Every link of every page that leads to no file or to no id of it; links to the web are left out."""
    found, trees = [], {path: lxml.html.parse(str(path)).getroot() for path in site.glob("*.html")}
    for path, tree in trees.items():
        for element, _, link, _ in tree.iterlinks():
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto", "data"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                found.append(f"{path.name}: {link}")
            elif parts.fragment and element.tag == "a" and not trees[target].xpath("//*[@id=$i]", i=parts.fragment):
                found.append(f"{path.name}: {link} (no such heading)")
    return found


def pages_of(site: Path) -> list[dict]:
    """What the search looks through."""
    literal = (site / "search.js").read_text().split("const PAGES = ", 1)[1].split(";\n", 1)[0]
    return json.loads(literal.replace("<\\/", "</"))


def test_the_site_links_searches_and_shows_no_code(repository, tmp_path):
    site = tmp_path / "site"
    files = report.build(site, repository)
    assert broken_links(site) == [] and site / "index.html" in files
    first = (site / "index.html").read_text()
    assert "Seven of nine hold." in first and "Entropy: what holds?" in first
    entropy = (site / "analysis-figure_entropy.ipynb.html").read_text()
    assert "secret_code" not in entropy and 'href="files/analysis/figure_entropy.ipynb"' in entropy
    top = (site / "README.md.html").read_text()
    assert 'href="analysis-README.md.html#how-it-is-done"' in top and 'href="files/figures/t.csv"' in top
    assert "<span>gone</span>" in top and "<span>data</span>" in top and "<td>1</td>" in top
    titles = {page["title"]: page for page in pages_of(site)}
    assert set(titles) == {"Top", "Analysis", "Entropy: what holds?", "Claims"}
    assert "Seven of nine hold." in titles["Entropy: what holds?"]["text"]
    assert "https://" not in re.sub(
        r'href="https://example.org/x"', "", "".join(f.read_text() for f in site.glob("*.html"))
    )


def test_a_broken_link_is_found(repository, tmp_path):
    report.build(tmp_path / "site", repository)
    page = tmp_path / "site" / "README.md.html"
    page.write_text(
        page.read_text().replace("#how-it-is-done", "#elsewhere").replace("files/figures/t.csv", "files/t.csv")
    )
    assert len(broken_links(tmp_path / "site")) == 2


def test_own_runs_and_trees_are_listed(repository, tmp_path):
    runs = tmp_path / "runs"
    (runs / "mini" / "table2" / "notebooks").mkdir(parents=True)
    (runs / "mini" / "table2" / "notebooks" / "table2.ipynb").write_text(notebook("Mine."))
    (runs / "trees").mkdir()
    (runs / "trees" / "aepo.html").write_text("<html><body>tree</body></html>")
    report.build(runs / "report", repository, runs)
    first = (runs / "report" / "index.html").read_text()
    assert "Your runs" in first and "Mine." in first and 'href="trees/aepo.html"' in first
    assert broken_links(runs / "report") == []
    report.build(runs / "report", repository, runs)  # again, over the earlier site


def test_another_folder_is_never_replaced(repository, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="holds something else than a report"):
        report.build(tmp_path / "mine", repository)
    with pytest.raises(UserError, match="no executed notebook"):
        report.build(tmp_path / "site", tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").exists()


@pytest.mark.slow
def test_every_link_of_the_real_report_leads_somewhere(tmp_path):
    report.build(tmp_path / "site")
    assert broken_links(tmp_path / "site") == []
    assert len(pages_of(tmp_path / "site")) > 20
