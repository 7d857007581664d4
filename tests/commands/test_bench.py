"""The benchmark: ratios are paired, both sides of the rollouts sample the same tokens, trainers take turns."""

import csv
import platform

import numpy as np
import pytest
import torch
from tiny import LocalPrinter, model, tokenizer

from reproduce.commands.bench import main, rollouts
from reproduce.commands.bench.cli import COMPARISONS
from reproduce.commands.bench.envs import alfworld_rows, scienceworld_rows
from reproduce.commands.bench.rows import QUICK, Sizes, in_turn, paired
from reproduce.commands.bench.setting import Setting, cached_warm_start
from reproduce.commands.bench.steps import step_rows
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar
from reproduce.worlds.miniweb.demonstrations import demonstrate
from reproduce.worlds.miniweb.task import open_task

ENVIRONMENTS = {"scienceworld": scienceworld_rows, "alfworld": alfworld_rows}


@pytest.fixture(scope="module")
def task():
    return open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)


@pytest.fixture(scope="module")
def caller(task):
    """A tiny model that has seen just enough demonstrations to call tools."""
    t, lm = tokenizer(), model(seed=1)
    questions = task.train_questions(24, seed=5)
    shown = demonstrate(task.environment, questions, 0.1, 6, np.random.default_rng(0))
    rows = [t.encode(f"<bos> {task.prompt(d.question)} {d.text} <eos>", add_special_tokens=False)[:120] for d in shown]
    ids = torch.full((len(rows), max(map(len, rows))), t.pad_token_id)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    labels = ids.masked_fill(ids == t.pad_token_id, -100)
    optimiser = torch.optim.Adam(lm.parameters(), lr=1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        lm(input_ids=ids, attention_mask=(ids != t.pad_token_id).long(), labels=labels).loss.backward()
        optimiser.step()
    return lm


def setting(task, lm):
    config = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0]
    return Setting(config, task, lm, Grammar(tokenizer()), "a test's model")


def test_a_row_pairs_repetitions_and_judges_the_aim():
    row = paired("rollout", "speed", {"ours": [10.0, 60.0, 8.0], "TRL": [1.0, 10.0, 4.0]}, headline=True)
    assert (row.ratio, row.ratio_low, row.ratio_high) == (6.0, 2.0, 10.0)  # not 10 / 4, the ratio of medians
    assert (row.aim, row.met) == (">= 5", "yes")
    row = paired("step", "seconds", {"aepo": [1.3], "grpo": [1.0]}, headline=True)
    assert (row.aim, row.met) == ("<= 1.2", "no")
    assert paired("step", "seconds", {"aepo": [1.3], "grpo": [1.0]}).aim == ""
    with pytest.raises(ValueError):
        paired("step", "seconds", {"aepo": [1.0, 2.0], "grpo": [1.0]})


def test_both_sides_decode_the_same_tokens_greedily(task, caller, tmp_path):
    made = setting(task, caller)
    questions = task.panel("validation", 8)
    ours = rollouts.our_side(made, questions, 2, greedy=True)(0)
    theirs = rollouts.trl_side(made, questions, 2, tmp_path, greedy=True)(0)
    assert ours.calls > 8
    assert theirs.completions == ours.completions
    assert (theirs.tokens, theirs.forced, theirs.calls) == (ours.tokens, ours.forced, ours.calls)


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("<think> open </think> <search> page 2 </search>", ("search", "page 2")),
        ("<python> print ( 3 + 4 ) </python>", ("python", "print ( 3 + 4 )")),
        ("<search> page 1 <search> page 2 </search>", ("search", "page 2")),
        ("<search> </search>", None),
        ("<search> arlo </python>", None),
        ("<think> done </think> <answer> \\boxed{ 7 } </answer> <eos>", None),
    ],
)
def test_trl_reads_a_call_where_our_loop_does(text, call):
    from trl.chat_template_utils import parse_response

    t = rollouts.trl_tokenizer(Grammar(tokenizer()))
    prefix = t.encode("<bos> question : arlo painter year <search> arlo </search> <result> 1 arlo </result>")
    parsed = parse_response(t, t.encode(text), prefix=prefix)
    calls = [(c["function"]["name"], c["function"]["arguments"]["content"]) for c in parsed.get("tool_calls", [])]
    assert calls == ([call] if call else [])


def test_a_model_that_never_calls_is_refused(task, tmp_path):
    lm = model(seed=0)
    with torch.no_grad():
        lm.lm_head.weight.zero_()
        lm.lm_head.weight[tokenizer().eos_token_id] = 1.0
    sizes = Sizes(prompts=2, group=2, repetitions=1)
    with pytest.raises(UserError, match="no tool call"):
        rollouts.rollout_rows(sizes, setting(task, lm), tmp_path)


