"""The tag grammar that model, tools and reward share, and the system prompt that explains it.

The tags are those of the ARPO/AEPO data (arXiv 2507.19849, 2510.14545). The wording of `SYSTEM_PROMPT` is ours;
`reproduce.worlds.benchmarks.datasets.rl.load_rl` reads the prompt in the authors' parquet files.
"""

from __future__ import annotations

import re

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
SEARCH_OPEN, SEARCH_CLOSE = "<search>", "</search>"
PYTHON_OPEN, PYTHON_CLOSE = "<python>", "</python>"
RESULT_OPEN, RESULT_CLOSE = "<result>", "</result>"
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"
BOXED_OPEN, BOXED_CLOSE = "\\boxed{", "}"

TAGS = tuple(f"<{slash}{name}>" for name in ("think", "search", "python", "result", "answer") for slash in ("", "/"))

SYSTEM_PROMPT = (
    "You answer questions with two tools: a search engine and a Python interpreter. "
    "Reason between <think> and </think> before every action. "
    "To search, write <search> your query </search>. "
    "To compute, write <python> your code </python>; whatever the code prints is returned. "
    "After a call, stop: the tool's output appears between <result> and </result>, and you continue from there. "
    "Call the tools as often as you need them. "
    "When you are sure, write the final answer once, boxed: <answer> \\boxed{your answer} </answer>. "
    "Inside the box put nothing but the answer: a name, a date, yes or no, or a number or expression in LaTeX."
)

_TAG = re.compile(r"<(/?)(think|search|python|result|answer)>")


def chat(question: str, system_prompt: str = SYSTEM_PROMPT) -> list[dict[str, str]]:
    """Make the two chat messages of a question, as chat templates expect them (`role`, `content`)."""
    return [{"role": "system", "content": system_prompt}, {"role": "user", "content": question}]


def escape_tags(tool_text: str) -> str:
    """Make every tag of the grammar in a tool's output harmless: `</result>` becomes `[/result]`.

    A page or a program's output may contain the tags. Escaped, it can neither close its own block early nor pass for
    the model's text.
    """
    return _TAG.sub(r"[\1\2]", tool_text)
