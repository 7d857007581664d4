"""The released rollouts of ARPO and AEPO: what each switch does, and that without the switches they are the papers'."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from scripted import PROMPTS, QUESTIONS, ScriptedEngine, search
from tiny import LocalPrinter, engine, environment, full_forward, talker, tokenizer

from reproduce.algorithms import load
from reproduce.algorithms.parts import ReleasedAEPORollout, ReleasedARPORollout
from reproduce.algorithms.policies import AEPORollout, ARPORollout
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.released_agent import ReleasedAgentLoop, loop_for
from reproduce.worlds.miniweb.task import open_task
from reproduce.worlds.tool_server import Call

COMMON = ("late_test", "stale_baseline", "child_own_baseline", "lockstep", "single_fill_up", "eos_at_call_limit")
ARPO_OFF = dict.fromkeys(COMMON, False) | {"decision": "threshold"}
AEPO_OFF = ARPO_OFF | {"penalised_draw": False, "penalty_per_prompt": False}
LOG_V = float(np.log(len(tokenizer())))


class Watched(ScriptedEngine):
    """Counts, for every path that starts after the first ones, how many others are being sampled: `starts`."""

    def run(self, paths, advance, tools=None):
        alive, self.starts = list(paths), []

        def watch(done):
            again = advance(done)
            alive[:] = [path for path in alive if path not in done]
            for path in again:
                self.starts += [] if path in done else [len(alive)]
                alive.append(path)
            return again

        super().run(paths, watch)


def script(calls, entropy, memory=None):
    """A loop: question i makes `calls[i]` searches, and the tokens of its segments have entropy(i, turn) ln V."""
    t = tokenizer()
    grammar = Grammar(t)

    def choose(path):
        question = PROMPTS.index(list(path.prompt))
        text = search(path.turn, calls[question])
        ids = [t.eos_token_id] if text is None else t.encode(text, add_special_tokens=False)
        said = sum(1 for s, turn in zip(path.sampled, path.turns, strict=True) if s and turn == path.turn)
        return ids[min(said, len(ids) - 1)], float(entropy(question, path.turn)) * LOG_V

    engine = Watched(choose, t.eos_token_id, set(grammar.close))
    memory = {} if memory is None else memory
    return ReleasedAgentLoop(engine, environment(), Call, grammar, Limits(8, 400), initial_entropies=memory)


def play(policy, calls=(4,), entropy=lambda question, turn: 0.5, k=8, seed=0, memory=None):
    n = len(calls)
    made = script(calls, entropy, memory)
    return made.rollout(QUESTIONS[:n], PROMPTS[:n], k, policy, np.random.default_rng(seed))


def spied(policy):
    """The policy, which records (dH, l) of its branch tests in `tests`."""

    class Spy(type(policy)):
        tests = []

        def branch(self, change, consecutive, uniform):
            self.tests.append((round(change, 9), consecutive))
            return super().branch(change, consecutive, uniform)

    return Spy(**vars(policy))


def simulate(calls, heights, k, m, policy, stale, seed, per_prompt):
    """The released loop, synchronously and on abstract paths. Rows of each question as (parent, branch turn)."""
    rng, rows, run = np.random.default_rng(seed), [[] for _ in calls], [0] * len(calls)
    question_of, turn_of, row_of, active = [], [], [], []

    def create(question, turn, parent=-1):
        active.append(len(turn_of))
        question_of.append(question)
        turn_of.append(turn)
        row_of.append(len(rows[question]))
        rows[question].append((parent, turn if parent >= 0 else -1))

    for question in range(len(calls)):
        for _ in range(m):
            create(question, 0)
    while active:
        now = {i: heights[question_of[i], turn_of[i]] for i in active}
        for i in active:
            stale.setdefault(i, now[i])
        active = [i for i in active if turn_of[i] < calls[question_of[i]]]
        for i in active:
            turn_of[i] += 1
        going, grown = list(active), set()
        going_on = list(dict.fromkeys(question_of[i] for i in going))
        for question in going_on:
            for i in [i for i in going if question_of[i] == question]:
                if len(rows[question]) < k:
                    p = policy.branch_probability(now[i] - stale[i], run[question] if per_prompt else 0)
                    if p > rng.random():
                        create(question, turn_of[i], row_of[i])
                        grown.add(question)
        for question in range(len(calls)):
            if question not in going_on and len(rows[question]) < k:
                create(question, 0)
                grown.add(question)
        if grown:
            run = [n + 1 if question in grown else 0 for question, n in enumerate(run)]
    return rows


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", [ReleasedARPORollout(entropy_tokens=1), ReleasedAEPORollout(entropy_tokens=1)])
def test_rounds_equal_a_synchronous_loop(policy, seed):
    """Two batches, the second one on the first one's initial entropies; questions of 3, 1 and 5 calls."""
    memory, stale, calls, branches = {}, {}, (3, 1, 5), 0
    for batch in range(2):
        heights = np.random.default_rng(100 + batch).uniform(0, 3, (3, 6))
        rollout = play(policy, calls, lambda question, turn, h=heights: h[question, turn], 9, seed, memory)
        expected = simulate(calls, heights, 9, 4, policy, stale, seed, isinstance(policy, AEPORollout))
        assert [[(t.parent, t.branch_turn) for t in group] for group in rollout.groups] == expected
        assert memory == pytest.approx(stale) and len(memory) == 27
        branches += sum(rollout.branches)
    assert branches > 3


