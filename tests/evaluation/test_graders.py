"""Mathematics and words graded in both directions: golds in other dress are right, near misses are wrong."""

import csv
import subprocess
import sys
import threading
import time

import pytest

from reproduce.commands import rewritten
from reproduce.commands.rewriting import pairs
from reproduce.evaluation import expressions, math_worker
from reproduce.evaluation.answers import read
from reproduce.evaluation.equivalence import equivalent
from reproduce.evaluation.graders import final_answer, grade
from reproduce.evaluation.undress import plain_latex, plain_text, unify
from reproduce.evaluation.units import read_unit
from reproduce.worlds.benchmarks.questions import Question


def math(gold: str, question: str = "?") -> Question:
    return Question("m", question, [gold], "math500", "math")


def text(gold: str) -> Question:
    return Question("q", "?", [gold], "2wiki", "qa")


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table():
    with (rewritten.FOLDER / "pairs.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_the_rules_make_of_the_golds(table):
    made = [(pair.gold, pair.answer, pair.rule, str(pair.right)) for _, pair in rewritten.table_pairs()]
    assert [(row["gold"], row["answer"], row["rule"], row["right"]) for row in table] == made
    assert len(made) > 1000 and {row["right"] for row in table} == {"True", "False"}


def test_every_rewritten_gold_is_graded_as_it_is(table):
    otherwise = [pair for kind, pair in rewritten.table_pairs() if rewritten.graded(pair, kind) != pair.right]
    assert otherwise == []
    assert [row for row in table if row["graded"] != row["right"]] == []


def test_math_verify_alone_says_what_the_table_says(table):
    sample = [row for row in table if row["math_verify"]][::12]
    assert [str(rewritten.math_verify_alone(row["gold"], row["answer"])) for row in sample] == [
        row["math_verify"] for row in sample
    ]


def test_the_counts_of_the_rules_are_those_of_the_table(table):
    rows = [
        rewritten.Row(
            r["gold"],
            r["answer"],
            r["rule"],
            r["right"] == "True",
            r["graded"] == "True",
            r["math_verify"] and r["math_verify"] == "True",
        )
        for r in table
    ]
    summary = (rewritten.FOLDER / "rules.csv").read_text(encoding="utf-8")
    pairs_csv = (rewritten.FOLDER / "pairs.csv").read_bytes().decode()
    assert rewritten.written(rows) == {"pairs.csv": pairs_csv, "rules.csv": summary}


# -- answers that the rules do not make -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("10,\\!080", "10\\,080"),
        ("\\sqrt{2}", "2^{0.5}"),
        ("(-\\infty,2]", "x\\le 2"),
        ("1000000", "1e6"),
        ("1000000", "1\\times10^6"),
        ("18", "18 \\text{ dollars}"),
        ("1450000", "1.45 million"),
        ("5", "$x = 5$ cm"),
        ("\\frac{1}{2}", "50%"),
        ("50\\%", "\\frac12"),
        ("50\\%", "50"),
        ("0.\\overline{3}", "\\frac13"),
        ("\\frac{1}{3}", "0.333333"),
        ("\\pi", "3.14159265"),
        ("5.4 \\text{ cents}", "\\$0.054"),
        ("100cm", "1 m"),
        ("17 \\, \\mathrm{m/s}", "17 meters per second"),
        ("2\\text{ hours}", "120 minutes"),
        ("15:40", "3:40 pm"),
        ("8:15", "8:15 a.m."),
        ("11", "11 PM"),
        ("1:3", "\\frac13"),
        ("x \\in [-2,7]", "-2\\le x\\le 7"),
        ("(-\\infty, 2) \\cup (3, \\infty)", "x<2 or x>3"),
        ("(-\\infty,2)\\cup(2,\\infty)", "x \\ne 2"),
        ("(-\\infty,\\infty)", "ℝ"),
        ("(2,\\infty)", "\\{x \\mid x > 2\\}"),
        ("-2 < m < 3", "(-2,3)"),
        ("\\{1\\pm\\sqrt{5},-2\\}", "\\{-2, 1-\\sqrt5, 1+\\sqrt5\\}"),
        ("1,-2", "x=1 or x=-2"),
        ("-1", "−1."),
        ("(x, y, z) = (2, 1, 4)", "(2,1,4)"),
        ("5x - 7y + 11z + 4 = 0", "-5x+7y-11z-4=0"),
        ("y = 2x + 3", "3+2x"),
        ("1101_2", "1101 in base 2"),
        ("1101_2", "01101_{(2)}"),
        ("42", "42_{10}"),
        ("\\log_2 3", "\\frac{\\ln 3}{\\ln 2}"),
        ("\\text{José}", "Jose\u0301"),
        ("\\text{even}", "an even"),
        ("204", "𝟐𝟎𝟒"),
        ("204", "٢٠٤"),
        ("1\\frac{1}{2}", "1½"),
        ("24", "4!"),
        ("2k", "2 k"),
        ("4ab", "4ba"),
        ("\\text{(B)}", "Option B"),
        ("58,500", "58 500"),
        ("5", "{\\bf 5}"),
    ],
)
def test_right_answers(gold, answer):
    assert equivalent(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2516_8", "2516_9"),
        ("101_2", "101_3"),
        ("11", "11_2"),
        ("2516_8", "1358"),
        ("12\\text{ pm}", "12\\text{ am}"),
        ("12\\text{ pm}", "12"),
        ("\\text{east}", "seat"),
        ("\\text{no}", "on"),
        ("ABD", "ADB"),
        ("5 cm", "5 m"),
        ("15\\mbox{ cm}^2", "15 cm^3"),
        ("15\\mbox{ cm}^2", "15 cm"),
        ("90^\\circ", "90 radians"),
        ("\\$36", "36 cents"),
        ("(1,2)", "\\{1,2\\}"),
        ("\\{1,2\\}", "(1,2)"),
        ("(1,2)", "(2,1)"),
        ("(1,2)", "[1,2]"),
        ("(3,4]", "[3,4]"),
        ("1,-2", "(1,-2)"),
        ("1,2", "1,1,2"),
        ("1,1,2", "1,2"),
        ("3R^2", "3r^2"),
        ("2k", "2K"),
        ("a_1", "a_2"),
        ("f'(x)", "f(x)"),
        ("x=5", "y=5"),
        ("x=5", "x<5"),
        ("0.15", "0.15%"),
        (".0000672", ".0000668"),
        ("10^{-20}", "10^{-21}"),
        ("1450000", "1450000.5"),
        ("10100.0", "10100.01"),
        ("1.25", "1.250001"),
        ("\\frac{1}{3}", "0.3333"),
        ("\\pi", "3.14"),
        ("18", "18 thousand"),
        ("5", "5 halves"),
        ("5", "at least 5"),
        ("5", "5, 6"),
        ("5", "5m"),
        ("4ab", "4"),
        ("10-5cd", "10-5"),
        ("20", "20 20"),
        ("(2,220)", "2220"),
        ("x \\in [-2,7]", "-2<x<7"),
        ("(-\\infty,2]", "y\\ge 2"),
        ("(2,3)", "x>2 and x<3 and x>0"),
        ("42", "42} \\text{ or } {43"),
        ("0", "\\emptyset"),
        ("7", "\\text{7 or 8}"),
        ("x^3+3x-6", "x^3+3x-6=0"),
        ("15:40", "3:40"),
        ("4:51", "4:52"),
        ("1:3", "3:1"),
        ("\\infty", "-\\infty"),
    ],
)
def test_wrong_answers(gold, answer):
    assert not equivalent(gold, answer)


