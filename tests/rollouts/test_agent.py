"""The agent loop and the rollout policies: groups of exactly k, forks where the policy says, honest token counts."""

import numpy as np
import pytest
from scripted import PROMPTS, QUESTIONS, scripted, search
from tiny import LocalPrinter, full_forward, loop, model, tokenizer, world

from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits, pilot_entropies
from reproduce.rollouts.token_path import TokenPath
from reproduce.worlds.miniweb.tools import MiniWebTools
from reproduce.worlds.tool_server import Call


@pytest.mark.parametrize("policy", [Independent(), ARPORollout(entropy_tokens=4), AEPORollout(entropy_tokens=4)])
@pytest.mark.parametrize("k", [1, 5, 16])
def test_groups_hold_exactly_k_trajectories_with_random_models(policy, k):
    rollout = loop(model(scale=2.0)).rollout(QUESTIONS, PROMPTS, k, policy, np.random.default_rng(0))
    for question, group in zip(QUESTIONS, rollout.groups, strict=True):
        assert [t.row for t in group] == list(range(k))
        for t in group:
            assert t.session.question is question and t.ended
            assert t.path.length == len(t.path.sampled) == len(t.path.logps) == len(t.path.turns)
            assert t.path.length <= 96
            if t.parent >= 0:
                parent = group[t.parent]
                assert t.path.completion[: t.branch_token] == parent.path.completion[: t.branch_token]
                assert not t.path.sampled[t.branch_token - 1], "a fork starts right after a tool result"


def test_an_entropy_rise_forks_and_an_entropy_fall_does_not():
    rising = scripted(search, lambda turn: 0.1 + turn).rollout(
        QUESTIONS[:1], PROMPTS[:1], 8, ARPORollout(entropy_tokens=3), np.random.default_rng(0)
    )
    assert rising.initial == [4] and rising.branches == [4]
    assert {t.branch_turn for t in rising.groups[0] if t.parent >= 0} == {1}
    falling = scripted(search, lambda turn: 1.0 / (1 + turn)).rollout(
        QUESTIONS[:1], PROMPTS[:1], 8, ARPORollout(entropy_tokens=3), np.random.default_rng(0)
    )
    assert falling.branches == [0] and len(falling.groups[0]) == 8, "unused budget becomes whole trajectories"


def test_entropy_is_measured_after_the_result_not_before_it():
    """A peak in turn 2 forks at the end of the result that opens turn 2, one call later than a stale test would."""
    peak = scripted(search, lambda turn: 3.0 if turn == 2 else 0.5).rollout(
        QUESTIONS[:1], PROMPTS[:1], 8, ARPORollout(entropy_tokens=3), np.random.default_rng(0)
    )
    assert {t.branch_turn for t in peak.groups[0] if t.parent >= 0} == {2}


def test_the_penalty_stops_consecutive_branches_on_a_path():
    """dH = 0.3 passes the first tests; with l branches in a row P falls below the threshold, and ARPO goes on."""
    size = np.log(len(tokenizer()))

    def entropy(turn):  # one measured token, so h = entropy / ln V
        return 0.1 if turn == 0 else 0.1 + 0.3 * size

    def fork_turns(policy):
        rollout = scripted(search, entropy, limits=Limits(8, 400)).rollout(
            QUESTIONS[:1], PROMPTS[:1], 64, policy, np.random.default_rng(0)
        )
        return {t.branch_turn for t in rollout.groups[0] if t.parent >= 0}

    base = dict(entropy_tokens=1, initial_fraction=0.02)
    assert fork_turns(ARPORollout(**base)) == {1, 2, 3, 4}
    aepo = AEPORollout(**base, beta=100.0)
    assert aepo.branch(0.3, 0, 0.0) and aepo.branch(0.3, 2, 0.0) and not aepo.branch(0.3, 3, 0.0)
    assert fork_turns(AEPORollout(**base, beta=20.0)) == {1, 2, 3}


