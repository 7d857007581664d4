"""How methods are named, ordered and coloured, and how a figure is written so that equal data give equal bytes."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt

WARM_START = "warm_start"
BASELINE = "grpo"
TABLE2_METHODS = (WARM_START, "grpo", "dapo", "arpo", "aepo")
NAMES = {WARM_START: "Warm start", "reinforce++": "REINFORCE++", "gigpo": "GiGPO"}

# Okabe & Ito 2008, safe for the common kinds of colour blindness. A method keeps its colour and marker in every figure.
COLOURS = {
    WARM_START: "#7f7f7f",
    "grpo": "#0072B2",
    "dapo": "#E69F00",
    "arpo": "#009E73",
    "aepo": "#D55E00",
}
MARKERS = {WARM_START: "X", "grpo": "o", "dapo": "s", "arpo": "^", "aepo": "D"}
_OTHER_COLOURS = ("#CC79A7", "#56B4E9", "#000000", "#B8A800")
_OTHER_MARKERS = ("v", "P", "*", "<")

RC = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.hashsalt": "reproduce",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}
_NO_DATES = {"pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None}, "svg": {"Date": None}}


def apply() -> None:
    """Set this repository's figure style for the running process."""
    matplotlib.rcdefaults()
    plt.rcParams.update(RC)


def name(method: str) -> str:
    """`aepo-released` -> `AEPO (released)`."""
    base, _, variant = method.partition("-")
    shown = NAMES.get(base, base.upper())
    return f"{shown} ({variant})" if variant else shown


def order(methods) -> list[str]:
    """Warm start, then the methods of table 2, then all others by name; without repeats."""
    known = list(TABLE2_METHODS)
    return sorted(set(methods), key=lambda m: (known.index(m) if m in known else len(known), m))


def _others(method: str, methods) -> int:
    return [m for m in order(methods) if m not in COLOURS].index(method)


def colour(method: str, methods=()) -> str:
    """The method's colour; methods outside table 2 take further colours in order of name among `methods`."""
    return COLOURS.get(method) or _OTHER_COLOURS[_others(method, [*methods, method]) % len(_OTHER_COLOURS)]


def marker(method: str, methods=()) -> str:
    """The method's marker, so that a figure can be read without colour."""
    return MARKERS.get(method) or _OTHER_MARKERS[_others(method, [*methods, method]) % len(_OTHER_MARKERS)]


def look(method: str, methods=()) -> dict:
    """How the method's points with error bars look, as arguments of `Axes.errorbar`."""
    mark = {"color": colour(method, methods), "marker": marker(method, methods)}
    return mark | {"ms": 6, "capsize": 3, "ls": "none"}


def save(figure, folder: Path, stem: str) -> list[Path]:
    """Write `folder/stem.pdf` and `.svg`, without dates: the same data give the same bytes. Returns both paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with plt.rc_context({"svg.hashsalt": stem}):
        for extension, metadata in _NO_DATES.items():
            path = folder / f"{stem}.{extension}"
            figure.savefig(path, metadata=metadata, bbox_inches="tight")
            paths.append(path)
    return paths
