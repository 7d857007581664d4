"""Decide whether two LaTeX expressions are equal: numbers exactly, everything else by math-verify in another process.

That process (`math_worker`) has limits of time and memory, so no answer can stop the grader, and any thread may ask. It
ends with this process. It is started when the first expression needs it, and again after it was ended.
"""

import json
import os
import re
import subprocess
import sys
import threading
import weakref
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from reproduce.errors import UserError

CPU_SECONDS = 2.0  # processor time of one comparison; a typical one takes some milliseconds
WALL_SECONDS = 120  # for a machine so busy that the processor time does not pass
MEMORY_BYTES = 2 << 30
SIGNIFICANT = 6  # digits from which on a decimal number may be the rounding of a value, as in math-verify
MAX_DEPTH, MAX_CHARS = 25, 400  # of what the parser is given; its time grows fast with brackets in brackets
MAX_EXPONENT = 4000  # of ten, for numbers compared exactly
_PROGRAM = Path(__file__).with_name("math_worker.py")
# What Python and the loader need to start; other settings of the caller change nothing here.
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SYSTEMROOT")


class TimeLimit(Exception):
    """A comparison was ended because it took too long or too much memory."""


class _Worker:
    def __init__(self):
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._owner = 0

    def ask(self, kind: str, first: str, second: str) -> bool:
        with self._lock:
            if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
                self._start()
            timer = threading.Timer(WALL_SECONDS, self._process.kill)
            timer.start()
            try:
                self._process.stdin.write(json.dumps([kind, first, second]) + "\n")
                self._process.stdin.flush()
                reply = self._process.stdout.readline()
            except OSError:
                reply = ""
            finally:
                timer.cancel()
            if reply not in ("true\n", "false\n"):
                self._stop()
                raise TimeLimit
            return reply == "true\n"

    def _start(self) -> None:
        self._stop()
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", str(_PROGRAM), str(CPU_SECONDS), str(MEMORY_BYTES)]
        try:
            self._process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise UserError(f"the process that compares expressions does not start ({error.strerror})") from None
        self._owner = os.getpid()
        if self._process.stdout.readline() != "ready\n":
            last = (self._process.stderr.read().strip().splitlines() or ["no message"])[-1]
            self._stop()
            raise UserError(f"mathematics cannot be graded ({last}); install requirements.txt again")
        self._process.stderr.close()
        weakref.finalize(self, _end, self._process, self._owner)

    def _stop(self) -> None:
        if self._process is not None:
            _end(self._process, self._owner)
            self._process = None


def _end(process: subprocess.Popen, owner: int) -> None:
    if os.getpid() != owner:  # a fork: the process is its parent's
        return
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        try:
            stream.close()
        except OSError:
            pass


_WORKER = _Worker()


@lru_cache(maxsize=65536)
def equal(gold: str, answer: str) -> bool:
    """Whether two expressions (plain LaTeX, no units, no lists) are equal.

    Numbers are compared exactly. A decimal number with six significant digits or more also equals a value of which it
    is the rounding, or the beginning. Decimals within an expression are exact fractions.

    Raises:
        TimeLimit: the comparison takes too long.
    """
    if _squeezed(gold) == _squeezed(answer):
        return True
    first, second = number(gold), number(answer)
    if first is not None and second is not None:
        return first == second or _rounds(first, answer, second) or _rounds(second, gold, first)
    if not (_readable(gold) and _readable(answer)) or _relations(gold) != _relations(answer):
        return False
    if second is not None and _significant(answer) >= SIGNIFICANT:
        return _WORKER.ask("rounds", _exact(gold), _decimal(answer))
    if first is not None and _significant(gold) >= SIGNIFICANT:
        return _WORKER.ask("rounds", _exact(answer), _decimal(gold))
    return _WORKER.ask("equal", _exact(gold), _exact(answer))


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


# -- numbers ----------------------------------------------------------------------------------------------------------

_SIGN = r"(?P<sign>[-+]?)\s*"
_DECIMAL = re.compile(_SIGN + r"(?P<number>\d+\.?\d*|\.\d+)")
_POWER_OF_TEN = re.compile(
    _SIGN + r"(?P<number>\d+\.?\d*|\.\d+)(?:[eE](?P<e>[-+]?\d+)|"
    r"\s*(?:\\times|\\cdot|\*|[xX])\s*10\s*\^\s*\{?\s*(?P<ten>[-+]?\s*\d+)\s*\}?)"
)
_FRACTION = re.compile(
    _SIGN + r"(?:(?P<whole>\d+)\s*(?:\\frac|(?=\s\d+\s*/)\s))?\s*"
    r"(?:(?<=\\frac)|(?<!\\frac)(?:\\frac)?)\s*(?:\{\s*(?P<a>[-+]?\s*\d+)\s*\}\s*\{\s*(?P<b>\d+)\s*\}|"
    r"(?P<c>\d+)\s*/\s*(?P<d>\d+))"
)
_REPEATING = re.compile(_SIGN + r"(?P<whole>\d*)\.(?P<fixed>\d*)\\(?:overline|dot|bar)\s*\{(?P<again>\d+)\}")


