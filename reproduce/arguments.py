"""Shared pieces of the commands' option parsers: one-line errors, and lists of names, seeds and numbers of runs."""

import argparse
import os
import sys
from pathlib import Path

from reproduce.errors import UserError

DEFAULT_PROFILE = "mini"
MOST_SEEDS = 1000
"""The most seeds that one command may ask for; more is a typing error."""


class Parser(argparse.ArgumentParser):
    """An argparse parser that raises UserError for bad arguments: one line instead of a page."""

    def error(self, message: str):
        raise UserError(f"{message} (see {self.prog} --help)")


def first_line(docstring: str | None) -> str:
    """Return the first line of a module's docstring, for `--help`; "" where Python runs without docstrings."""
    return (docstring or "").partition("\n")[0]


def readable_output() -> None:
    """Print characters that the terminal's encoding lacks as `?`, and ignore an empty or zero COLUMNS."""
    if not os.environ.get("COLUMNS", "80").strip("0"):
        del os.environ["COLUMNS"]  # an empty or zero width would print empty lines
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks put other objects there
            stream.reconfigure(errors="replace")


def names(text: str) -> list[str]:
    """Read names: `"grpo, aepo"` -> ["grpo", "aepo"]."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("name at least one")
    return found


def seeds(text: str) -> list[int]:
    """Read seeds: `"0,4-6"` -> [0, 4, 5, 6]."""
    found: list[int] = []
    for part in names(text):
        first, dash, last = part.partition("-")
        if not _whole(first) or (dash and not _whole(last)):
            raise argparse.ArgumentTypeError(f"'{part}' is not a seed; write 0,1,2 or 0-7")
        start, end = int(first), int(last or first)
        if end < start:
            raise argparse.ArgumentTypeError(f"'{part}' ends before it begins; write {end}-{start}")
        if end - start >= MOST_SEEDS or len(found) + end - start >= MOST_SEEDS:
            raise argparse.ArgumentTypeError(f"'{part}' asks for more than {MOST_SEEDS} seeds")
        found += range(start, end + 1)
    for seed in found:
        if found.count(seed) > 1:
            raise argparse.ArgumentTypeError(f"seed {seed} is named twice")
    return found


def _whole(text: str) -> bool:
    """Whether the text is a seed: a whole number from 0 to 2**32 - 1, in ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32


def count(text: str) -> int:
    """Read a number of runs at a time, 1 or more."""
    if not _whole(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of runs; write 1 or more")
    return int(text)


def folder(text: str) -> Path:
    """Read a folder that exists or can be made: not a file, and not below one."""
    path = Path(text)
    for place in (path, *path.absolute().parents):
        if place.exists() or place.is_symlink():
            if not place.is_dir():
                raise argparse.ArgumentTypeError(f"{place} is not a folder")
            break
    return path


def given(path: Path | None, command: str, holds: str) -> Path:
    """Return the folder that `--data` names.

    Args:
        path: the folder, None where none is named.
        command: the command, for the error.
        holds: what lies in the folder, for the error.

    Raises:
        UserError: no folder is named.
    """
    if path is None:
        raise UserError(f"no folder is named: make {command} DATA=FOLDER (or --data FOLDER), which holds {holds}")
    return path


def new_file(text: str) -> Path:
    """Read a file to write: not a folder, and not below a file."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: name a file in it")
    folder(str(path.parent))
    return path


def add_settings(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """Add the option `--set`, whose words `reproduce.config.command_line` reads."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar=metavar, help=help)
