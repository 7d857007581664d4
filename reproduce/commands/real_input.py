"""Real input end to end: graders on the public question files, and the agent loop over real questions and passages.

    python -m reproduce.commands.real_input --data DIR [--model FOLDER]

DIR holds the files that `data/README.md` describes. Three things are checked. Graders: an oracle that answers the gold
string is right on every question of every file, an empty answer on none; golds of each file in other dress
(`rewriting`) are right, and their near misses are wrong. Tools: a search for each question's own text
in a BM25 index over stored real search results, and a program in the sandbox. Agent loop: a model answers real
questions with these tools. A mini model knows a few hundred words, most of them invented, so its score is about 0; what
the check shows is that nothing breaks, and how much of the text it can read.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from reproduce.algorithms.policies import Independent
from reproduce.arguments import Parser, first_line, folder, given
from reproduce.commands.rewriting import Pair, pairs
from reproduce.errors import UserError
from reproduce.evaluation.graders import grade
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.tools.sandbox import PythonSandbox
from reproduce.tools.search.bm25 import PassageIndex, load_search_cache
from reproduce.tools.search.search import Found
from reproduce.tools.search.services import WebHit
from reproduce.worlds.benchmarks.overlap import present
from reproduce.worlds.benchmarks.questions import EVALUATION_FILES, Question, load, real_search_questions
from reproduce.worlds.benchmarks.tools import BenchmarkTools
from reproduce.worlds.rewards import FORMAT_PENALTY, TOOL_BONUS, Reward, reward
from reproduce.worlds.tool_server import Call, CodeRunner

CACHE_FILES = ("search_cache.json", "search_cache/search_cache.json")  # ours, and as in the official repository
SHIPPED = ("2wiki", "hotpotqa", "bamboogle", "aime24", "math500", "gsm8k")  # what data/README.md has cards of
UNKNOWN = {"questions": "unknown_prompt", "tool results": "unknown_results", "sampled": "unknown_sampled"}
REWRITTEN = 20  # golds of each file that are rewritten; about 50 answers come of each in mathematics
PASSAGES = 2
RESULT_WORDS = 40
# Our choice: as many calls as the mini profile allows, and room for that many results beside the model's own tokens.
LIMITS = Limits(tool_calls=8, completion_tokens=512)


class CachedSearch:
    """Search over stored results, as `BenchmarkTools` asks it: the `PASSAGES` best, each cut to `RESULT_WORDS` in all.

    shown: positions in the index of the passages that it gave.
    """

    def __init__(self, index: PassageIndex):
        self.index, self.shown = index, set()

    def search_many(self, queries: Sequence[str]) -> list[Found]:
        """Results in the order of the queries."""
        hits = [self.index.search(query, PASSAGES) for query in queries]
        self.shown.update(hit.position for of_query in hits for hit in of_query)
        cut = RESULT_WORDS // PASSAGES
        return [Found(tuple(WebHit("", "", " ".join(h.text.split()[:cut])) for h in of_query)) for of_query in hits]

    def costs(self) -> dict[str, float]:
        """Nothing is asked of a service."""
        return {}

    def close(self) -> None:
        """Nothing is open."""


def open_tools(index: PassageIndex, sandbox: CodeRunner) -> closing[BenchmarkTools]:
    """The tools of the world `web` over an index, which are closed at the end of `with`."""
    return closing(BenchmarkTools(CachedSearch(index), sandbox, RESULT_WORDS + 2 * PASSAGES))  # "Page 1:" is two words


@dataclass(frozen=True)
class RealTask:
    """Real questions as `reproduce.rollouts.collector.Collector` sees a task: prompt, tools and the papers' reward."""

    environment: BenchmarkTools
    format_penalty: float = FORMAT_PENALTY
    tool_bonus: float = TOOL_BONUS

    call_type = Call

    @staticmethod
    def prompt(question: Question) -> str:
        """The text in front of the completion, without the beginning-of-sequence token: that of the mini tasks."""
        return f"question : {question.question}"

    def score(self, question: Question, text: str) -> Reward:
        """The reward of a completion (AEPO (e): format, F1, tool bonus)."""
        return reward(text, question.golds, format_penalty=self.format_penalty, tool_bonus=self.tool_bonus)


