"""The LaTeX of the committed tables: it compiles as it is where a TeX is at hand; its grammar holds everywhere."""

import re
import shutil
import subprocess

import pytest

from analysis import load, text_table
from analysis.text_table import TextTable

FIGURES = load.ROOT / "figures"
FILES = sorted(path.name for path in FIGURES.glob("table*.tex"))
TEX = next((name for name in ("tectonic", "pdflatex", "latexmk") if shutil.which(name)), None)
KNOWN = set(
    "begin end centering small caption toprule midrule bottomrule textbf par raggedright footnotesize resizebox "
    "textwidth textbackslash textasciitilde textasciicircum times cdot geq leq pm beta epsilon rightarrow dagger "
    "documentclass usepackage input clearpage".split()
)


def faults(source: str) -> list[str]:
    """What a TeX would stop at: characters it has no glyph for, commands nobody defines, unpaired braces and
    environments, lines of a tabular with another number of cells than it has columns."""
    found = [f"character {c!r}" for c in sorted({c for c in source if ord(c) > 0x17F})]
    found += [f"command \\{name}" for name in sorted(set(re.findall(r"\\([a-zA-Z]+)", source)) - KNOWN)]
    bare = re.sub(r"\\[\\{}&%$#_]", "", source)
    if bare.count("{") != bare.count("}"):
        found.append("unpaired braces")
    if bare.count("$") % 2:
        found.append("unpaired $")
    names = re.findall(r"\\(begin|end)\{([^}]*)\}", source)
    opened: list[str] = []
    for kind, name in names:
        if kind == "begin":
            opened.append(name)
        elif not opened or opened.pop() != name:
            found.append(f"environment {name}")
    found += [f"environment {name} is left open" for name in opened]
    for columns, body in re.findall(r"\\begin\{tabular\}\{([lrc]+)\}(.*?)\\end\{tabular\}", source, re.S):
        lines = [line for line in body.split("\n") if line.rstrip().endswith(r"\\")]
        found += [f"cells of {line[:40]}" for line in lines if len(re.findall(r"(?<!\\)&", line)) + 1 != len(columns)]
    if re.search(r"[%#](?!\n)", bare):  # a % at the end of a line is TeX's own
        found.append("an unescaped % or #")
    return found


def test_the_grammar_of_every_committed_table_holds():
    assert len(FILES) > 5 and {name: bad for name in FILES if (bad := faults((FIGURES / name).read_text()))} == {}
    whole = (FIGURES / "tables.tex").read_text()
    shown = re.findall(r"\\input\{(\w+)\}", whole)
    assert sorted(f"{name}.tex" for name in shown) == [name for name in FILES if name != "tables.tex"]
    assert r"\usepackage{booktabs}" in whole and all(
        r"\toprule" in (FIGURES / n).read_text() for n in FILES if n != "tables.tex"
    )


def test_faults_are_found():
    good = text_table.latex(TextTable("A & B", ["a_b", "5 %"], [["x", "−1 ± 2"]], frozenset({(0, 1)}), ["β ≥ 1 → {}"]))
    assert faults(good) == []
    assert faults(good.replace(r"\end{tabular}", "")) and faults(good.replace("x &", "x")) and faults(good + "γ")
    assert faults(good + r"\foo") == [r"command \foo"] and faults(good + "{") == ["unpaired braces"]


@pytest.mark.skipif(TEX is None, reason="no TeX here: the grammar is checked above")
def test_every_table_compiles_as_it_is(tmp_path):
    for path in FIGURES.glob("table*.tex"):
        shutil.copy(path, tmp_path)
    options = {"tectonic": [], "pdflatex": ["-interaction=nonstopmode", "-halt-on-error"], "latexmk": ["-pdf"]}[TEX]
    done = subprocess.run([TEX, *options, "tables.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (tmp_path / "tables.pdf").stat().st_size > 10_000