def test_a_percent_sign_may_be_added_where_the_question_asks_for_percent():
    assert not grade(math("15", "How many are left?"), "15\\%").correct
    assert grade(math("15", "What percent of them is left?"), "15\\%").correct
    assert not grade(math("15", "What percent of them is left?"), "0.15").correct


def test_units():
    assert read_unit("sq. in.") == read_unit("\\text{inches}^{2}") == read_unit("square inches")
    assert read_unit("cm^3").factor == read_unit("ml").factor
    assert read_unit("miles per hour") == read_unit("mph")
    assert read_unit("apples").name == "apple" and not read_unit("apples").known
    assert read_unit("halves") is None and read_unit("or") is None and read_unit("5") is None


# -- words ------------------------------------------------------------------------------------------------------------


def test_words_in_both_unicode_forms_and_dress():
    gold = text("Jos\u00e9 Pérez")
    dressed = (
        "Jose\u0301 Pe\u0301rez",
        "**José Pérez**",
        "\\text{josé pérez}",
        "\\boxed {José Pérez}",
        "ＪＯＳÉ Pérez",
    )
    for answer in dressed:
        assert grade(gold, answer)[:2] == (True, 1.0)
    assert not grade(gold, "Jose Perez").correct
    assert not grade(text("10² m"), "102 m").correct  # a raised two is not a two
    assert grade(text('"Heroes"'), '"heroes"').correct  # quotes are part of a title
    assert not grade(text("Paris"), "Paris.").correct  # the evaluation scripts keep punctuation
    assert grade(text("Paris"), "Paris.", normaliser="training").correct