def test_the_late_test_reads_the_segment_before_the_call():
    def fork_turns(**overrides):
        policy = load("arpo-released", entropy_tokens=3, decision="threshold", **overrides).rollout
        rollout = play(policy, entropy=lambda question, turn: 3.0 if turn == 2 else 0.5)
        return {t.branch_turn for t in rollout.groups[0] if t.parent >= 0}

    assert fork_turns() == {3}, "one call after the peak"
    assert fork_turns(late_test=False) == {2}, "the paper: at the result that the peak follows"
    assert fork_turns(late_test=False, lockstep=False, single_fill_up=False) == {2}
    assert fork_turns(lockstep=False, single_fill_up=False) == {3}
    spy = spied(ReleasedARPORollout(entropy_tokens=3, alpha=0.0))  # P = 0 where dH <= 0, so every path is tested
    play(spy, entropy=lambda question, turn: 3.0 if turn == 0 else 0.5)
    assert [change for change, _ in spy.tests[:4]] == [0.0] * 4, "dH is 0 at the first call, whatever it is later"
    assert all(change < 0 for change, _ in spy.tests[4:8])


def test_initial_entropies_are_of_the_first_batch_for_ever():
    def changes(**overrides):
        spy, memory = spied(load("arpo-released", entropy_tokens=1, **overrides).rollout), {}
        for level in (0.2, 1.0):
            spy.tests.clear()
            play(spy, entropy=lambda question, turn, level=level: level, memory=memory)
        return {change for change, _ in spy.tests}

    assert changes() == {0.8}, "1.0 now against 0.2 of the first batch"
    assert changes(stale_baseline=False) == {0.0}


def test_a_branch_has_a_baseline_of_its_own():
    """Entropy rises at turn 1 and stays: measured against turn 0 every later turn is high, against itself none."""

    def baselines(**overrides):
        policy = load("arpo-released", entropy_tokens=1, stale_baseline=False, alpha=1.0, **overrides).rollout
        rollout = play(policy, entropy=lambda question, turn: 0.2 if turn == 0 else 1.2)
        return {round(t.initial_entropy, 6) for t in rollout.groups[0] if t.parent >= 0}

    assert baselines() == baselines(late_test=False) == {1.2}
    assert baselines(child_own_baseline=False) == baselines(late_test=False, child_own_baseline=False) == {0.2}


def test_what_is_missing_is_filled_up_one_at_a_time_or_at_once():
    def starts(**overrides):
        made = script((1,), lambda question, turn: 0.5)
        policy = load("arpo-released", alpha=0.0, **overrides).rollout  # nothing forks
        rollout = made.rollout(QUESTIONS[:1], PROMPTS[:1], 6, policy, np.random.default_rng(0))
        assert len(rollout.groups[0]) == 6 and rollout.branches == [0]
        return made.engine.starts

    assert starts() == [0, 0, 0], "each starts when no other is left"
    assert starts(single_fill_up=False) == starts(single_fill_up=False, lockstep=False) == [0, 1, 2]
    always = load("arpo-released", alpha=1.0, initial_fraction=0.01).rollout
    rollout = play(always, (1,), k=6)
    assert rollout.branches == [3] and len(rollout.groups[0]) == 6, "a trajectory that fills up branches again"


