"""Find questions that training and evaluation share: exact repeats, and near repeats by their word 5-grams.

    python -m reproduce overlap --data DIR [--train NAME ...] [--test NAME ...]

A training question is a near repeat of a test question if at least `SHARE` of the test question's word 5-grams occur in
it (for questions of fewer than five words: if the words are the same). It is exact if it has the same words in the same
order, case and punctuation aside. In a script without spaces each character counts as a word.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from reproduce.arguments import Parser, first_line, given
from reproduce.errors import UserError
from reproduce.tools.search.bm25 import words
from reproduce.worlds.benchmarks.datasets.rl import RL_FILES, load_rl
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, load

SIZE = 5  # ours; 13, as for GPT-3's training text, is longer than most of these questions
SHARE = 0.8  # ours


class Overlap(NamedTuple):
    """Pairs (training id, test id), in the order of the test questions. near leaves the exact ones out. tests: test
    questions in all.
    """

    exact: list[tuple[str, str]]
    near: list[tuple[str, str]]
    tests: int

    @property
    def touched(self) -> int:
        """How many test questions have a pair of either kind."""
        return len({test for _, test in [*self.exact, *self.near]})


class Training:
    """The questions of a training set, for comparison with test questions."""

    def __init__(self, questions: Sequence[Question]):
        self._ids = [question.id for question in questions]
        self._same: dict[tuple[str, ...], list[str]] = defaultdict(list)
        self._holders: dict[tuple[str, ...], set[int]] = defaultdict(set)
        for number, question in enumerate(questions):
            said = tuple(words(question.question))
            self._same[said].append(question.id)
            for gram in _grams(said):
                self._holders[gram].add(number)

    def overlap(self, test: Sequence[Question]) -> Overlap:
        """Find the training questions that are (nearly) test questions; see the module."""
        exact, near = [], []
        for question in test:
            said = tuple(words(question.question))
            found = self._same.get(said, [])
            exact += [(id, question.id) for id in found]
            shared: dict[int, int] = defaultdict(int)
            grams = _grams(said)
            for gram in grams:
                for number in self._holders.get(gram, ()):
                    shared[number] += 1
            close = [self._ids[number] for number, count in sorted(shared.items()) if count >= SHARE * len(grams)]
            near += [(id, question.id) for id in close if id not in found]
        return Overlap(exact, near, len(test))


def _grams(said: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {said[i : i + SIZE] for i in range(len(said) - SIZE + 1)}


def report(data: Path, train: Sequence[str], test: Sequence[str]) -> list[tuple[str, str, Overlap]]:
    """List (training set, evaluation set, overlap) for every pair. Sets are read from the folder `data`."""
    tests = {name: load(name, data, check_rows=False) for name in test}
    trained = {name: Training(load_rl(name, data, check_rows=False).questions) for name in train}
    return [(name, other, own.overlap(asked)) for name, own in trained.items() for other, asked in tests.items()]


def present(data: Path) -> tuple[list[str], list[str]]:
    """List the RL sets and the evaluation sets that the folder holds."""
    found = [
        [name for name, entry in files.items() if any((data / place).is_file() for place in entry.candidates)]
        for files in (RL_FILES, EVALUATION_FILES)
    ]
    return found[0], found[1]


def main(argv: list[str] | None = None) -> int:
    """Print the overlaps. Raises UserError for bad input."""
    parser = Parser(prog="python -m reproduce overlap", description=first_line(__doc__))
    parser.add_argument("--data", type=Path, help="folder with the question files (data/README.md)")
    parser.add_argument("--train", nargs="+", choices=list(RL_FILES), help="default: all that the folder holds")
    parser.add_argument("--test", nargs="+", choices=list(EVALUATION_FILES), help="default: all that the folder holds")
    parser.add_argument("--show", type=int, default=0, help="pairs of ids to show for each two sets")
    options = parser.parse_args(argv)
    data = given(options.data, "overlap", "the question files (data/README.md)")
    if not data.is_dir():
        raise UserError(f"{data}: no such folder; --data takes the folder with the question files")
    train, test = present(data)
    train, test = options.train or train, options.test or test
    if not train or not test:
        raise UserError(f"{data}: holds no {'RL' if not train else 'evaluation'} set; see data/README.md")
    print(f"{'training set':<16}{'test set':<12}{'questions':>10}{'exact':>7}{'near':>6}{'questions touched':>19}")
    for name, other, found in report(data, train, test):
        pairs = f"{len(found.exact):>7}{len(found.near):>6}{found.touched:>19}"
        print(f"{name:<16}{other:<12}{found.tests:>10}{pairs}")
        for kind, shown in (("exact", found.exact), ("near", found.near)):
            for one, two in shown[: options.show]:
                print(f"    {kind:<6}{one}  {two}")
    return 0
