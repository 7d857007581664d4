"""Puts the generated table 2 into the README, between two markers: the README's numbers are never typed."""

from pathlib import Path

from reproduce.errors import UserError

START, END = "<!-- table2 -->", "<!-- /table2 -->"


def block(text: str) -> str:
    """What stands between the markers of a README. UserError if a marker is missing."""
    if START not in text or END not in text:
        raise UserError(f"README.md: the markers {START} and {END} are missing; put them back where the table belongs")
    return text.split(START, 1)[1].split(END, 1)[0].strip("\n")


def insert(readme: Path, table: str) -> bool:
    """Replaces the block by `table` (markdown). Returns whether the file changed."""
    text = readme.read_text(encoding="utf-8")
    old = block(text)
    new = text.replace(f"{START}{text.split(START, 1)[1].split(END, 1)[0]}{END}", f"{START}\n{table.strip()}\n{END}")
    if old == table.strip():
        return False
    readme.write_text(new, encoding="utf-8")
    return True
