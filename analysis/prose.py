"""analysis/RESULTS.md: the tables, and sentences about them whose numbers are cells of the files in figures/.

The sentences stand in `results.md.j2`. Which rows are told apart is said by the adjusted p-values, not by a writer.
"""

import re
from pathlib import Path

import jinja2
import pandas as pd

from analysis import format, readme, style
from analysis.table import ALPHA
from reproduce.errors import UserError

TEMPLATE = Path(__file__).with_name("results.md.j2")
NAMES = re.compile(
    r"\{\{.*?\}\}|\{#.*?#\}|`[^`]*`|\]\([^)]*\)|\[[^\]]*\]|^#.*$|\b[Tt]ables? \d|pass@\d", re.DOTALL | re.MULTILINE
)
"""What of the template may hold digits: expressions, comments, code, links, headings, names of tables and measures."""


def results(figures: Path) -> str:
    """The text of RESULTS.md, from the files in the folder `figures`. UserError for a cell that is not there."""
    cells = Cells(figures)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    try:
        return environment.from_string(TEMPLATE.read_text("utf-8")).render(
            {name: getattr(cells, name) for name in ("table", "cell", "effect", "listed", "more", "gain", "dose")}
        )
    except jinja2.TemplateError as error:
        raise UserError(f"{TEMPLATE}: {error}") from None


def typed_numbers(template: str) -> list[str]:
    """Numbers that the template's sentences hold themselves."""
    return re.findall(r"\d[\d.,]*", NAMES.sub("", template))


class Cells:
    """Cells of the CSV files in a folder, as text."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._frames: dict[str, pd.DataFrame] = {}

    def table(self, number: int) -> str:
        """What is measured in table `number`, with its notes."""
        path = self.folder / f"table{number}.md"
        if not path.is_file():
            raise UserError(f"{TEMPLATE}: {path} is missing; run `make tables`")
        text = readme.shown(path.read_text("utf-8"), f"table{number}")
        return re.sub(r"^## Table \d\. ", "## ", text, count=1).strip().replace("](figures/", "](../figures/")

    def cell(self, file: str, row: str, column: str, digits: int = 1, **where: str) -> str:
        """The cell of `column` in the row whose first column is `row`, and further columns as `where` says."""
        return format.number(self._value(file, row, column, **where), digits)

    def effect(self, file: str, row: str, column: str, **where: str) -> str:
        """A difference with its interval, from `column`, `<column>_low` and `<column>_high`."""
        value, low, high = (self._value(file, row, f"{column}{end}", **where) for end in ("", "_low", "_high"))
        return (
            f"{format.number(value, 1, sign=True)} [{', '.join(format.number(x, 1, sign=True) for x in (low, high))}]"
        )

    def listed(self, number: int, side: str) -> str:
        """Rows above or below a table's baseline after adjustment, with differences; "none" if there are none."""
        frame = self._frame(f"table{number}")
        told = frame[(frame["adjusted_1"] < ALPHA) & ((frame["difference_1"] > 0) == (side == "above"))]
        rows = [f"{style.name(row)} ({self.effect(f'table{number}', row, 'difference_1')})" for row in told["method"]]
        return ", ".join(rows) or "none"

    def more(self, number: int, row: str) -> str:
        """By how many percent a row sampled more tokens than GRPO; a minus for fewer."""
        own, base = (self._value(f"table{number}", name, "sampled_tokens") for name in (row, style.BASELINE))
        return format.number(100 * (own / base - 1), 0)

    def gain(self, file: str, row: str, column: str) -> str:
        """Points of a row over the warm start."""
        return format.number(self._value(file, row, column) - self._value(file, style.WARM_START, column), 1)

    def dose(self, claim: str) -> str:
        """The dose of a claim's component, in percent."""
        return f"{self._value('claims', claim, 'dose'):.2g}"

    def _value(self, file: str, row: str, column: str, **where: str) -> float:
        frame = self._frame(file)
        found = frame[frame.iloc[:, 0] == row]
        for name, wanted in where.items():
            found = found[found[name] == wanted]
        if column not in found or found.empty:
            raise UserError(f"{TEMPLATE}: {self.folder / file}.csv has no cell ({row}, {column})")
        return float(found[column].iloc[0])

    def _frame(self, file: str) -> pd.DataFrame:
        if file not in self._frames:
            path = self.folder / f"{file}.csv"
            if not path.is_file():
                raise UserError(f"{TEMPLATE}: {path} is missing; run `make tables`")
            self._frames[file] = pd.read_csv(path)
        return self._frames[file]
