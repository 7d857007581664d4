"""Format check and outcome reward of ARPO/AEPO (arXiv 2507.19849, 2510.14545), from the text of one trajectory.

The rule is that of the released reward function (`deep_research.compute_score` in the official ARPO/AEPO repository):
-1 for a bad format; otherwise the best SQuAD-style token F1 of the last boxed string over the gold answers, plus 0.1 if
that F1 is above 0 and both tools were used. It has three consequences: mathematical answers are compared as tokens and
not as expressions; punctuation is deleted (so "-5" and "5" are the same answer and "3.5" equals "35"); a gold that
consists of an article only ("A") can never earn F1.

We score what the released code takes for the last box (`scored_box`), oddities included. Graders read another text
(`boxed`) and decide mathematics by equivalence (`reproduce.evaluation.graders`).

We differ from the released code in three ways, on purpose:

1. Tags that occur inside a tool's output do not count. There, a web page that contains `<search>` or `</think>` makes
   the trajectory's format bad, and one that contains `</python>` earns the bonus.
2. A tool counts as used if the model wrote a complete call, not if the closing tag alone occurs.
3. Both sides are compared in Unicode's composed form (`reproduce.text.clean`), so that "é" written as one or as two
   characters is one letter. There, the two forms are different words.

Standard library only: this runs on every trajectory of every training step.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from reproduce.text import clean
from reproduce.worlds.tags import (
    ANSWER_CLOSE,
    ANSWER_OPEN,
    BOXED_CLOSE,
    BOXED_OPEN,
    PYTHON_CLOSE,
    PYTHON_OPEN,
    RESULT_CLOSE,
    RESULT_OPEN,
    SEARCH_CLOSE,
    SEARCH_OPEN,
    THINK_CLOSE,
    THINK_OPEN,
)

FORMAT_PENALTY = -1.0  # released reward function: score of a bad format
TOOL_BONUS = 0.1  # released reward function: added when both tools were used and F1 > 0

_CALL_CLOSE = re.compile(f"{SEARCH_CLOSE}|{PYTHON_CLOSE}")
ARTICLES = re.compile(r"\b(a|an|the)\b")  # dropped by both normalisers
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_BOX = re.compile(r"\\boxed\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_ANY_BRACE = re.compile(r"[{}]")
_EXACT_ONLY = frozenset({"yes", "no", "noanswer"})


class Reward(NamedTuple):
    """Outcome of one trajectory.

    reward: what the optimiser sees, in [-1, 1.1]. f1: best token F1 over the golds, in [0, 1] (0 on a bad format).
    format_ok: see `format_ok`, and False too if the last box cannot be read (`scored_box`). answer: the last boxed
    string (`boxed`), or None. correct: exact match with a gold after `normalise_training` (False on a bad format).
    """

    reward: float
    f1: float
    format_ok: bool
    answer: str | None
    correct: bool


def model_text(text: str) -> str:
    """Remove the content of every tool result from `text`; the `<result>` and `</result>` tags stay.

    A result block starts at the first `<result>` after a `</search>` or `</python>` and ends at the next `</result>`.
    The model wrote a `<result>` that no call precedes, so that one stays. A tool output that itself contains
    `</result>` would end its block early: pass outputs through `tags.escape_tags` before they enter the trajectory.
    Linear in the length of the text.
    """
    parts: list[str] = []
    position = 0
    while True:
        call = _CALL_CLOSE.search(text, position)
        if call is None:
            break
        start = text.find(RESULT_OPEN, call.end())
        if start < 0:
            break
        start += len(RESULT_OPEN)
        end = text.find(RESULT_CLOSE, start)
        if end < 0:
            break
        parts.append(text[position:start])
        position = end
    if not parts:
        return text
    parts.append(text[position:])
    return "".join(parts)


def format_ok(text: str) -> bool:
    """Whether a trajectory follows the tag grammar.

    Required are: as many `<think>` as `</think>` and at least one; exactly one `<answer>` and one `</answer>`, in this
    order; every `<search>` and every `<python>` followed, in order, by its closing tag and a complete `<result> ...
    </result>`; `\\boxed{` and `}` inside the answer. Tags inside a tool's result are ignored (see the module
    docstring). Source: the released reward function; on texts whose results hold no tags the two agree.

    text: everything after the prompt, tool results included, as the model saw and wrote it.
    """
    return _format_ok(model_text(text))


def _format_ok(text: str) -> bool:
    thinks = text.count(THINK_OPEN)
    if thinks == 0 or text.count(THINK_CLOSE) != thinks:
        return False
    if text.count(ANSWER_OPEN) != 1 or text.count(ANSWER_CLOSE) != 1:
        return False
    if not (_calls_complete(text, SEARCH_OPEN, SEARCH_CLOSE) and _calls_complete(text, PYTHON_OPEN, PYTHON_CLOSE)):
        return False
    answer = _answer(text)
    return answer is not None and BOXED_OPEN in answer and BOXED_CLOSE in answer


def _calls_complete(text: str, opening: str, closing: str) -> bool:
    position = text.find(opening)
    while position >= 0:
        call_end = text.find(closing, position)
        result = text.find(RESULT_OPEN, position)
        result_end = text.find(RESULT_CLOSE, result)
        if result < 0 or result_end < 0 or not position < call_end < result:
            return False
        position = text.find(opening, result_end)
    return True


def _answer(text: str) -> str | None:
    """Content of the first `<answer>...</answer>`; None if a tag is missing or they are in the wrong order."""
    start = text.find(ANSWER_OPEN)
    if start < 0:
        return None
    start += len(ANSWER_OPEN)
    end = text.find(ANSWER_CLOSE, start)
    return None if end < 0 else text[start:end]


def boxed(text: str) -> str | None:
    """Return the content of the last `\\boxed{...}`, stripped; None if there is none or its brace never closes.

    Blanks may precede the brace. Nested braces are matched; `\\{` and `\\}` are characters, as in LaTeX. An empty box
    gives "". Graders and judge read this; the reward scores `scored_box`.
    """
    start = text.rfind("\\boxed")
    while start >= 0 and not (last := _BOX.match(text, start)):
        start = text.rfind("\\boxed", 0, start)
    if start < 0:
        return None
    depth = 1
    for brace in _BRACE.finditer(text, last.end()):
        token = brace.group()
        if token == "{":
            depth += 1
        elif token == "}":
            depth -= 1
            if depth == 0:
                return text[last.end() : brace.start()].strip()
    return None


def scored_box(answer: str) -> str | None:
    """Return the part of an answer that the released reward scores; None where it ends with a "find box error".

    Where `\\boxed ` with a space occurs, it is everything from the last one on up to a dollar sign, braces included
    (the normaliser deletes them). Otherwise it is the content of the last `\\boxed{`, every brace counted, escaped ones
    too; None if its brace never closes or something else follows the last `\\boxed`. Source: the released reward
    function.
    """
    _, spaced, rest = answer.rpartition("\\boxed ")
    if spaced:
        return rest.partition("$")[0]
    start = answer.rfind("\\boxed")
    if not answer.startswith(BOXED_OPEN, start):
        return None
    start += len(BOXED_OPEN)
    depth = 1
    for brace in _ANY_BRACE.finditer(answer, start):
        depth += 1 if brace.group() == "{" else -1
        if depth == 0:
            return answer[start : brace.start()]
    return None


@lru_cache(maxsize=65536)
def normalise_training(answer: str) -> str:
    """Normalise as the training reward does: NFC, lower case, no punctuation, no articles a/an/the, single spaces.

    Source: SQuAD evaluation script, as the released reward function uses it; that one leaves the Unicode form as it is.
    The evaluation normaliser differs: `reproduce.evaluation.graders.normalise_evaluation`.
    """
    return " ".join(ARTICLES.sub(" ", clean(answer).lower().translate(_PUNCTUATION)).split())


def token_f1(
    prediction: str, golds: Sequence[str] | str, *, normalise: Callable[[str], str] = normalise_training
) -> float:
    """Compute the best token F1 of a prediction over the gold answers.

    F1 = 2PR/(P+R) over the multisets of normalised tokens. "yes", "no" and "noanswer" on either side must match
    exactly. F1 is 0 if a side has no token left.

    Args:
        prediction: the answer.
        golds: the accepted answers; a string is one.
        normalise: the normaliser.

    Returns:
        F1 in [0, 1].
    """
    if isinstance(golds, str):
        golds = (golds,)
    predicted = normalise(prediction)
    if not predicted:
        return 0.0
    best = 0.0
    tokens: list[str] | None = None
    for gold in golds:
        expected = normalise(gold)
        if predicted == expected:
            return 1.0
        if not expected or predicted in _EXACT_ONLY or expected in _EXACT_ONLY:
            continue
        if tokens is None:
            tokens = predicted.split()
        expected_tokens = expected.split()
        shared = sum((Counter(tokens) & Counter(expected_tokens)).values())
        if shared:
            best = max(best, 2.0 * shared / (len(tokens) + len(expected_tokens)))
    return best


def exact_match(
    prediction: str, golds: Sequence[str] | str, *, normalise: Callable[[str], str] = normalise_training
) -> bool:
    """Whether the prediction equals a gold after normalisation.

    A gold of which normalisation leaves nothing (an article or punctuation only, such as the choice "A") is compared as
    it is, ignoring case and outer spaces.
    """
    if isinstance(golds, str):
        golds = (golds,)
    predicted = normalise(prediction)
    if predicted:
        return any(predicted == normalise(gold) for gold in golds)
    raw = prediction.strip().lower()
    return bool(raw) and any(raw == gold.strip().lower() for gold in golds)


def reward(
    text: str, golds: Sequence[str] | str, *, format_penalty: float = FORMAT_PENALTY, tool_bonus: float = TOOL_BONUS
) -> Reward:
    """Compute the reward of one trajectory.

    It is `format_penalty` on a bad format and on a last box that cannot be read. Otherwise it is the token F1 of the
    content of the answer's last box (`scored_box`), plus `tool_bonus` if that F1 is above 0 and the model made at least
    one complete search call and one complete Python call.

    Args:
        text: everything after the prompt, tool results included between `<result>` and `</result>`.
        golds: the accepted answers, at least one; a string is one.
        format_penalty: the released reward function's.
        tool_bonus: the released reward function's.

    Raises:
        ValueError: there is no gold.
    """
    if not golds:
        raise ValueError("reward() needs at least one gold answer")
    own = model_text(text)
    answer_text = _answer(own)
    answer = boxed(answer_text) if answer_text is not None else None
    if not _format_ok(own):
        return Reward(float(format_penalty), 0.0, False, answer, False)
    scored = scored_box(answer_text)
    if scored is None:
        return Reward(float(format_penalty), 0.0, False, answer, False)
    f1 = token_f1(scored, golds)
    value = f1
    if f1 > 0.0 and SEARCH_OPEN in own and PYTHON_OPEN in own:
        # The format is good, so an opening tag stands for a complete call with its result.
        value += tool_bonus
    return Reward(value, f1, True, answer, exact_match(scored, golds))
