"""The rows as a table on the terminal and as a CSV file."""

import csv
import os
from dataclasses import fields
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from reproduce.commands.bench.rows import Measurement
from reproduce.runs.manifest import machine, versions


def write_csv(path: Path, rows: list[Measurement], origin: str, quick: bool) -> None:
    """One line per row, with the machine and the versions behind it; replaces the file in one step."""
    facts = machine()
    known = versions()
    behind = {
        "weights": origin, "quick": quick, "threads": 1, "cpu": facts["cpu"], "cores": facts["cores"],
        "memory_gb": facts["memory_gb"],
        **{name: known[name] for name in ("python", "torch", "trl", "transformers")},
    }  # fmt: skip
    names = [field.name for field in fields(Measurement)]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, [*names, *behind], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            cells = {name: getattr(row, name) for name in names}
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in cells.items()} | behind)
    os.replace(temporary, path)


def show(console, rows: list[Measurement], origin: str) -> None:
    """Prints the table, the weights' origin and the machine."""
    title = "Speed as ratios: left over right, median \\[smallest, largest] of paired repetitions"
    table = Table(title=title, title_justify="left")
    table.add_column("measure")
    for name in ("left", "right", "ratio", "aim"):
        table.add_column(name, justify="right", no_wrap=True)
    section = None
    for row in rows:
        if section != (section := (row.comparison, row.left_name, row.right_name)):
            table.add_section()
            table.add_row(f"[bold]{row.comparison}: {row.left_name} / {row.right_name}[/bold]", "", "", "", "")
        values = ["-", "-", "-"] if row.repetitions == 0 else [
            _number(row.left), _number(row.right),
            f"{row.ratio:.2f} \\[{row.ratio_low:.2f}, {row.ratio_high:.2f}]",
        ]  # fmt: skip
        note = f"\n[dim]{escape(row.note)}[/dim]" if row.note else ""
        table.add_row(row.measure + note, *values, f"{row.aim}: {row.met}" if row.aim else "")
    console.print(table)
    if origin:
        console.print(f"weights: {origin}", highlight=False)
    facts = machine()
    console.print(f"machine: {facts['cpu']}, {facts['cores']} cores, one thread", highlight=False)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
