"""Puts generated tables into README.md and RESULTS.md, each between its two markers: their numbers are never typed."""

from pathlib import Path

from reproduce.errors import UserError

RESULTS = Path("analysis") / "RESULTS.md"
"""Where the tables stand, below the root."""


def markers(table: str) -> tuple[str, str]:
    """Markers before and after the block of `table`, such as "table2"."""
    return f"<!-- {table} -->", f"<!-- /{table} -->"


def block(text: str, table: str) -> str:
    """Text between the markers of a table in a README. UserError if a marker is missing."""
    start, end = markers(table)
    if start not in text or end not in text:
        raise UserError(f"the markers {start} and {end} are missing; put them back where the table belongs")
    return text.split(start, 1)[1].split(end, 1)[0].strip("\n")


def shown(markdown: str, table: str) -> str:
    """figures/<table>.md as RESULTS.md shows it: its link leads from there."""
    file = f"{table}_appendix.md"
    return markdown.replace(f"[{file}]({file})", f"[figures/{file}](../figures/{file})")


def insert(readme: Path, table: str, markdown: str) -> bool:
    """Replaces the block of `table`. Returns whether the file changed."""
    text = readme.read_text(encoding="utf-8")
    old, (start, end) = block(text, table), markers(table)
    if old == markdown.strip():
        return False
    before, after = text.split(start, 1)[0], text.split(end, 1)[1]
    readme.write_text(f"{before}{start}\n{markdown.strip()}\n{end}{after}", encoding="utf-8")
    return True