def test_branch_probabilities_are_the_published_formulas():
    arpo, aepo = ARPORollout(), AEPORollout()
    assert arpo.branch_probability(0.3, 5) == pytest.approx(0.5 + 0.2 * 0.3)
    assert aepo.branch_probability(0.0, 5) == pytest.approx(0.375)  # (alpha + 0)(1 - 0.05 * 5)
    assert aepo.branch_probability(0.3, 0) == arpo.branch_probability(0.3, 0)
    assert aepo.branch_probability(9.0, 0) == 1.0 and aepo.branch_probability(0.0, 30) == 0.0
    bernoulli = ARPORollout(decision="bernoulli")
    assert bernoulli.branch(0.0, 0, 0.49) and not bernoulli.branch(0.0, 0, 0.51)
    assert not arpo.branch(0.0, 0, 0.0), "P = threshold does not pass: the paper's rule is strict"


def test_the_budget_follows_the_pilot_entropies():
    aepo = AEPORollout()
    assert aepo.initial(16, 1.0, 1.0) == 8
    assert aepo.initial(16, 2.5, 0.0) == round(16 / (1 + np.exp(-1.25))) > 8
    assert aepo.initial(16, 0.0, 2.5) < 8 and aepo.initial(16, -99.0, 99.0) == 1
    assert AEPORollout(beta=99).initial(16, 9.0, 0.0) == 16
    high_root = scripted(search, lambda turn: 9.0 if turn == 0 else 0.1).rollout(
        QUESTIONS[:1], PROMPTS[:1], 16, AEPORollout(entropy_tokens=4), np.random.default_rng(0)
    )
    high_tool = scripted(search, lambda turn: 0.1 if turn == 0 else 9.0).rollout(
        QUESTIONS[:1], PROMPTS[:1], 16, AEPORollout(entropy_tokens=4), np.random.default_rng(0)
    )
    assert high_root.initial[0] > 8 > high_tool.initial[0]


def test_pilot_entropies_are_of_the_first_turn_and_the_mean_after_results():
    turns = [[1.0, 1.0, 9.0], [2.0, 2.0, 9.0], [], [4.0]]
    assert pilot_entropies(turns, 2, 4.0) == (0.5, 1.0), "an empty turn has none"
    assert pilot_entropies(turns[:1], 2, 4.0) == (0.5, 0.5), "no result: the two are equal"
    measured = scripted(search, lambda turn: 0.5 + turn).rollout(
        QUESTIONS[:1], PROMPTS[:1], 4, AEPORollout(entropy_tokens=4), np.random.default_rng(0)
    )
    turns = measured.groups[0][0].segment_entropies()
    assert turns[0][:4] == [0.5] * 4 and turns[1][:4] == [1.5] * 4
    assert measured.pilots == [pilot_entropies(turns, 4, Grammar(tokenizer()).log_vocabulary)]


def test_counts_are_honest():
    """Sampled tokens: shared prefixes once, pilots included; a row's loss mask covers its shared prefix too."""
    steps = 4
    per_turn = len(tokenizer().encode(search(0), add_special_tokens=False))
    rollout = scripted(search, lambda turn: 0.1 + turn).rollout(
        QUESTIONS[:1], PROMPTS[:1], 8, AEPORollout(entropy_tokens=3), np.random.default_rng(0)
    )
    whole = steps * per_turn + 1
    group = rollout.groups[0]
    forks = [t for t in group if t.parent >= 0]
    assert all(sum(t.path.sampled) == whole for t in group)
    assert rollout.sampled_tokens == whole + sum(t.new_tokens for t in group)
    assert rollout.sampled_tokens == whole * (1 + len(group)) - sum(t.branch_turn * per_turn for t in forks)
    assert rollout.tool_calls == steps * (1 + len(group)) - sum(t.inherited_calls for t in forks)


def test_a_fork_copies_the_session_and_leaves_the_parent_alone():
    rollout = scripted(search, lambda turn: 0.1 + turn).rollout(
        QUESTIONS[:1], PROMPTS[:1], 4, ARPORollout(entropy_tokens=2), np.random.default_rng(0)
    )
    child = next(t for t in rollout.groups[0] if t.parent >= 0)
    parent = rollout.groups[0][child.parent]
    assert child.session is not parent.session and child.session.asked is not parent.session.asked
    assert child.actions == parent.actions and child.calls == parent.calls
    assert child.results == parent.results and child.results is not parent.results
    assert len(child.results) == child.path.turn and child.results[0] in tokenizer().decode(child.path.completion)


