"""One HTML file from one or two groups. It holds all that it needs, asks no network, and shows text only as text."""

import base64
import hashlib
import html
import json
from pathlib import Path

HERE = Path(__file__).parent
QUANTILE = 0.95
"""The scale of a shading ends at this quantile of what it shows; what lies beyond has the last colour."""


def page(sides: list[dict], command: str) -> str:
    """Build the page.

    The text of models, tools and questions reaches the page as JSON in which `<`, `>` and `&` are escaped, and the
    script writes it by `textContent` alone. A content security policy lets no other script run.

    Args:
        sides: one or two of `view.side`.
        command: the command that makes the page, shown at its end.
    """
    script, style = ((HERE / name).read_text() for name in ("page.js", "page.css"))
    title = " beside ".join(one["title"] for one in sides)
    data = {"sides": sides, "scales": scales(sides), "command": command}
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{style}</style>",
            "<body>",
            "<noscript>This page draws itself with a script of its own: allow scripts for it.</noscript>",
            f'<script type="application/json" id="data">{embedded(data)}</script>',
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def embedded(data: object) -> str:
    """Write data as JSON that may stand inside a script element, whatever its text holds."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def scales(sides: list[dict]) -> dict[str, float]:
    """Return the end of each shading's scale, the same for both sides."""
    columns: dict[str, list[float]] = {"entropy": [], "logp": [], "advantage": [], "ratio": []}
    for tokens in (turn["tokens"] for one in sides for row in one["rows"] for turn in row["turns"]):
        for name, found in columns.items():
            found += [value for value in tokens[name] if value is not None]
    sizes = {
        "entropy": columns["entropy"],
        "logp": [-value for value in columns["logp"]],
        "advantage": [abs(value) for value in columns["advantage"]],
        "ratio": [abs(value - 1) for value in columns["ratio"]],
    }
    return {name: _quantile(values) for name, values in sizes.items()}


def _quantile(values: list[float]) -> float:
    """The quantile `QUANTILE` of values above 0; 1 where there is none."""
    found = sorted(value for value in values if value > 0)
    return found[min(len(found) - 1, int(QUANTILE * len(found)))] if found else 1.0


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