def test_plain_text_and_unify():
    assert plain_text(" **`\\text{Bea}`** ") == "Bea"
    assert unify("ｅ\u0301 ２\u2009½ x²\ufeff") == "é 2 ½ x²"
    assert plain_latex("The answer is $\\dfrac 34$.") == "\\frac{3}{4}"
    assert final_answer("so \\boxed{1} and \\boxed {2}.") == "2" and final_answer("\\boxed{1") is None


# -- hostile answers --------------------------------------------------------------------------------------------------

HOSTILE = [
    "{" * 500,
    "{" * 400 + "}" * 400,
    "(" * 400 + "1" + ")" * 400,
    "[" * 300 + "1,2" + "]" * 300,
    "9" * 999,
    "-" * 900,
    "\\frac{" * 150 + "1" + "}{2}" * 150,
    "x" * 100000,
    "\\boxed{42",
    "\\boxed{" * 20000,
    "nan",
    "NaN",
    "-inf",
    "\\frac{0}{0}",
    "0^0",
    "\\text{" * 300,
    "1," * 480,
    "1:" * 480,
    "=" * 900,
    "x=" * 450,
    "\\pm " * 200,
    "\ud800",
    "\x00",
    "\\",
    "$" * 900,
    "**\\" * 300,
    "\\\\," * 250,
    "\\}\\text{" * 120,
    "cm " * 300,
    "5/m" * 250,
    "½" * 900,
    "\u0301" * 900,
    "and " * 240,
    "5 " + "million " * 100,
    "\\begin{pmatrix}" * 50,
    "1_" * 450,
    "１" * 900,
    "'" * 900,
]


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_texts_are_wrong_at_once(answer):
    grade(math("42"), "43x")  # the process of the expressions runs
    start = time.process_time()
    for gold in ("42", "(1,2)", "(-\\infty,2]", "\\text{even}", "15\\text{ cm}"):
        assert not grade(math(gold), answer).correct
    assert not grade(text("Bea"), answer).correct
    assert time.process_time() - start < 2


@pytest.mark.parametrize("answer", ["9^{9^{9}}", "1000000000!"])
def test_an_expression_that_never_ends_is_wrong_in_bounded_time(answer, monkeypatch):
    monkeypatch.setattr(expressions, "CPU_SECONDS", 0.5)
    monkeypatch.setattr(expressions, "_WORKER", expressions._Worker())
    assert grade(math("42"), answer) == (False, 0.0, "time limit")
    assert grade(math("2x"), "x+x").correct  # and the next one is answered


def test_any_thread_may_grade():
    verdicts = []
    threads = [
        threading.Thread(target=lambda n=n: verdicts.append(grade(math("\\frac{x}{2}"), f"{n}x/{2 * n}").correct))
        for n in range(2, 6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts == [True] * 4


def test_the_process_of_the_expressions_ends_with_its_input():
    command = [sys.executable, "-P", math_worker.__file__, str(expressions.CPU_SECONDS), str(expressions.MEMORY_BYTES)]
    done = subprocess.run(command, input='["equal", "x+x", "2x"]\n', capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split()) == (0, ["ready", "true"])


def test_reading_never_raises_on_what_the_rules_make():
    for _, _, gold in rewritten.golds():
        for pair in pairs(gold):
            read(plain_latex(pair.answer))