def test_sides_take_turns_and_the_first_repetition_is_not_counted():
    log = []
    taken = in_turn("a test", {name: lambda n, name=name: log.append((name, n)) or n for name in "ab"}, 3)
    assert taken == {"a": [1, 2, 3], "b": [1, 2, 3]}
    assert log == [(name, n) for n, order in enumerate(("ba", "ab", "ba", "ab")) for name in order]


@pytest.mark.slow
def test_steps_of_both_methods_are_those_of_the_real_trainer(task, caller, tmp_path):
    rows = step_rows(Sizes(prompts=2, group=4, steps=1), setting(task, caller), tmp_path)
    assert {(row.left_name, row.right_name, row.repetitions) for row in rows} == {("aepo", "grpo", 1)}
    found = {row.measure: row for row in rows}
    whole, cpu = found["seconds, rollout and training"], found["CPU seconds of the same"]
    assert whole.aim and not cpu.aim
    for side in ("left", "right"):
        parts = [getattr(found[f"seconds, {stage}"], side) for stage in ("rollout", "training")]
        assert getattr(whole, side) == pytest.approx(sum(parts)) and min(parts) > 0 and getattr(cpu, side) > 0
        assert getattr(found["trained tokens"], side) > 0


def test_the_newest_warm_start_with_this_vocabulary_is_found(task, tmp_path):
    folders = tmp_path / "mini" / "warm_starts"
    assert cached_warm_start(tmp_path, task.environment.world) is None
    for name in ("old", "half.tmp"):
        model().save_pretrained(folders / name)
        tokenizer().save_pretrained(folders / name)
    foreign = folders / "foreign"
    model().save_pretrained(foreign)
    other = rollouts.trl_tokenizer(Grammar(tokenizer()))
    other.add_tokens(["a-word-of-another-world"])
    other.save_pretrained(foreign)
    assert cached_warm_start(tmp_path, task.environment.world) == folders / "old"


def test_an_unknown_comparison_is_refused():
    with pytest.raises(UserError, match="no comparison speed; choose of rollout, step, sandbox"):
        main(["--only", "rollout,speed"])


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_without_its_packages_is_a_row_that_says_so(name, monkeypatch):
    module = {"scienceworld": "scienceworld.pool.classpath", "alfworld": "alfworld.wheel.check_versions"}[name]

    def refuse():
        raise UserError("the package is not installed; run `pip install -r requirements-envs.txt`")

    monkeypatch.setattr(f"reproduce.worlds.{module}", refuse)
    rows = ENVIRONMENTS[name](QUICK)
    assert [row.repetitions for row in rows] == [0, 0] and all(np.isnan(row.ratio) for row in rows)
    assert all("not available here" in row.note and "requirements-envs.txt" in row.note for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_both_sides_of_an_environment_are_stepped(name):
    pytest.importorskip(name, reason="needs the extra of requirements-envs.txt")
    speed, *bound, memory = ENVIRONMENTS[name](QUICK)
    assert speed.left > speed.right > 0 and speed.aim and memory.left > 0
    assert all(row.left > row.right > 0 and not row.aim for row in bound)


@pytest.mark.slow
def test_the_whole_command_writes_table_and_csv(caller, tmp_path, capsys):
    folder = tmp_path / "runs" / "mini" / "warm_starts" / "abc"
    caller.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    out = tmp_path / "bench.csv"
    threads = torch.get_num_threads()
    assert main(["--quick", "--runs-root", str(tmp_path / "runs"), "--out", str(out)]) == 0
    assert torch.get_num_threads() == threads
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["comparison"] for row in rows} == set(COMPARISONS)
    heads = [row for row in rows if row["aim"] and row["comparison"] not in ENVIRONMENTS]
    assert [(row["left_name"], row["right_name"]) for row in heads] == [("ours", "TRL"), ("aepo", "grpo")]
    assert all(float(row["left"]) > 0 and float(row["right"]) > 0 and row["met"] in ("yes", "no") for row in heads)
    calls = next(row for row in rows if row["measure"] == "tool calls per trajectory")
    assert float(calls["left"]) > 0.5 and float(calls["right"]) > 0.5
    assert {row["weights"] for row in rows} == {"warm start of profile mini, abc"}
    assert rows[0]["cpu"] and int(rows[0]["cores"]) >= 1 and rows[0]["trl"] == "1.16.0"
    text = out.read_text()
    assert platform.node() not in text and str(tmp_path) not in text
    printed = capsys.readouterr().out
    assert "ours / TRL" in printed and "aepo / grpo" in printed and "one thread" in printed
