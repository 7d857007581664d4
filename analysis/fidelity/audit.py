"""The whole audit: read its inputs, compute its numbers, and what it writes and draws."""

from dataclasses import dataclass
from pathlib import Path

from analysis import fidelity
from analysis.fidelity import table
from analysis.fidelity.rows import Discrepancy, load_rows
from analysis.reported import load_reported


@dataclass(frozen=True)
class Audit:
    """rows: the discrepancies; values: measure -> number; about: sentences on the batch and on the whole."""

    batch: fidelity.Batch
    rows: list[Discrepancy]
    values: dict[str, float]
    about: tuple[str, ...]

    @property
    def markdown(self) -> str:
        """The whole table."""
        return table.markdown(self.rows, self.values, self.about)

    def files(self) -> dict[str, str]:
        """Name -> text."""
        return table.files(self.rows, self.values, self.about)


def load_audit(data_folder: Path) -> Audit:
    """The audit of the batch, the rows and the reported numbers in `data_folder`. UserError for a broken file."""
    batch = fidelity.load_batch(data_folder / "fidelity")
    rows = load_rows(data_folder / "papers" / "discrepancies.yaml")
    values = fidelity.values(batch, load_reported(data_folder / "papers"))
    return Audit(batch, rows, values, (batch.description, table.summary(fidelity.together(batch))))
