"""How methods are named, ordered and coloured, and how a figure is written so that equal data give equal bytes."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WARM_START = "warm_start"
BASELINE = "grpo"
CORE = ("grpo", "dapo", "arpo", "aepo")
MAIN = ("grpo", "reinforce++", "dapo", "gppo", "cispo", "gigpo", "arpo", "aepo")
"""AEPO and its seven baselines, in the order of their kinds: plain, clipping, trees."""

ORDER = (
    WARM_START,
    *(
        "grpo dr-grpo rloo opo reinforce++ reinforce++-baseline gspo dapo gppo ce-gppo cispo gigpo ppo arpo "
        "arpo-hard aepo ppo+epo grpo+epo epo-base epo-decay epo-no-dw arpo-released aepo-released "
        "epo-released grpo-released ppo+epo-released"
    ).split(),
)
"""Rows of a table; a method that is not named here comes last."""

NAMES = {
    WARM_START: "Warm start",
    "dr-grpo": "Dr. GRPO",
    "bapo-paper": "BAPO (paper)",
    "rest": "ResT",
    "arbitrary-entropy": "Arbitrary entropy",
    "reinforce++": "REINFORCE++",
    "gigpo": "GiGPO",
    "reinforce++-baseline": "REINFORCE++ (baseline)",
    "ce-gppo": "CE-GPPO",
    "ppo+epo": "EPO on PPO",
    "grpo+epo": "EPO on GRPO",
    "ppo-br": "PPO-BR",
    "majority-vote": "Majority vote",
    "sibling-grpo": "Sibling GRPO (ours)",
    "linear-entropy-gate": "Linear entropy gate (ours)",
    "difficulty-entropy": "Difficulty entropy (ours)",
}

# Seven of Okabe & Ito 2008 and a brown: they differ for the common kinds of colour blindness and, with their markers,
# in grey print. A method keeps its colour and marker in every figure.
LOOKS = {
    WARM_START: ("#7f7f7f", "X"),
    "grpo": ("#0072B2", "o"),
    "dapo": ("#E69F00", "s"),
    "arpo": ("#009E73", "^"),
    "aepo": ("#D55E00", "D"),
    "reinforce++": ("#CC79A7", "v"),
    "gppo": ("#56B4E9", "P"),
    "cispo": ("#000000", "*"),
    "gigpo": ("#7A4B00", "<"),
}
"""Method -> its colour and marker: at most eight colours at once."""
REST = ("#333333", "o")
"""Of all other methods, which stand in panels or lines of their own with their names."""
REFERENCE = "#b0b0b0"
"""Of the row that a panel's own row is compared with."""

COLUMN, PAGE = 3.35, 6.9
"""Inches: one column of a page with two, and both. A figure is as wide as one of them and is printed at that size."""
LEAST = 7.0
"""Points of the smallest text."""
MARGIN = 0.04  # inches around a figure's text
RC = {
    "figure.dpi": 120,
    "savefig.dpi": 150,
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.titlelocation": "left",
    "axes.titlepad": 3.0,
    "axes.labelsize": 7.5,
    "xtick.labelsize": LEAST,
    "ytick.labelsize": LEAST,
    "legend.fontsize": LEAST,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "text.hinting": "none",
}
NO_DATES = dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer"))


class Drawn(NamedTuple):
    """A figure, and one sentence that its data support."""

    figure: "Figure"
    says: str


def subplots(rows: int = 1, columns: int = 1, height: float = 2.0, width: float = PAGE, **options):
    """`plt.subplots` in this repository's style. height: inches of the panels, without what `finish` adds."""
    import matplotlib
    import matplotlib.pyplot as plt  # here: what only reads results loads without it

    matplotlib.rcdefaults()
    plt.rcParams.update(RC)
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)


def finish(figure, title: str, caption: str, handles=()) -> None:
    """Adds a title, a legend of `handles` outside the panels and a caption, for which the figure grows in height.

    A file then says by itself what it shows. The panels keep their height.
    """
    width, height = figure.get_size_inches()
    room = 0.97 * 72 * (width - 2 * MARGIN)  # on screen, glyphs are a little wider than in a PDF
    head, foot = _wrapped(title, room, 8.5, "bold"), _wrapped(caption, room, LEAST)
    handles = list(handles)
    columns = (
        max(1, int(room // (26 + max((text_points(h.get_label(), LEAST) for h in handles), default=1))))
        if handles
        else 1
    )
    keys = -(-len(handles) // columns) * 0.155
    above, below = 0.165 * len(head) + keys + 0.06, 0.125 * len(foot) + 0.08
    whole = height + above + below
    figure.set_size_inches(width, whole)
    figure.get_layout_engine().set(rect=(0, below / whole, 1, height / whole))
    left, top = MARGIN / width, 1 - MARGIN / whole
    words = {"ha": "left", "linespacing": 1.25, "in_layout": False}
    figure.text(left, top, "\n".join(head), va="top", fontsize=8.5, weight="bold", gid="title", **words)
    figure.text(left, MARGIN / whole, "\n".join(foot), va="bottom", fontsize=LEAST, gid="caption", **words)
    if handles:
        place = {"loc": "upper left", "bbox_to_anchor": (0, top - 0.165 * len(head) / whole), "borderaxespad": 0}
        figure.legend(handles=handles, ncols=columns, **place, handlelength=1.8, columnspacing=1.4, labelspacing=0.3)


def text_points(text: str, size: float, weight: str = "normal") -> float:
    """Width of a line of text, points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextToPath

    return TextToPath().get_text_width_height_descent(text, FontProperties(size=size, weight=weight), ismath=False)[0]


def _wrapped(text: str, room: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of at most `room` points."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_points(longer, size, weight) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def line_key(label: str, color: str, **look):
    """A line of a legend."""
    from matplotlib.lines import Line2D

    return Line2D([], [], color=color, label=label, **look)


def band_key(label: str = "95 % interval", color: str = REST[0]):
    """The shaded interval of a legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=color, alpha=0.18, lw=0, label=label)


def name(method: str) -> str:
    """`aepo-released` -> `AEPO (released)`; a method that no table has, whole: `kl-cov` -> `KL-COV`."""
    if method in NAMES:
        return NAMES[method]
    base, _, variant = method.partition("-")
    if base not in {known.partition("-")[0] for known in ORDER}:
        return method.upper()
    shown = NAMES.get(base, base.upper())
    return f"{shown} ({variant.replace('-', ' ')})" if variant else shown


def order(methods) -> list[str]:
    """The methods in the order of the tables, unknown ones by name at the end; without repeats."""
    return sorted(set(methods), key=lambda m: (ORDER.index(m) if m in ORDER else len(ORDER), m))


def shown(methods) -> list[str]:
    """Rows of a figure with one line per method: the warm start, AEPO and its baselines; all if none is one.

    The tables and the training curves show every method.
    """
    ordered = order(methods)
    return [m for m in ordered if m in (WARM_START, *MAIN)] or ordered


def colour(method: str) -> str:
    """The method's colour."""
    return LOOKS.get(method, REST)[0]


def marker(method: str) -> str:
    """The method's marker, so that a figure can be read without colour."""
    return LOOKS.get(method, REST)[1]


def save(figure, folder: Path, stem: str, image: bool = False) -> Path:
    """Write `folder/stem.pdf` without dates, so that the same data give the same bytes. Returns the path.

    image: as stem.png, for a page that shows no PDF.

    The figure keeps the layout of the file in whatever it is drawn to next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.{'png' if image else 'pdf'}"
    figure.savefig(path, metadata={"Software": None} if image else NO_DATES, dpi=200)
    figure.set_layout_engine("none")
    return path
