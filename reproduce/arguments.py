"""Shared pieces of the commands' option parsers: one-line errors, and lists of names, seeds and numbers of runs."""

import argparse
import os
import sys
from pathlib import Path

from reproduce.errors import UserError

DEFAULT_PROFILE = "mini"
MOST_SEEDS = 1000
"""Seeds that one command may ask for; more is a slip of the keyboard."""


class Parser(argparse.ArgumentParser):
    """argparse that raises UserError on words it does not know, for one line instead of a page."""

    def error(self, message: str):
        raise UserError(f"{message} (see {self.prog} --help)")


def first_line(docstring: str | None) -> str:
    """The first line of a module's docstring, for `--help`; empty where Python runs without docstrings."""
    return (docstring or "").partition("\n")[0]


def readable_output() -> None:
    """From now on what the terminal's encoding lacks is printed as `?`, and a width that is none is forgotten."""
    if not os.environ.get("COLUMNS", "80").strip("0"):
        del os.environ["COLUMNS"]  # an empty or zero width would print empty lines
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks put other objects there
            stream.reconfigure(errors="replace")


def names(text: str) -> list[str]:
    """`"grpo, aepo"` -> ["grpo", "aepo"]."""
    found = [name.strip() for name in text.split(",") if name.strip()]
    if not found:
        raise argparse.ArgumentTypeError("name at least one")
    return found


def seeds(text: str) -> list[int]:
    """`"0,4-6"` -> [0, 4, 5, 6]."""
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
    """Whether the text is a whole number from 0 that a seed may be: below 2**32, in ASCII digits."""
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) < 2**32


def count(text: str) -> int:
    """A number of runs at a time, 1 or more."""
    if not _whole(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of runs; write 1 or more")
    return int(text)


def folder(text: str) -> Path:
    """A folder, there or to be made; not a file, and not below one."""
    path = Path(text)
    for place in (path, *path.absolute().parents):
        if place.exists() or place.is_symlink():
            if not place.is_dir():
                raise argparse.ArgumentTypeError(f"{place} is not a folder")
            break
    return path


def given(path: Path | None, command: str, holds: str) -> Path:
    """The folder that `--data` names; UserError if it is missing. holds: what lies in the folder."""
    if path is None:
        raise UserError(f"no folder is named: make {command} DATA=FOLDER (or --data FOLDER), which holds {holds}")
    return path


def new_file(text: str) -> Path:
    """A file to write: not a folder, and not below a file."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder: name a file in it")
    folder(str(path.parent))
    return path


def add_settings(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """The option `--set`, whose words `reproduce.config.command_line` reads."""
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar=metavar, help=help)
