"""Write a small table of text cells as Markdown, LaTeX or PDF. Same cells, same bytes."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.backends.backend_pdf import PdfPages

from analysis import style

MISSING = "–"
WIDTH = 118  # characters of a note in the terminal
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "×": r"$\times$",
    "−": "$-$",
    "·": r"$\cdot$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
}


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


def _aligned(table: TextTable, mark: str) -> list[list[str]]:
    rows = [
        [f"{mark}{c}{mark}" if (i, j) in table.bold else c for j, c in enumerate(r)] for i, r in enumerate(table.rows)
    ]
    lines = [table.header, *rows]
    widths = [max(len(line[j]) for line in lines) for j in range(len(table.header))]
    return [
        [c.ljust(w) if j in table.words else c.rjust(w) for j, (c, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]


def markdown(table: TextTable) -> str:
    """A Markdown section: title, pipe table, notes as a list."""
    rows = [[c.replace("|", r"\|") for c in row] for row in table.rows]
    plain = replace(table, header=[c.replace("|", r"\|") for c in table.header], rows=rows)
    header, *rows = _aligned(plain, "**")
    rule = ["-" * len(c) if j in table.words else "-" * (len(c) - 1) + ":" for j, c in enumerate(header)]
    lines = [f"| {' | '.join(line)} |" for line in [header, rule, *rows]]
    notes = [""] + [f"- {note}" for note in table.notes] if table.notes else []
    return "\n".join([f"## {table.title}", "", *lines, *notes]) + "\n"


def text(table: TextTable) -> str:
    """The table for a terminal: aligned columns, bold cells starred, notes below."""
    header, *rows = _aligned(table, "*")
    lines = ["  ".join(line).rstrip() for line in [header, ["-" * len(c) for c in header], *rows]]
    notes = [part for note in table.notes for part in _wrapped(note, WIDTH)]
    return "\n".join([table.title, "", *lines, *([""] + notes if notes else [])]) + "\n"


def escape(cell: str) -> str:
    """Text as LaTeX source."""
    return "".join(_TEX.get(c, c) for c in cell)


def latex(table: TextTable) -> str:
    """A LaTeX `table*` environment, notes below the tabular. Needs the packages booktabs and graphicx."""

    def line(cells, row=None):
        shown = [rf"\textbf{{{escape(c)}}}" if (row, j) in table.bold else escape(c) for j, c in enumerate(cells)]
        return " & ".join(shown) + r" \\"

    columns = "".join("l" if j in table.words else "r" for j in range(len(table.header)))
    body = [line(row, i) for i, row in enumerate(table.rows)]
    notes = [rf"\par\footnotesize {escape(n)}" for n in table.notes]
    return (
        "\n".join(
            [
                r"\begin{table*}",
                r"\centering",
                rf"\caption{{{escape(table.title)}}}",
                r"\resizebox{\textwidth}{!}{%",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                line(table.header),
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}}",
                *notes,
                r"\end{table*}",
            ]
        )
        + "\n"
    )


def _wrapped(note: str, width: int) -> list[str]:
    lines, current = [], ""
    for word in note.split():
        if current and len(current) + 1 + len(word) > width:
            lines.append(current)
            current = "  " + word
        else:
            current = f"{current} {word}" if current else word
    return [*lines, current]


def _page(table: TextTable):
    """One figure as large as the table needs; inches, at 9 points of DejaVu Sans (about 0.075 inch a character)."""
    lines = [table.header, *table.rows]
    widths = [0.078 * max(len(line[j]) for line in lines) + 0.25 for j in range(len(table.header))]
    total = max(sum(widths), 8.0)
    notes = [part for note in table.notes for part in _wrapped(note, int(total / 0.066))]
    row_height, note_height = 0.24, 0.17
    height = 0.9 + row_height * len(lines) + note_height * (len(notes) + 1)
    figure = plt.figure(figsize=(total + 0.6, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, total + 0.6), ylim=(0, height))
    axes.axis("off")
    y = height - 0.35
    axes.text(0.3, y, table.title, fontsize=11, weight="bold", va="center")
    y -= 0.4
    right = 0.3 + sum(widths)
    axes.plot([0.3, right], [y + row_height / 2] * 2, color="black", lw=1.0)
    for i, line in enumerate(lines):
        x = 0.3
        for j, (cell, width) in enumerate(zip(line, widths, strict=True)):
            weight = "bold" if i == 0 or (i - 1, j) in table.bold else "normal"
            axes.text(
                x if j in table.words else x + width - 0.2,
                y,
                cell,
                fontsize=9,
                weight=weight,
                va="center",
                ha="left" if j in table.words else "right",
                parse_math=False,
            )
            x += width
        y -= row_height
        if i == 0:
            axes.plot([0.3, right], [y + row_height / 2] * 2, color="black", lw=0.5)
    axes.plot([0.3, right], [y + row_height / 2] * 2, color="black", lw=1.0)
    for note in notes:
        axes.text(0.3, y - 0.05, note, fontsize=8, va="center", parse_math=False)
        y -= note_height
    return figure


def pdf(tables: list[TextTable], path: Path) -> Path:
    """One page per table, without dates."""
    no_dates = {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}
    with plt.rc_context(), PdfPages(path, metadata=no_dates) as pages:
        style.apply()
        for table in tables:
            figure = _page(table)
            pages.savefig(figure)
            plt.close(figure)
    return path
