"""The process that decides whether two expressions are equal: SymPy with the parser and the comparison of math-verify.

It reads one JSON list per line, `["equal", gold, answer]` or `["rounds", expression, decimal]`, and writes `true` or
`false`. Whatever SymPy does with a hostile expression (`9^{9^{9}}` is computed without end) happens here: a timer of
the kernel ends the process when a request has used its seconds of processor time, and its memory is limited.
`reproduce.evaluation.expressions` runs it as a script; it imports nothing of the package.
"""

import json
import resource
import signal
import sys
from decimal import Decimal


def main() -> None:
    """Answer requests until the input ends."""
    seconds, memory_bytes = float(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent; the end of the input ends this process
    equal("\\frac{x}{2}", "0")  # imports everything before the first timed request
    print("ready", flush=True)
    for line in sys.stdin:
        kind, first, second = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, seconds)  # SIGPROF ends the process, whatever it is doing
        try:
            verdict = {"equal": equal, "rounds": rounds}[kind](first, second)
        except Exception:  # an expression that cannot be parsed or computed is equal to nothing
            verdict = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(bool(verdict)), flush=True)


def parse(latex: str, others: str):
    """Parse a SymPy expression. Letters keep their case, and a number before a fraction multiplies it."""
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, latex2sympy
    from math_verify.grader import should_treat_as_complex

    return latex2sympy(
        latex,
        is_real=not should_treat_as_complex(f"{latex} {others}"),
        convert_degrees=False,
        normalization_config=None,
        conversion_config=ConversionConfig(interpret_as_mixed_fractions=False, lowercase_symbols=False),
    )


def equal(gold: str, answer: str) -> bool:
    """Whether math-verify finds the expressions equal.

    Constants must also agree to 25 digits, relative to their size: math-verify compares differences with 0 and would
    call 10^-20 and 10^-21 equal.
    """
    from math_verify import verify

    expected, given = parse(gold, answer), parse(answer, gold)
    if _constant(expected) and _constant(given):
        first, second = expected.doit().evalf(40), given.doit().evalf(40)
        if first.is_finite is False or second.is_finite is False:
            return first == second and not first.has(sympy().nan, sympy().zoo)
        return bool(abs(first - second) <= abs(first) * sympy().Float("1e-25", 40))
    return verify(expected, given, timeout_seconds=None)


def rounds(expression: str, decimal: str) -> bool:
    """Whether a constant, rounded or cut off to the digits of a decimal number, is that number."""
    value = parse(expression, "")
    if not _constant(value):
        return False
    exact = Decimal(str(value.doit().evalf(60)))
    written = Decimal(decimal)
    unit = Decimal(1).scaleb(written.as_tuple().exponent)
    return abs(exact - written) * 2 <= unit or (abs(written) < abs(exact) < abs(written) + unit and exact * written > 0)


def _constant(expression) -> bool:
    return isinstance(expression, sympy().Expr) and not expression.free_symbols


def sympy():
    """Import sympy at first use."""
    import sympy

    return sympy


if __name__ == "__main__":
    main()