def check(
    data_dir: str | Path,
    model_folder: str | Path | None,
    questions: int = 20,
    samples: int = 1,
    *,
    seed: int = 0,
    runs_root: str | Path = "runs",
    sandbox: CodeRunner | None = None,
) -> dict[str, Any]:
    """Grades oracle and empty answers on every question file, then runs the agent loop on real questions.

    data_dir: see `data/README.md`. model_folder: a warm start (`load_warm_start`); None takes the newest finished one
    under `runs_root`, or else a random model of the mini profile's shape. questions: the first of 2wiki, hotpotqa and
    bamboogle in turn. sandbox: None opens one for the time of the check.
    Returns {"graders": rows of `grade_files`, "tools": figures of `try_tools`, "agent": figures of `run_agent` with
    "model"}; the same arguments give the same report. Raises UserError if a file is missing or malformed or an argument
    is out of range.
    """
    data_dir = Path(data_dir)
    if samples < 1:
        raise UserError(f"samples is {samples}; set it to 1 or more")
    cache = _search_cache(data_dir)
    asked = real_search_questions(data_dir, questions)
    graders = grade_files(data_dir)
    index = load_search_cache(cache)
    name, model, grammar = open_model(model_folder, Path(runs_root))
    opened = nullcontext(sandbox) if sandbox is not None else PythonSandbox(preload=False)
    with opened as runner, open_tools(index, runner) as environment:
        collector = Collector(RealTask(environment), model, grammar, LIMITS, temperature=1.0, seed=seed)
        tools, agent = try_tools(environment, asked), run_agent(collector, asked, samples)
    return {"graders": graders, "tools": tools, "agent": {"model": name, **agent}}


def grade_files(data_dir: str | Path) -> list[dict[str, Any]]:
    """One row per question file, the six `SHIPPED` ones and what else is there: `file`, `questions`; `oracle`, `empty`,
    `rewritten` and `near_misses` (shares graded right, in [0, 1]); `failed`, `otherwise`.

    A question counts for the oracle if every one of its accepted answers is graded right, and is listed in `failed`
    (ids) otherwise, or if the empty answer is graded right. `rewritten`: golds in other dress, which are right, and
    `near_misses`, which are wrong, both of `REWRITTEN` golds spread over the file; `otherwise`: those graded otherwise.
    UserError as in `load`.
    """
    rows = []
    found = present(Path(data_dir))[1]
    for name in (name for name in EVALUATION_FILES if name in SHIPPED or name in found):
        questions = load(name, data_dir)
        oracle = [all(grade(question, gold).correct for gold in question.golds) for question in questions]
        empty = [grade(question, "").correct for question in questions]
        failed = [q.id for q, right, blank in zip(questions, oracle, empty, strict=True) if blank or not right]
        n = len(questions)
        shares, otherwise = grade_rewritten(questions)
        row = {"file": name, "questions": n, "oracle": sum(oracle) / n, "empty": sum(empty) / n}
        rows.append(row | shares | {"failed": failed, "otherwise": otherwise})
    return rows


