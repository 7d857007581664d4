"""figures/fidelity.md and figures/fidelity.csv: the rows with their measured numbers."""

import pandas as pd

from analysis.fidelity.losses import TOGETHER
from analysis.fidelity.measures import MEASURES
from analysis.fidelity.rows import CHANGES, COUNTS, FAMILY, OTHER, Discrepancy
from analysis.text_table import MISSING, pipes

COLUMNS = ("Row", "Paper", "Released code", "Here", "Changes", "By how much", "Test")
TITLES = {
    "AEPO": "AEPO (arXiv 2510.14545)",
    "ARPO": "ARPO (arXiv 2507.19849)",
    "EPO": "EPO (arXiv 2509.22576)",
    FAMILY: "The entropy family",
    OTHER: "Beyond these papers",
}
SINGULAR = {"trajectories": "trajectory", "tokens": "token", "losses of 2": "loss of 2"}
NOTES = (
    "Distances of gradients are |other − paper| / |paper| with respect to the logits of all trained tokens, on one "
    "real batch taken as one update batch. One batch gives no interval: read orders of magnitude.",
    "The full text of AEPO was not available to us. What it says is taken from its abstract and from papers that "
    "quote its formulas; constants that nobody quotes are marked as not public. EPO v1 is known from its reviews.",
    "Changes: gradient (losses, advantages, rewards), sampling (which trajectories there are), evaluation, log, cost, "
    "or text (only what is written somewhere).",
)


def number(value: float) -> str:
    """Three significant digits, no exponent down to 0.001; whole numbers as such."""
    if value == round(value) and abs(value) < 1e6:
        return str(round(value))
    shown = f"{value:.3g}"
    return shown if "e" not in shown else f"{value:.1e}"


def quantity(name: str, values: dict[str, float]) -> str:
    """A measured number in words: `48.1 %: what it is of`."""
    shown, unit = number(values[name]), MEASURES[name].unit
    return f"{shown} {SINGULAR.get(unit, unit) if shown == '1' else unit}: {MEASURES[name].quantity}"


def switches(row: Discrepancy) -> str:
    """The settings of a row: `aepo: dynamic_budget = true; ...`."""

    def shown(value):
        return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)

    return "; ".join(
        f"`{method}`: {', '.join(f'`{key} = {shown(value)}`' for key, value in wanted.items())}"
        for method, wanted in row.settings.items()
    )


def frame(rows: list[Discrepancy], values: dict[str, float]) -> pd.DataFrame:
    """A row per discrepancy; `value`, `unit`, `quantity` are its number's, `further` holds the other ones in words."""
    records = []
    for row in rows:
        first = row.measures[0] if row.measures else None
        said = {key: getattr(row, key) for key in ("id", "method", "topic", "paper", "released", "where", "here")}
        records.append(
            said
            | {
                "settings": switches(row).replace("`", ""),
                "changes": " ".join(row.changes),
                "value": values[first] if first else None,
                "unit": MEASURES[first].unit if first else "",
                "quantity": MEASURES[first].quantity if first else "",
                "further": "; ".join(quantity(name, values) for name in row.measures[1:]),
                "unmeasured": row.unmeasured,
                "tests": " ".join(row.tests),
                "untested": row.untested,
            }
        )
    return pd.DataFrame(records)


def counts(rows: list[Discrepancy]) -> pd.DataFrame:
    """Method x kind of change: how many discrepancies change it (one may change several), how many are measured and
    proved by a test. Rows beyond the three papers are not counted."""
    found = {}
    for method in COUNTS:
        own = [row for row in rows if row.method == method]
        found[method] = {kind: sum(kind in row.changes for row in own) for kind in CHANGES} | {
            "rows": len(own),
            "measured": sum(bool(row.measures) for row in own),
            "proved": sum(bool(row.tests) for row in own),
        }
    table = pd.DataFrame(found).T
    return pd.concat([table, table.sum().to_frame("all").T])


def answer(rows: list[Discrepancy], values: dict[str, float]) -> str:
    """How many differences there are, and how many of the measured ones move the gradient."""
    own = [row for row in rows if row.method in COUNTS]
    moved = [values[m] for row in own for m in row.measures if MEASURES[m].quantity.startswith("distance")]
    gradient = sum("gradient" in row.changes for row in own)
    return (
        f"**Answer.** {len(own)} differences between the three papers and their code, of which {gradient} change the "
        f"gradient; "
        f"of {len(moved)} measured distances {sum(value > 10 for value in moved)} exceed a tenth of the paper's "
        f"gradient."
    )


def summary(together: dict[str, float]) -> str:
    """A sentence on the released methods as a whole; together: method -> distance of its gradient in percent."""
    parts = [f"`{name}` {number(value)} % from `{TOGETHER[name]}`" for name, value in together.items()]
    return f"All settings of the loss at once, the same trajectories: {', '.join(parts)}."


def markdown(rows: list[Discrepancy], values: dict[str, float], about: tuple[str, ...]) -> str:
    """The whole table as Markdown, a section per paper. about: sentences on the batch and on the whole."""
    lines = ["# Papers and released code", "", *(f"- {note}" for note in (*about, *NOTES)), ""]
    lines += ["## How many", "", *_pipes(_count_lines(rows)), ""]
    for method, title in TITLES.items():
        lines += [f"## {title}", "", *_pipes([COLUMNS, *(cells(row, values) for row in rows if row.method == method)])]
        lines.append("")
    return "\n".join(lines)


def _count_lines(rows: list[Discrepancy]) -> list[tuple[str, ...]]:
    table = counts(rows)
    return [("", *map(str, table.columns)), *((str(name), *map(str, line)) for name, line in table.iterrows())]


def cells(row: Discrepancy, values: dict[str, float]) -> tuple[str, ...]:
    """The row as cells of `COLUMNS`."""
    here = " ".join(part for part in (row.here, switches(row)) if part)
    measured = "<br>".join(quantity(name, values) for name in row.measures) or f"{MISSING} ({row.unmeasured})"
    tests = "<br>".join(f"`{test}`" for test in row.tests) or f"{MISSING} ({row.untested})"
    released = f"{row.released} ({row.where})"
    return (f"**{row.id}** {row.topic}", row.paper, released, here, ", ".join(row.changes), measured, tests)


def _pipes(lines) -> list[str]:
    head, *rest = [[str(cell).replace("|", r"\|") for cell in line] for line in lines]
    return pipes([head, ["---"] * len(head), *rest])


def files(rows: list[Discrepancy], values: dict[str, float], about: tuple[str, ...]) -> dict[str, str]:
    """Name -> text of fidelity.md with all rows and fidelity.csv with those of the three papers."""
    own = frame([row for row in rows if row.method in COUNTS], values)
    return {"fidelity.md": markdown(rows, values, about), "fidelity.csv": own.to_csv(index=False, float_format="%.6g")}