def test_limits_end_a_trajectory_without_training_on_what_was_not_sampled():
    rollout = scripted(lambda turn: search(0), lambda turn: 0.5, limits=Limits(2, 400)).rollout(
        QUESTIONS[:1], PROMPTS[:1], 2
    )
    for t in rollout.groups[0]:
        assert t.ended == "calls" and t.calls == 2
        assert t.path.sampled[-1] and t.path.tokens[-1] != tokenizer().eos_token_id
    short = scripted(lambda turn: search(0), lambda turn: 0.5, limits=Limits(9, 30)).rollout(
        QUESTIONS[:1], PROMPTS[:1], 2
    )
    assert all(t.ended == "length" and t.path.length <= 30 for t in short.groups[0])
    empty = scripted(lambda turn: "<search> </search>", lambda turn: 0.5).rollout(QUESTIONS[:1], PROMPTS[:1], 2)
    assert all(t.ended == "malformed" and t.calls == 0 for t in empty.groups[0])


def test_tool_results_are_forced_and_equal_the_environment():
    t = tokenizer()
    rollout = scripted(
        lambda turn: "<python> print ( 3 + 4 ) </python>" if turn == 0 else None, lambda turn: 0.5
    ).rollout(QUESTIONS[:1], PROMPTS[:1], 1)
    path = rollout.groups[0][0].path
    forced = [token for token, sampled in zip(path.completion, path.sampled, strict=True) if not sampled]
    assert t.decode(forced) == "<result> 7 </result>"


def test_trees_of_a_real_model_keep_the_log_probs_of_a_full_forward():
    import torch

    lm = model(scale=3.0)
    loop_ = loop(lm)
    rollout = loop_.rollout(QUESTIONS, PROMPTS, 8, ARPORollout(entropy_tokens=3, alpha=0.9), np.random.default_rng(0))
    for group in rollout.groups:
        for t in group:
            logps, entropies = full_forward(lm, t.path.prompt, t.path.completion)
            mask = torch.tensor(t.path.sampled)
            torch.testing.assert_close(torch.tensor(t.path.logps)[mask], logps[mask], atol=1e-4, rtol=0)
            torch.testing.assert_close(torch.tensor(t.path.entropies)[mask], entropies[mask], atol=1e-4, rtol=0)


def test_a_tokenizer_without_the_tags_is_refused():
    class Plain:
        eos_token_id = pad_token_id = unk_token_id = 0

        def encode(self, text, add_special_tokens):
            return [5, 6]

    with pytest.raises(UserError, match="<search> is not a single token"):
        Grammar(Plain())


def test_a_branching_policy_without_its_stream_is_an_error():
    with pytest.raises(ValueError, match="random stream"):
        loop(model()).rollout(QUESTIONS, PROMPTS, 2, ARPORollout())


def test_trajectories_are_numbered_in_order_of_creation_without_gaps():
    rollout = loop(model(scale=3.0)).rollout(
        QUESTIONS, PROMPTS, 8, ARPORollout(entropy_tokens=3, alpha=0.9), np.random.default_rng(0)
    )
    numbers = [[t.index for t in group] for group in rollout.groups]
    assert [group[:4] for group in numbers] == [[i * 4, i * 4 + 1, i * 4 + 2, i * 4 + 3] for i in range(4)]
    assert all(group == sorted(group) for group in numbers) and sorted(sum(numbers, [])) == list(range(32))


def test_unknown_decision_is_refused():
    with pytest.raises(UserError, match="threshold"):
        ARPORollout(decision="always")


def test_forking_outside_the_completion_is_an_error():
    path = TokenPath.root(PROMPTS[0])
    with pytest.raises(ValueError, match="cannot fork"):
        path.fork(1, 0)


def test_environment_runs_equal_programs_once():
    calls = []

    class Counting(LocalPrinter):
        def run_many(self, codes):
            calls.extend(codes)
            return super().run_many(codes)

    env = MiniWebTools(world(), Counting())
    session = env.start(QUESTIONS[0])
    results = env.run([Call(session, "python", "print ( 1 + 2 )")] * 3 + [Call(session, "python", "print ( 2 + 2 )")])
    assert [r.text for r in results] == ["3", "3", "3", "4"] and len(calls) == 2