def grade_rewritten(questions: list[Question], golds: int = REWRITTEN) -> tuple[dict[str, float | None], list[Pair]]:
    """Shares of the rewritten golds and of the near misses that are graded right, and the pairs graded otherwise.

    golds: how many distinct ones are rewritten, spread over the questions. The question's text is left out: what it
    asks for (percent, say) is not known to the rules.
    """
    distinct = list({gold: question for question in questions for gold in question.golds}.items())
    chosen = distinct[:: max(1, len(distinct) // golds)][:golds]
    verdicts: dict[bool, list[bool]] = {True: [], False: []}
    otherwise = []
    for gold, question in chosen:
        alone = replace(question, question="", golds=[gold])
        for pair in pairs(gold, question.answer_type):
            right = grade(alone, pair.answer).correct
            verdicts[pair.right].append(right)
            otherwise += [pair] if right != pair.right else []
    return {"rewritten": _mean(verdicts[True]), "near_misses": _mean(verdicts[False])}, otherwise


def try_tools(environment: BenchmarkTools, questions: list[Question]) -> dict[str, Any]:
    """Answers of the tools without any model: `passages` in the index, `found` and `gold_shown` (shares of the
    questions, in [0, 1]: a search for the question's text finds a passage; what it shows holds an accepted answer) and
    `python` (what the program `print(6 * 7)` gives).
    """
    calls = [Call(environment.start(question), "search", question.question) for question in questions]
    *results, printed = environment.run([*calls, Call(environment.start(questions[0]), "python", "print(6 * 7)")])
    shown = [
        result.ok and any(gold.lower() in result.text.lower() for gold in question.golds)
        for question, result in zip(questions, results, strict=True)
    ]
    found, size = _mean([result.ok for result in results]), len(environment.search.index)
    return {"passages": size, "found": found, "gold_shown": _mean(shown), "python": printed.text}


def run_agent(collector: Collector, questions: list[Question], samples: int, policy=Independent()) -> dict[str, Any]:
    """Figures of `samples` trajectories for each question. The collector's task is a `RealTask`.

    reward, f1, correct (`grade`d final answers) and format_ok are means over trajectories; tool_calls and
    sampled_tokens count what was run and sampled, shared prefixes once; actions: tool calls by outcome ("empty" = a
    search without a hit); passages_shown: distinct passages; ended: trajectories by reason; branches: forked
    trajectories. unknown_prompt, unknown_results, unknown_sampled: share of the tokens of that kind that are the
    tokenizer's unknown token, in [0, 1] (prompts without the beginning-of-sequence token; None where there are none).
    """
    shown = collector.task.environment.search.shown
    shown.clear()
    groups, rollout = collector.sample(questions, samples, ("real-input",), policy)
    rows = [(group.question, t, r) for group in groups for t, r in zip(group.trajectories, group.rewards, strict=True)]
    unknown = collector.grammar.tokenizer.unk_token_id
    prompts = [token for question in questions for token in collector.prompt_ids(question)[1:]]
    tokens = [  # what a path inherited at a fork left out
        pair
        for _, t, _ in rows
        for pair in list(zip(t.path.completion, t.path.sampled, strict=True))[t.path.inherited :]
    ]
    return {
        "questions": len(questions),
        "samples": samples,
        "trajectories": len(rows),
        **{name: _mean([getattr(r, name) for _, _, r in rows]) for name in ("reward", "f1", "format_ok")},
        "correct": _mean([grade(question, r.answer).correct for question, _, r in rows]),
        "tool_calls": rollout.tool_calls,
        "sampled_tokens": rollout.sampled_tokens,
        "actions": _counts(action for _, t, _ in rows for action in t.actions[t.inherited_calls :]),
        "passages_shown": len(shown),
        "ended": _counts(t.ended for _, t, _ in rows),
        "branches": sum(rollout.branches),
        "unknown_prompt": _mean([token == unknown for token in prompts]),
        "unknown_results": _mean([token == unknown for token, sampled in tokens if not sampled]),
        "unknown_sampled": _mean([token == unknown for token, sampled in tokens if sampled]),
    }


def open_model(folder: str | Path | None, runs_root: Path) -> tuple[str, Any, Grammar]:
    """(its name for the report, model, grammar) of a warm start's folder, or of what stands in for it (`check`)."""
    from reproduce.training.warm_start import load_warm_start

    if folder is not None and not Path(folder).is_dir():
        raise UserError(f"{folder}: no such folder; --model takes a warm start, runs/<profile>/warm_starts/<hash>")
    if folder is None and (folder := newest_warm_start(runs_root)) is None:
        return "random weights, mini shape", *_random_model()
    return str(folder), *load_warm_start(Path(folder), "cpu", "float32")


def newest_warm_start(runs_root: Path) -> Path | None:
    """The warm start for the web's tools under `<runs_root>/<profile>/warm_starts/` that was finished last, or None.

    A folder gets its final name, which has no suffix, when it is complete (`train_warm_start`).
    """
    found = [path.parent for path in runs_root.glob("*/warm_starts/*/checks.json") if not path.parent.suffix]
    found.sort(key=lambda path: (path.joinpath("checks.json").stat().st_mtime_ns, path.name), reverse=True)
    return next(filter(_calls_tools, found), None)


def _calls_tools(folder: Path) -> bool:
    """Whether the warm start has the tools' tags, as those of episodes do not. True for a damaged one, to be told."""
    from transformers import PreTrainedTokenizerFast

    try:
        Grammar(PreTrainedTokenizerFast.from_pretrained(folder))
    except UserError:
        return False
    except (OSError, ValueError, KeyError):
        return True
    return True


def _random_model() -> tuple[Any, Grammar]:
    from reproduce.config.tables import TableConfig
    from reproduce.training.setup import open_setup

    with open_setup(TableConfig.load(2).jobs("mini")[0]) as setup:
        model, tokenizer = setup.initial_model("cpu")
        return model, setup.grammar(tokenizer)


def _search_cache(data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise UserError(
            f"{data_dir}: no such folder; --data takes the folder that holds eval/*.jsonl and {CACHE_FILES[0]} "
            "(data/README.md says where they come from)"
        )
    for name in CACHE_FILES:
        if (data_dir / name).is_file():
            return data_dir / name
    raise UserError(
        f"{data_dir}: no search results (looked for {' and '.join(CACHE_FILES)}); "
        "put the file there, see data/README.md"
    )


def _counts(names) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _mean(values: list) -> float | None:
    return sum(values) / len(values) if values else None


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    tools, agent = report["tools"], report["agent"]
    columns = ("file", "questions", "oracle", "empty", "rewritten", "near_misses")
    files = pd.DataFrame(report["graders"], columns=columns).set_index("file")
    files = files.rename(columns={"oracle": "gold answer", "empty": "empty answer", "near_misses": "near misses"})
    files[files.columns[1:]] = files[files.columns[1:]].astype(float)
    unknown = (f"{kind} {agent[key]:.0%}" for kind, key in UNKNOWN.items() if agent[key] is not None)
    figures = {
        "passages indexed": tools["passages"],
        "question finds any": f"{tools['found']:.1%}",
        "result holds the gold": f"{tools['gold_shown']:.1%}",
        "print(6 * 7) gives": tools["python"],
        "model": agent["model"],
        "questions x samples": f"{agent['questions']} x {agent['samples']}",
        "correct": f"{agent['correct']:.1%}",
        "format ok": f"{agent['format_ok']:.1%}",
        "mean reward": f"{agent['reward']:.3f}",
        "tool calls": f"{agent['tool_calls']} ({_named(agent['actions'])})",
        "passages shown": agent["passages_shown"],
        "sampled tokens": agent["sampled_tokens"],
        "trajectories ended by": _named(agent["ended"]),
        "unknown tokens": ", ".join(unknown),
    }
    shown = files.rename_axis(None).to_string(float_format="{:.1%}".format, na_rep="-")
    return "\n".join([shown, "", *(f"{name:<24}{value}" for name, value in figures.items())])


def _named(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def main(argv: list[str] | None = None) -> int:
    """Prints the report. Exit codes: 0 as it should be, 1 a grader or the Python tool is wrong, 2 bad input."""
    parser = Parser(prog="python -m reproduce real-input", description=first_line(__doc__))
    parser.add_argument("--data", type=Path, help="folder with eval/*.jsonl and search_cache.json")
    add = parser.add_argument
    add("--model", type=Path, help="folder of a warm start (default: the newest finished one, else random weights)")
    add("--questions", type=int, default=20, help="real questions for the agent loop (default 20)")
    add("--samples", type=int, default=1, help="trajectories for each of them (default 1)")
    add("--seed", type=int, default=0)
    add("--runs-root", type=folder, default=Path("runs"), help="where warm starts are looked for")
    try:
        o = parser.parse_args(argv)
        data = given(o.data, "real-input", f"eval/*.jsonl and {CACHE_FILES[0]} (data/README.md)")
        report = check(data, o.model, o.questions, o.samples, seed=o.seed, runs_root=o.runs_root)
    except UserError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(table(report))
    failed = [id for row in report["graders"] for id in row["failed"]]
    for pair in [pair for row in report["graders"] for pair in row["otherwise"]][:10]:
        verdict = "wrong" if pair.right else "right"
        print(f"graded {verdict}: {pair.answer!r} for the gold {pair.gold!r} ({pair.rule})", file=sys.stderr)
    if failed:
        print(f"graded wrong: {', '.join(failed[:10])}{' ...' if len(failed) > 10 else ''}", file=sys.stderr)
    return 1 if failed or report["tools"]["python"] != "42" else 0


if __name__ == "__main__":
    sys.exit(main())