def test_the_penalty_counts_rounds_of_the_question_with_fill_ups_and_starts_again_when_another_grows():
    def tested(calls, **overrides):
        spy = spied(load("aepo-released", entropy_tokens=1, alpha=1.0, initial_fraction=0.01, **overrides).rollout)
        play(spy, calls, k=30)
        return [run for _, run in spy.tests]

    # one question of 4 calls: its paths double with every call (1, 2, 4, 8 tests), and the round number is the penalty
    assert tested((4,), penalty_slope=0.0)[:15] == [0] + [1] * 2 + [2] * 4 + [3] * 8
    assert sorted(tested((4,), penalty_slope=0.0, penalty_per_prompt=False)[:3]) == [0, 1, 1]
    # no call at all: each round fills up with one trajectory and counts, though nothing ever branches
    groups = play(load("aepo-released", penalty_slope=0.0).rollout, (0,), k=4)
    assert groups.branches == [0] and len(groups.groups[0]) == 4
    after_fill_ups = spied(load("aepo-released", alpha=0.0, entropy_weight=0.0, initial_fraction=0.01).rollout)
    play(after_fill_ups, (1,), k=4)
    assert [run for _, run in after_fill_ups.tests] == [0, 1, 2], "untouched in rounds in which no question grows"
    after_fill_ups.tests.clear()
    play(after_fill_ups, (1, 2), k=4)
    # rounds 1 to 8; question 0 is filled up in rounds 2, 4 and 6, question 1 in 3, 6 and 9, and each resets the other
    assert [run for _, run in after_fill_ups.tests] == [0, 0] + [0] + [1] + [1] + [0, 1] + [1] + [1]


def test_released_branch_probabilities():
    released, paper = load("aepo-released").rollout, load("aepo-released", penalised_draw=False).rollout
    thresholds = [1 - released.branch_probability(0.0, run) for run in range(7)]
    assert thresholds == pytest.approx([0.500, 0.526, 0.556, 0.588, 0.625, 0.667, 0.714], abs=5e-4)
    assert released.branch_probability(0.0, 5) == pytest.approx(1 / 3)
    assert paper.branch_probability(0.0, 5) == AEPORollout().branch_probability(0.0, 5) == pytest.approx(0.375)
    assert released.branch_probability(0.0, 10) == 0.0 == released.branch_probability(9.0, 20)
    rise = released.branch_probability(0.4, 5) - released.branch_probability(0.0, 5)
    assert rise == pytest.approx(0.2 * 0.4), "the penalty does not touch dH"
    arpo = load("arpo-released").rollout
    draws = np.random.default_rng(0).random(20_000)
    for change in (-1.0, 0.0, 0.6):
        assert np.mean([arpo.branch(change, 0, u) for u in draws]) == pytest.approx(
            np.mean(np.clip(draws - 0.2 * change, 0, 1) <= 0.5), abs=0.02
        )
        for run in (0, 3):
            test = np.clip((draws + 0.2 * change) * (1 - 0.05 * run), 0, 1) >= 0.5
            assert np.mean([released.branch(change, run, u) for u in draws]) == pytest.approx(test.mean(), abs=0.02)


def test_the_released_budget_is_floor_plus_one_and_hardly_moves():
    on = load("aepo-released", dynamic_budget=True).rollout
    assert [on.initial(16, gap, 0.0) for gap in (0.0, 0.5, -0.5)] == [9, 9, 8]
    gaps = np.linspace(-0.5, 0.5, 41)
    assert {on.initial(16, gap, 0.0) for gap in gaps} == {8, 9} and {on.initial(12, gap, 0.0) for gap in gaps} == {6, 7}
    off = load("aepo-released", dynamic_budget=True, budget_floor_plus_one=False).rollout
    assert [off.initial(16, gap, 0.0) for gap in (0.0, 0.5)] == [AEPORollout().initial(16, g, 0.0) for g in (0.0, 0.5)]
    launcher = load("aepo-released").rollout
    assert not launcher.needs_pilot and launcher.initial(16) == 8 and launcher.initial(12) == 6
    assert on.initial(4, 99.0, 0.0) == 4 and on.initial(4, -99.0, 0.0) == 1


def test_the_pilots_mean_takes_in_its_first_segment():
    def sizes(**overrides):
        policy = load("aepo-released", dynamic_budget=True, entropy_tokens=1, beta=4.0, **overrides).rollout
        memory = {}
        rollout = play(policy, (1,), lambda question, turn: 1.0 if turn == 0 else 0.2, 16, memory=memory)
        assert len(memory) == 16, "the pilot leaves no initial entropy behind"
        return rollout.initial

    assert sizes() == [int(16 / (1 + np.exp(-4 * (1.0 - 0.6)))) + 1]
    assert sizes(pilot_mean_all_segments=False) == [int(16 / (1 + np.exp(-4 * (1.0 - 0.2)))) + 1]


# ---------------------------------------------------------------- with a model


def roll(policy, seed=0, lm=None, k=10):
    arguments = (engine(lm or talker(), seed), environment(), Call, Grammar(tokenizer()), Limits(6, 100))
    made = loop_for(policy, *arguments, initial_entropies={}, model=arguments[0].model)
    return made.rollout(QUESTIONS[:2], PROMPTS[:2], k, policy, np.random.default_rng(seed))


