"""The README's tables are the generated ones, its links lead somewhere, and no file names a machine."""

import dataclasses
import re
import subprocess

import pytest
from places import ROOT

from analysis import readme, reported, write
from reproduce.algorithms import document, load
from reproduce.commands import write_methods
from reproduce.errors import UserError


@pytest.mark.parametrize("name", [f"table{n}" for n in write.SPECS])
def test_the_results_show_the_generated_tables(name):
    block = readme.block((ROOT / readme.RESULTS).read_text(), name)
    if not (ROOT / "data/results/mini" / name).is_dir():
        assert f"make reproduce-{name}" in block and "|" not in block
        return
    markdown = (ROOT / "figures" / f"{name}.md").read_text()
    assert block == readme.shown(markdown, name).strip()
    assert f"(../figures/{name}_appendix.md)" in block and reported.TITLE not in markdown
    appendix = (ROOT / "figures" / f"{name}_appendix.md").read_text()
    assert (f"## {reported.TITLE}" in appendix) == (name[-1] in "123")


@pytest.mark.parametrize("name", write_methods.BLOCKS)
def test_the_methods_are_documented_as_their_files_have_them(name):
    text = write_methods.README.read_text()
    assert readme.block(text, name) == write_methods.BLOCKS[name]().strip(), "run `make readme-methods`"


def test_a_setting_without_a_source_is_named(monkeypatch, tmp_path):
    bare = dataclasses.replace(load("opo"), sources={"aggregation": "verl's default"})
    monkeypatch.setattr(document, "load", lambda name: bare)
    with pytest.raises(UserError, match="opo: the setting importance_weight has no source"):
        document.settings()
    bare.sources.update(importance_weight="the paper", clip_low="verl")
    with pytest.raises(UserError, match="opo: `sources` names 'clip_low', which is no setting of the method"):
        document.settings()
    path = tmp_path / "README.md"
    path.write_text("<!-- methods -->\nold\n<!-- /methods -->\n<!-- settings -->\n<!-- /settings -->\n")
    del bare.sources["clip_low"]
    assert write_methods.write_methods(path) and not write_methods.write_methods(path)
    assert "| `importance_weight` | `true` | the paper |" in path.read_text() and "old" not in path.read_text()


def test_the_link_to_the_appendix_leads_from_where_the_table_is_shown():
    markdown = "## Table 3\n\n- All rows: [table3_appendix.md](table3_appendix.md).\n"
    assert "[figures/table3_appendix.md](../figures/table3_appendix.md)" in readme.shown(markdown, "table3")


@pytest.mark.parametrize("name", ["README.md", readme.RESULTS])
def test_no_reported_number_stands_beside_measured_ones(name):
    text = (ROOT / name).read_text()
    assert reported.TITLE not in text and "Reported by" not in text


def test_the_readme_is_short_and_opens_with_the_generated_overview():
    text = (ROOT / "README.md").read_text()
    assert len(text.encode()) <= 10_240
    assert readme.block(text, "overview") == (ROOT / "figures" / "overview.md").read_text().strip()


def test_insert_replaces_the_block_and_only_it(tmp_path):
    path = tmp_path / "README.md"
    start, end = readme.markers("table4")
    path.write_text(f"before\n{start}\nold\n{end}\nafter\n<!-- table2 -->\nother\n<!-- /table2 -->\n")
    assert readme.insert(path, "table4", "| new |\n") and not readme.insert(path, "table4", "| new |\n")
    assert path.read_text() == f"before\n{start}\n| new |\n{end}\nafter\n<!-- table2 -->\nother\n<!-- /table2 -->\n"
    assert readme.block(path.read_text(), "table2") == "other"
    path.write_text("no markers")
    with pytest.raises(UserError, match="<!-- table4 -->"):
        readme.insert(path, "table4", "x")


READMES = [
    "README.md",
    "analysis/RESULTS.md",
    "reproduce/commands/plan/README.md",
    "reproduce/worlds/README.md",
    *(f"{folder}/README.md" for folder in ("reproduce", "reproduce/algorithms", "analysis", "data")),
]


@pytest.mark.parametrize("name", READMES)
def test_links_of_the_documentation_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (ROOT / name).parent.joinpath(link).exists() or link.endswith(".ipynb"), link


def test_no_tracked_text_names_a_path_of_a_machine():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    pattern = re.compile(r"(?<![\w.])/(?:home|root|work|Users)/\w+/")
    for name in tracked:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".yaml", ".toml", ".json", ".ipynb", ".txt", "") and path.is_file():
            found = pattern.search(path.read_text(errors="ignore"))
            assert not found or name.startswith("tests/"), f"{name}: {found and found.group()}"
