"""The README's table is the generated one, its links lead somewhere, and no file names a machine."""

import re
import subprocess
from pathlib import Path

import pytest

from analysis import readme
from reproduce.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_shows_the_generated_table():
    table = ROOT / "figures" / "table2.md"
    if not (ROOT / "data/results/mini/table2").is_dir():
        pytest.skip("no published results of profile mini")
    if subprocess.run(["git", "diff", "--quiet", "--", "figures"], cwd=ROOT).returncode:
        pytest.skip("figures/ was rebuilt from local runs")
    assert readme.block((ROOT / "README.md").read_text()) == table.read_text().strip()


def test_insert_replaces_the_block_and_only_it(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.START}\nold\n{readme.END}\nafter\n")
    assert readme.insert(path, "| new |\n") and not readme.insert(path, "| new |\n")
    assert path.read_text() == f"before\n{readme.START}\n| new |\n{readme.END}\nafter\n"
    path.write_text("no markers")
    with pytest.raises(UserError, match="markers"):
        readme.insert(path, "x")


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
