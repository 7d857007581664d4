"""A small table of text cells as Markdown, LaTeX or terminal text. Same cells, same bytes."""

from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import pandas as pd

MISSING = "–"
WIDTH = 118  # characters of a note in the terminal
TEX_WIDTH = 90  # characters of a line of a table that fits on a page of LaTeX without being shrunk
_TEX = str.maketrans(
    {c: rf"\{c}" for c in "&%$#_{}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--"}
    | {"×": r"$\times$", "−": "$-$", "·": r"$\cdot$", "≥": r"$\geq$", "≤": r"$\leq$", "±": r"$\pm$"}
    | {c: f"${c}$" for c in "<>|"}  # which OT1 fonts lack
    | {"β": r"$\beta$", "ε": r"$\epsilon$", "²": r"$^2$", "→": r"$\rightarrow$", "†": r"$\dagger$"}
)


@dataclass(frozen=True)
class TextTable:
    """Cells ready to print: a title, the header, rows of equal length, the (row, column) cells in bold, notes, and the
    columns that hold words, which stand to the left (numbers stand to the right). more: what stands elsewhere, and in
    which file. wide: LaTeX shrinks it to the width of the page, as it does any that would not fit."""

    title: str
    header: list[str]
    rows: list[list[str]]
    bold: frozenset[tuple[int, int]] = frozenset()
    notes: list[str] = field(default_factory=list)
    words: frozenset[int] = frozenset({0})
    more: tuple[str, str] | None = None
    wide: bool = False

    @property
    def lines(self) -> list[str]:
        """The notes and, as plain text, where more stands."""
        return [*self.notes, *([f"{self.more[0]}: {self.more[1]}."] if self.more else [])]


def pipes(lines: list[list[str]]) -> list[str]:
    """Rows of cells as the rows of a Markdown table."""
    return [f"| {' | '.join(line)} |" for line in lines]


def _aligned(table: TextTable, mark: str, change=str, padded: bool = True) -> list[list[str]]:
    """Header and rows, every column `padded` to one width. mark: stands around bold cells; change: of each cell."""
    lines = [list(map(change, line)) for line in (table.header, *table.rows)]
    for i, j in table.bold:
        lines[i + 1][j] = f"{mark}{lines[i + 1][j]}{mark}"
    if not padded:
        return lines
    widths = [max(len(line[j]) for line in lines) for j in range(len(table.header))]
    return [
        [c.ljust(w) if j in table.words else c.rjust(w) for j, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]


def markdown(table: TextTable, padded: bool = True) -> str:
    """A Markdown section: title, pipe table, notes as a list. (pandas has none that needs no further package.)

    padded: its columns stand below each other as plain text; without, it has fewer bytes.
    """
    header, *rows = _aligned(table, "**", lambda c: c.replace("|", r"\|"), padded)
    widths = [len(c) if padded else 3 + (j not in table.words) for j, c in enumerate(header)]
    rule = ["-" * width if j in table.words else "-" * (width - 1) + ":" for j, width in enumerate(widths)]
    notes = [*table.notes, *(["{0}: [{1}]({1}).".format(*table.more)] if table.more else [])]
    notes = ["", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join([f"## {table.title}", "", *pipes([header, rule, *rows]), *notes]) + "\n"


def text(table: TextTable) -> str:
    """The table for a terminal: aligned columns, bold cells starred, notes below."""
    header, *rows = _aligned(table, "*")
    lines = ["  ".join(line).rstrip() for line in [header, ["-" * len(c) for c in header], *rows]]
    notes = [part for note in table.lines for part in _wrapped(note)]
    return "\n".join([table.title, "", *lines, *([""] + notes if notes else [])]) + "\n"


def escape(cell: str) -> str:
    """Text as LaTeX source."""
    return cell.translate(_TEX)


def latex(table: TextTable) -> str:
    """A LaTeX `table*` environment, notes below the tabular. Needs booktabs and, for a wide one, graphicx."""
    frame = pd.DataFrame(table.rows, columns=table.header)
    bold = pd.DataFrame("", frame.index, frame.columns)
    for i, j in table.bold:
        bold.iloc[i, j] = "textbf:--rwrap"
    style = frame.style.hide(axis="index").apply(lambda _: bold, axis=None).format(escape).format_index(escape, axis=1)
    columns = "".join("l" if j in table.words else "r" for j in range(len(table.header)))
    tabular = style.to_latex(hrules=True, column_format=columns).rstrip("\n")
    notes = [rf"\par\raggedright\footnotesize {escape(n)}" for n in table.lines]
    head = [r"\begin{table*}", r"\centering\small", rf"\caption{{{escape(table.title)}}}"]
    widest = sum(max(len(line[j]) for line in (table.header, *table.rows)) + 2 for j in range(len(table.header)))
    wide = table.wide or widest > TEX_WIDTH
    body = [r"\resizebox{\textwidth}{!}{%", f"{tabular}}}"] if wide else [tabular]
    return "\n".join([*head, *body, *notes, r"\end{table*}"]) + "\n"


def document(names: list[str]) -> str:
    """A LaTeX document that shows the files `names`, and the packages that they need where they are used elsewhere."""
    head = [r"\documentclass[10pt]{article}", r"\usepackage[utf8]{inputenc}"]
    head += [r"\usepackage[a4paper,margin=15mm]{geometry}", r"\usepackage{booktabs}", r"\usepackage{graphicx}"]
    shown = [rf"\input{{{name}}}\clearpage" for name in names]
    return "\n".join([*head, r"\begin{document}", *shown, r"\end{document}"]) + "\n"


def _wrapped(note: str) -> list[str]:
    return wrap(note, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def save(files: dict[str, str], folder: Path) -> list[Path]:
    """Write name -> text into `folder`, which is made if needed. Returns the paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return [folder / name for name in files]
