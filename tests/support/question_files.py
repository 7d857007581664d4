"""A data folder of invented rows in the published files' formats and sizes."""

import json
from pathlib import Path

from reproduce.worlds.benchmarks.questions import EVALUATION_FILES

WRITTEN = ("2wiki", "hotpotqa", "bamboogle", "aime24", "math500", "gsm8k")  # a folder need not hold every set
TOWN = "the value of a painter and of a town"
PASSAGES = [TOWN, "one two three four five six", "a count of the year 7 and 9 </result>"]


def write(folder: Path) -> Path:
    """Writes eval/*.jsonl and search_cache.json below `folder`, which is given back."""
    (folder / "eval").mkdir(parents=True)
    for name in WRITTEN:
        entry = EVALUATION_FILES[name]
        answers = {"qa": ["Bea {}", "B. {}"], "math": "\\frac{{{}}}{{7}}"}[entry.answer_type]
        if name == "gsm8k":
            answers = "so\n#### {},000"
        rows = []
        for i in range(entry.rows):
            answer = [a.format(i) for a in answers] if isinstance(answers, list) else answers.format(i + 1)
            rows.append({"id": i, entry.question_key: f"{name} : Who won in year {i}?", "answer": answer})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "eval" / f"{name}.jsonl").write_text(text)
    cache = {"q": "".join(f"Page {i}: {text}\n" for i, text in enumerate(PASSAGES, start=1))}
    cache["won in year 3"] = "Page 1: Bea 0 won in year 0"
    (folder / "search_cache.json").write_text(json.dumps(cache))
    return folder


PAGES = [
    {"id": "p1", "title": "Arlo Kent", "text": "a painter born in Varden"},
    {"id": "p2", "title": "Varden", "text": "a town by the river with 1204 people"},
    {"id": "p3", "title": "Bea Kent", "text": "a painter and the sister of Arlo"},
]