def record(rollout):
    rows = [t for group in rollout.groups for t in group]
    return [(t.path.tokens, t.path.logps, t.path.turns, t.parent, t.branch_token, t.calls, t.ended) for t in rows]


def test_with_every_switch_off_the_rollouts_are_those_of_the_papers_to_the_byte():
    arpo = load("arpo-released", **ARPO_OFF, entropy_tokens=3, alpha=0.6).rollout
    expected = roll(ARPORollout(entropy_tokens=3, alpha=0.6))
    assert record(roll(arpo)) == record(expected) and sum(expected.branches) >= 1
    paper = AEPORollout(entropy_tokens=3, alpha=0.6)
    aepo = ReleasedAEPORollout(
        **AEPO_OFF,
        dynamic_budget=True,
        budget_floor_plus_one=False,
        pilot_mean_all_segments=False,
        entropy_tokens=3,
        alpha=0.6,
    )
    assert record(roll(aepo)) == record(roll(paper))


@pytest.mark.parametrize("off", [(), ("late_test",), ("lockstep", "single_fill_up"), ("child_own_baseline",)])
def test_released_trees_of_a_real_model_keep_the_log_probs_of_a_full_forward(off):
    lm = talker()
    policy = ReleasedARPORollout(entropy_tokens=3, alpha=0.7, **dict.fromkeys(off, False))
    rollout = roll(policy, lm=lm)
    assert sum(rollout.branches) >= 1
    for group in rollout.groups:
        assert [t.row for t in group] == list(range(10))
        for t in group:
            logps, _ = full_forward(lm, t.path.prompt, t.path.completion)
            mask = torch.tensor(t.path.sampled)
            torch.testing.assert_close(torch.tensor(t.path.logps)[mask], logps[mask], atol=1e-4, rtol=0)
            if t.parent >= 0:
                shared = group[t.parent].path.completion[: t.branch_token]
                assert t.path.completion[: t.branch_token] == shared and not t.path.sampled[t.branch_token - 1]


@cache
def task():
    return open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)


def collector():
    return Collector(task(), talker(), Grammar(tokenizer()), Limits(2, 100), 0.8, 0)


def test_the_call_limit_adds_an_end_of_sequence_token_that_is_trained_on():
    def ended(**overrides):
        policy = load("arpo-released", entropy_tokens=3, **overrides).rollout
        made = collector()
        groups, _ = made.sample(QUESTIONS, 6, ("test",), policy)
        return made, [t for group in groups for t in group.trajectories if t.ended == "calls"]

    made, rows = ended()
    assert len(rows) >= 2
    for path in (t.path for t in rows):
        assert path.tokens[-1] == made.grammar.eos_id and path.tokens[-2] in made.grammar.close and path.sampled[-1]
        logps, entropies = full_forward(made.model, path.prompt, path.completion, temperature=0.8)
        assert path.logps[-1] == pytest.approx(float(logps[-1]), abs=1e-4)
        assert path.entropies[-1] == pytest.approx(float(entropies[-1]), abs=1e-4)
    _, rows = ended(eos_at_call_limit=False)
    assert all(t.path.tokens[-1] in made.grammar.close for t in rows)


def test_stale_entropies_survive_a_checkpoint():
    policy = load("aepo-released", entropy_tokens=3).rollout

    def step(made, number):
        groups, _ = made.sample(QUESTIONS[:2], 4, (number,), policy)
        return [(t.path.tokens, t.initial_entropy, t.parent) for group in groups for t in group.trajectories]

    whole = collector()
    step(whole, 1)
    saved = json.loads(json.dumps(whole.state_dict()))
    expected = step(whole, 2)
    resumed, fresh = collector(), collector()
    resumed.load_state_dict(saved)
    assert step(resumed, 2) == expected and resumed.state_dict() == whole.state_dict()
    assert [h for _, h, _ in step(fresh, 2)] != [h for _, h, _ in expected]
    with pytest.raises(KeyError):
        fresh.load_state_dict({})


# ---------------------------------------------------------------- refusals

BAD = [
    (
        "aepo-released",
        {"budget_floor_plus_one": False},
        "budget_floor_plus_one has no effect with dynamic_budget=False",
    ),
    ("aepo-released", {"branch_penalty": False, "penalised_draw": False}, "penalised_draw has no effect"),
    ("arpo-released", {"threshold": 0.4}, "threshold has no effect with decision=bernoulli"),
    ("arpo", {"late_test": True}, "unknown setting 'late_test'"),
    ("arpo-released", {"late_test": 1}, "late_test must be true or false"),
]


@pytest.mark.parametrize(("name", "overrides", "message"), BAD)
def test_switches_that_would_do_nothing_are_refused(name, overrides, message):
    with pytest.raises(UserError, match=message):
        load(name, **overrides)
