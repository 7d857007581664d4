"""The README's tables are the generated ones, its links lead somewhere, and no file names a machine."""

import re
import subprocess
from pathlib import Path

import pytest

from analysis import readme, reported, text_table, write
from analysis.text_table import TextTable
from reproduce.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("name", [f"table{n}" for n in write.SPECS])
def test_the_readme_shows_the_generated_tables(name):
    block = readme.block((ROOT / "README.md").read_text(), name)
    if not (ROOT / "data/results/mini" / name).is_dir():
        assert f"make reproduce-{name}" in block and "|" not in block
        return
    if subprocess.run(["git", "diff", "--quiet", "--", "figures"], cwd=ROOT).returncode:
        pytest.skip("figures/ was rebuilt from local runs")
    markdown = (ROOT / "figures" / f"{name}.md").read_text()
    assert block == readme.shown(markdown, name).strip()
    assert "\n## " not in markdown.partition(f"## {reported.TITLE}")[2], "the reported numbers are the last block"
    assert (f"(figures/{name}.md)" in block) == (f"## {reported.TITLE}" in markdown) == (name[-1] in "123")


def test_reported_numbers_stand_behind_a_link():
    tables = [
        TextTable(title, ["Method", "IID"], [["EPO", cell]])
        for title, cell in (
            ("Table 3. Measured", "12.3"),
            ("What EPO adds", "+1.0"),
            (reported.TITLE, "91.4"),
        )
    ]
    markdown = "\n".join(text_table.markdown(table) for table in tables)
    assert readme.shown(markdown, "table3") == (
        "\n".join(text_table.markdown(table) for table in tables[:2])
        + "\nWhat the papers report for other models and benchmarks: [figures/table3.md](figures/table3.md).\n"
    )
    measured = "\n".join(text_table.markdown(table) for table in tables[:2])
    assert readme.shown(measured, "table3") == measured


def test_the_readme_holds_no_reported_number():
    text = (ROOT / "README.md").read_text()
    assert reported.TITLE not in text and "Reported by" not in text


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


@pytest.mark.parametrize("name", ["README.md", "reproduce/README.md", "analysis/README.md", "data/README.md"])
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
