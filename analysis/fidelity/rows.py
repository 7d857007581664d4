"""The rows of the audit, read from `data/papers/discrepancies.yaml` and checked."""

import re
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from analysis.fidelity.measures import MEASURES
from reproduce.algorithms import load, names
from reproduce.errors import UserError
from reproduce.yaml_files import read_yaml_value

COUNTS = {"AEPO": 27, "ARPO": 18, "EPO": 19}
"""Method -> discrepancies between its paper and its released code."""

OTHER = "OTHER"  # differences beyond these papers
CHANGES = ("gradient", "sampling", "evaluation", "log", "cost", "text")
_NODE = re.compile(r"tests/\w+/test_\w+\.py::test_\w+")


@dataclass(frozen=True)
class Discrepancy:
    """One discrepancy; the head of the file says what each field holds."""

    id: str
    topic: str
    paper: str
    released: str
    where: str
    here: str
    changes: list[str]
    settings: dict[str, dict] = field(default_factory=dict)
    measures: list[str] = field(default_factory=list)
    unmeasured: str = ""
    tests: list[str] = field(default_factory=list)
    untested: str = ""

    @property
    def method(self) -> str:
        """AEPO, ARPO, EPO or OTHER."""
        return self.id.rpartition("-")[0]

    def problems(self):
        """Problem of the row, in words."""
        for name in ("changes", "settings", "measures", "tests"):
            kind = dict if name == "settings" else list
            if not isinstance(getattr(self, name), kind):
                yield f"{name} must be a {'mapping' if kind is dict else 'list'}"
                return
        for name in ("topic", "paper", "released", "where", "here"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                yield f"{name} is empty"
        for change in self.changes or ["none"]:
            if change not in CHANGES:
                yield f"changes names {change!r}; choose among {', '.join(CHANGES)}"
        for what, reason in (("measures", "unmeasured"), ("tests", "untested")):
            if bool(getattr(self, what)) == bool(getattr(self, reason)):
                yield f"give either {what} or the reason why there are none, {reason}"
        for name in self.measures:
            if name not in MEASURES:
                yield f"measures names {name!r}, which analysis/fidelity does not measure"
        for test in self.tests:
            if not _NODE.fullmatch(str(test)):
                yield f"tests names {test!r}, which is no pytest node id"
        yield from self._wrong_settings()

    def _wrong_settings(self):
        for method, wanted in self.settings.items():
            if method not in names():
                yield f"settings names the method {method!r}, which does not exist"
                continue
            settings = load(method).settings
            for key, value in wanted.items():
                if key not in settings:
                    yield f"settings names {key!r}, which {method} does not have"
                elif settings[key] != value or type(settings[key]) is not type(value):
                    yield f"settings says {key} is {value!r} in {method}, but it is {settings[key]!r}"


def load_rows(path: Path) -> list[Discrepancy]:
    """The rows in the order of the file. Raises UserError naming file, row and problem.

    Complete: every id of `COUNTS` once and in order, then those beyond; every measure belongs to a row.
    """
    entries = read_yaml_value(path)
    if not isinstance(entries, list):
        raise UserError(f"{path} must hold a list of rows")
    rows = [_row(path, number, entry) for number, entry in enumerate(entries, start=1)]
    others = [row.id for row in rows if row.method == OTHER]
    expected = [f"{method}-{n}" for method, count in COUNTS.items() for n in range(1, count + 1)]
    expected += [f"{OTHER}-{n}" for n in range(1, len(others) + 1)]
    found = [row.id for row in rows]
    if found != expected:
        wrong = next((e for e, f in zip(expected, [*found, None], strict=False) if e != f), found[-1])
        raise UserError(f"{path}: row {wrong} is missing, out of order or too many")
    unused = MEASURES.keys() - {name for row in rows for name in row.measures}
    if unused:
        raise UserError(f"{path}: no row shows the measure {min(unused)!r}; add it to one")
    return rows


def _row(path: Path, number: int, entry) -> Discrepancy:
    where = f"{path}, row {number}"
    if not isinstance(entry, dict):
        raise UserError(f"{where}: must be a mapping")
    where = f"{path}, row {entry.get('id', number)}"
    known = {f.name: f.default is MISSING and f.default_factory is MISSING for f in fields(Discrepancy)}
    for key in entry.keys() - known.keys():
        raise UserError(f"{where}: unknown key {key!r}; keys: {', '.join(known)}")
    for key, required in known.items():
        if required and key not in entry:
            raise UserError(f"{where}: key {key!r} is missing")
    row = Discrepancy(**entry)
    for problem in row.problems():
        raise UserError(f"{where}: {problem}")
    return row
