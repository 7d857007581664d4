"""A small table of text cells as Markdown, LaTeX or terminal text. Same cells, same bytes."""

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import pandas as pd

MISSING = "–"
WIDTH = 118  # characters of a note in the terminal
_TEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    | {"×": r"$\times$", "−": "$-$", "·": r"$\cdot$", "≥": r"$\geq$", "≤": r"$\leq$"}
)


@dataclass(frozen=True)
class TextTable:
    """Cells ready to print: a title, the header, rows of equal length, the (row, column) cells in bold, notes, and the
    columns that hold words, which stand to the left (numbers stand to the right)."""

    title: str
    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: list[str] = field(default_factory=list)
    words: frozenset[int] = frozenset({0})


def pipes(lines: list[list[str]]) -> list[str]:
    """Rows of cells as the rows of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in lines]


def _aligned(table: TextTable, mark: str, change=str) -> list[list[str]]:
    """Header and rows, every column padded to one width. mark: stands around bold cells; change: of each cell."""
    lines = [list(map(change, line)) for line in (table.header, *table.rows)]
    for i, j in table.bold:
        lines[i + 1][j] = f"{mark}{lines[i + 1][j]}{mark}"
    widths = [max(len(line[j]) for line in lines) for j in range(len(table.header))]
    return [
        [c.ljust(w) if j in table.words else c.rjust(w) for j, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]


def markdown(table: TextTable) -> str:
    """A Markdown section: title, pipe table, notes as a list. (pandas has none that needs no further package.)"""
    header, *rows = _aligned(table, "**", lambda c: c.replace("|", r"\|"))
    rule = ["-" * len(c) if j in table.words else "-" * (len(c) - 1) + ":" for j, c in enumerate(header)]
    notes = ["", *(f"- {note}" for note in table.notes)] if table.notes else []
    return "\n".join([f"## {table.title}", "", *pipes([header, rule, *rows]), *notes]) + "\n"


def text(table: TextTable) -> str:
    """The table for a terminal: aligned columns, bold cells starred, notes below."""
    header, *rows = _aligned(table, "*")
    lines = ["  ".join(line).rstrip() for line in [header, ["-" * len(c) for c in header], *rows]]
    notes = [part for note in table.notes for part in _wrapped(note)]
    return "\n".join([table.title, "", *lines, *([""] + notes if notes else [])]) + "\n"


def escape(cell: str) -> str:
    """Text as LaTeX source."""
    return cell.translate(_TEX)


def latex(table: TextTable) -> str:
    """A LaTeX `table*` environment, notes below the tabular. Needs the packages booktabs and graphicx."""
    frame = pd.DataFrame(table.rows, columns=table.header)
    bold = pd.DataFrame("", frame.index, frame.columns)
    for i, j in table.bold:
        bold.iloc[i, j] = "textbf:--rwrap"
    style = frame.style.hide(axis="index").apply(lambda _: bold, axis=None).format(escape).format_index(escape, axis=1)
    columns = "".join("l" if j in table.words else "r" for j in range(len(table.header)))
    tabular = style.to_latex(hrules=True, column_format=columns).rstrip("\n")
    notes = [rf"\par\footnotesize {escape(n)}" for n in table.notes]
    head = [r"\begin{table*}", r"\centering", rf"\caption{{{escape(table.title)}}}", r"\resizebox{\textwidth}{!}{%"]
    return "\n".join([*head, f"{tabular}}}", *notes, r"\end{table*}"]) + "\n"


def _wrapped(note: str) -> list[str]:
    return wrap(note, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def save(files: dict[str, str], folder: Path) -> list[Path]:
    """Write name -> text into `folder`, which is made if needed. Returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]