def number(latex: str) -> Fraction | None:
    """Return the exact value of a number; None for anything else.

    Forms: 5, -.5, 1/2, \\frac{1}{2}, 1\\frac{1}{2}, 1e6, 1.5\\times 10^{6}, 0.\\overline{3}.
    """
    text = latex.strip()
    if match := _DECIMAL.fullmatch(text):
        return _signed(match, Fraction(match["number"].rstrip(".")))
    if match := _POWER_OF_TEN.fullmatch(text):
        exponent = int((match["e"] or match["ten"]).replace(" ", ""))
        if abs(exponent) > MAX_EXPONENT:
            return None
        return _signed(match, Fraction(match["number"].rstrip(".")) * Fraction(10) ** exponent)
    if match := _REPEATING.fullmatch(text):
        fixed, again = match["fixed"], match["again"]
        part = Fraction(int(fixed or 0)) + Fraction(int(again), 10 ** len(again) - 1)
        return _signed(match, int(match["whole"] or 0) + part / 10 ** len(fixed))
    if match := _FRACTION.fullmatch(text):
        above, below = match["a"] or match["c"], int(match["b"] or match["d"])
        above = int(above.replace(" ", ""))
        if below == 0 or (match["whole"] and above < 0):
            return None
        return _signed(match, int(match["whole"] or 0) + Fraction(above, below))
    return None


def _signed(match: re.Match, value: Fraction) -> Fraction:
    return -value if match["sign"] == "-" else value


def _significant(latex: str) -> int:
    """Significant digits of a number with decimals; 0 for anything else, whole numbers such as 10.0 too."""
    match = _DECIMAL.fullmatch(latex.strip())
    decimals = match and match["number"].partition(".")[2].strip("0")
    return len(match["number"].replace(".", "").lstrip("0")) if decimals else 0


def _decimal(latex: str) -> str:
    return re.sub(r"\s", "", latex).rstrip(".")


def _rounds(value: Fraction, latex: str, written: Fraction) -> bool:
    """Whether the decimal number `latex`, which is `written`, is `value` rounded or cut off."""
    if _significant(latex) < SIGNIFICANT or value.denominator == 1:
        return value != 0 and _significant(latex) > 12 and abs(value - written) <= abs(value) / 10**12
    unit = Fraction(1, 10 ** len(_decimal(latex).partition(".")[2]))
    return abs(value - written) * 2 <= unit or (abs(written) < abs(value) < abs(written) + unit and value * written > 0)


# -- expressions ------------------------------------------------------------------------------------------------------

_COMMAND = re.compile(r"\\[A-Za-z]+")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[a-z]*matrix\}")
_UNKNOWN = re.compile(
    r"\\(?:text|overline|dot|bar|pmod|mod|bmod|ldots|dots|cdots|prime|quad|angle|parallel|perp)(?![A-Za-z])"
)
_STRANGE = re.compile(r"[\"'@#?~`]|[^\x00-\x7f]|[A-Za-z]{3,}|(?<![_\d])\d+\s+\d")  # the last: two numbers side by side


def _readable(latex: str) -> bool:
    """Whether the parser reads all of the text: no words, primes or marks that it would drop or take for a product."""
    bare = _ENVIRONMENT.sub("", latex)
    if _depth(bare) > MAX_DEPTH or len(bare) > MAX_CHARS:
        return False
    if _UNKNOWN.search(bare) or ("&" in bare and bare == latex):
        return False
    return not _STRANGE.search(_COMMAND.sub("$", bare))


def _depth(latex: str) -> int:
    depth = deepest = 0
    for character in latex:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


_RELATION = re.compile(r"=|<|>|\\(?:le|ge|ne)(?![A-Za-z])")


def _relations(latex: str) -> list[str]:
    return sorted(set(_RELATION.findall(latex)))


_MIXED = re.compile(r"(?<![\d.}^_A-Za-z])(\d+)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_POINT = re.compile(r"(?<![\d.])(\d*)\.(\d+)")
_E_NOTATION = re.compile(r"(?<![\w.])(\d+\.?\d*|\.\d+)[eE]([-+]?\d+)(?!\w)")


def _exact(latex: str) -> str:
    """The expression without decimals and mixed numbers, which the parser reads as floats and products."""
    text = _E_NOTATION.sub(r"\1\\times 10^{\2}", latex)
    text = _MIXED.sub(_mixed, text)
    return _POINT.sub(lambda match: rf"\frac{{{int(match[1] + match[2])}}}{{{10 ** len(match[2])}}}", text)


def _mixed(match: re.Match) -> str:
    whole, above, below = map(int, match.groups())
    return rf"\frac{{{whole * below + above}}}{{{below}}}" if above < below else match[0]
