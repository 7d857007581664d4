"""How methods are named, ordered and coloured, and how a figure is written so that equal data give equal bytes."""

from pathlib import Path

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

# Okabe & Ito 2008, safe for the common kinds of colour blindness. A method keeps its colour and marker in every figure.
LOOKS = {
    WARM_START: ("#7f7f7f", "X"),
    "grpo": ("#0072B2", "o"),
    "dapo": ("#E69F00", "s"),
    "arpo": ("#009E73", "^"),
    "aepo": ("#D55E00", "D"),
    "reinforce++": ("#CC79A7", "v"),
    "gppo": ("#56B4E9", "P"),
    "cispo": ("#000000", "*"),
    "gigpo": ("#B8A800", "<"),
}
"""Method -> its colour and marker."""
_OTHERS = (("#332288", ">"), ("#117733", "h"), ("#882255", "d"), ("#44AA99", "p"), ("#AA4499", "8"), ("#999933", "H"))

RC = {
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "pdf.fonttype": 42,
}
NO_DATES = dict.fromkeys(("CreationDate", "ModDate", "Creator", "Producer"))


def subplots(*shape: int, **options):
    """`plt.subplots` in this repository's style. shape: rows and columns."""
    import matplotlib
    import matplotlib.pyplot as plt  # here: what only reads results loads without it

    matplotlib.rcdefaults()
    plt.rcParams.update(RC)
    return plt.subplots(*shape, layout="constrained", **options)


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


def _look(method: str, methods) -> tuple[str, str]:
    """(colour, marker); methods without ones of their own take further ones in order among `methods`."""
    others = [m for m in order([*methods, method]) if m not in LOOKS]
    return LOOKS.get(method) or _OTHERS[others.index(method) % len(_OTHERS)]


def colour(method: str, methods=()) -> str:
    """The method's colour, among the `methods` of a figure."""
    return _look(method, methods)[0]


def marker(method: str, methods=()) -> str:
    """The method's marker, so that a figure can be read without colour."""
    return _look(method, methods)[1]


def look(method: str, methods=()) -> dict:
    """How the method's points with error bars look, as arguments of `Axes.errorbar`."""
    mark = {"color": colour(method, methods), "marker": marker(method, methods)}
    return mark | {"ms": 6, "capsize": 3, "ls": "none"}


def save(figure, folder: Path, stem: str) -> Path:
    """Write `folder/stem.pdf` without dates, so that the same data give the same bytes. Returns the path.

    The figure keeps the layout of the file in whatever it is drawn to next.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.pdf"
    figure.savefig(path, metadata=NO_DATES, bbox_inches="tight")
    figure.set_layout_engine("none")
    return path
