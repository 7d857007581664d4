"""The rows of the audit, read from `data/papers/discrepancies.yaml` and checked."""

from dataclasses import field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from analysis.fidelity.measures import MEASURES
from reproduce.algorithms import load, names
from reproduce.config.strict import build, section
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml_value

COUNTS = {"AEPO": 27, "ARPO": 18, "EPO": 19}
"""Method -> discrepancies between its paper and its released code."""

FAMILY = "FAMILY"  # papers and code of the entropy family
OTHER = "OTHER"  # differences beyond all of these
CHANGES = ("gradient", "sampling", "evaluation", "log", "cost", "text")
TestNode = Annotated[str, Field(pattern=r"^tests/\w+/test_\w+\.py::test_\w+$")]


@section
class Discrepancy:
    """One discrepancy; the head of the file says what each field holds."""

    id: str
    topic: str
    paper: str
    released: str
    where: str
    here: str
    changes: Annotated[list[Literal[CHANGES]], Field(min_length=1)]
    settings: dict[str, dict] = field(default_factory=dict)
    measures: list[str] = field(default_factory=list)
    unmeasured: str = ""
    tests: list[TestNode] = field(default_factory=list)
    untested: str = ""

    @property
    def method(self) -> str:
        """AEPO, ARPO, EPO, FAMILY or OTHER."""
        return self.id.rpartition("-")[0]

    def problems(self):
        """(key, what is wrong with it)."""
        for key in ("topic", "paper", "released", "where", "here"):
            if not getattr(self, key).strip():
                yield key, "is empty"
        for key, reason in (("measures", "unmeasured"), ("tests", "untested")):
            if bool(getattr(self, key)) == bool(getattr(self, reason)):
                yield key, f"or the reason why there are none, '{reason}': give one of the two"
        for name in self.measures:
            if name not in MEASURES:
                yield "measures", f"names {name!r}, which analysis/fidelity does not measure"
        for method, wanted in self.settings.items():
            known = load(method).settings if method in names() else None
            if known is None:
                yield "settings", f"names the method {method!r}, which does not exist"
                continue
            for key, value in wanted.items():
                if key not in known:
                    yield "settings", f"names {key!r}, which {method} does not have"
                elif known[key] != value or type(known[key]) is not type(value):
                    yield "settings", f"says {key} is {value!r} in {method}, but it is {known[key]!r}"


def load_rows(path: Path) -> list[Discrepancy]:
    """The rows in the order of the file. Raises UserError naming file, row and problem.

    Complete: every id of `COUNTS` once and in order, then those beyond; every measure belongs to a row.
    """
    entries = read_yaml_value(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} must hold a list of rows")
    ids = [entry.get("id", place) if isinstance(entry, dict) else place for place, entry in enumerate(entries, 1)]
    rows = [build(Discrepancy, entry, f"{path}, row {name}") for name, entry in zip(ids, entries, strict=True)]
    expected = [f"{method}-{n}" for method, count in COUNTS.items() for n in range(1, count + 1)]
    for beyond in (FAMILY, OTHER):
        expected += [f"{beyond}-{n}" for n in range(1, 1 + sum(row.method == beyond for row in rows))]
    if ids != expected:
        wrong = next((e for e, f in zip(expected, [*ids, None], strict=False) if e != f), ids[-1])
        raise UserError(f"{path}: row {wrong} is missing, out of order or too many")
    unused = MEASURES.keys() - {name for row in rows for name in row.measures}
    if unused:
        raise UserError(f"{path}: no row shows the measure {min(unused)!r}; add it to one")
    return rows
