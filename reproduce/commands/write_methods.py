"""Writes the methods and their settings into `reproduce/algorithms/README.md` (`make readme-methods`)."""

from pathlib import Path

from analysis import readme
from reproduce.algorithms import document

README = Path(document.__file__).parent / "README.md"
BLOCKS = {"methods": document.methods, "settings": document.settings}


def write_methods(path: Path = README) -> bool:
    """Replace both generated blocks of the README. Returns whether the file changed."""
    changed = [readme.insert(path, name, made()) for name, made in BLOCKS.items()]
    return any(changed)


if __name__ == "__main__":
    print(f"{README.name}: {'written' if write_methods() else 'unchanged'}")
