"""Tags: tokens of a made vocabulary, or text that a Hub model may split into tokens in several ways."""

import hub
import numpy as np
import pytest
from scripted import PROMPTS, QUESTIONS, ScriptedEngine
from tiny import encode, environment, tokenizer

from reproduce.algorithms.policies import AEPORollout, Independent
from reproduce.errors import UserError
from reproduce.rollouts.agent import AgentLoop, Limits
from reproduce.rollouts.grammar import Grammar, SpeltGrammar
from reproduce.worlds.tool_server import Call


def spelt(*more: str) -> SpeltGrammar:
    """The tags in a byte-level vocabulary that also has the tokens `more`."""
    words = hub.tokenizer()
    words.add_tokens(list(more))
    return SpeltGrammar(words)


def segment(grammar, *pieces: str) -> list[int]:
    """A segment cut exactly into these pieces: each is one token, or is spelt in characters."""
    ids = []
    for piece in pieces:
        known = grammar.tokenizer.convert_tokens_to_ids(piece)
        one = grammar.tokenizer.get_vocab().get(piece) == known and known is not None
        ids += [known] if one else [i for c in piece for i in grammar.encode(c)]
    return ids


def test_a_call_ends_at_the_token_that_completes_its_tag_however_it_is_cut():
    grammar = spelt(">\n", "</search", "h>", "</python>", "rch> and")
    for pieces in (
        ["<search> Ada ", "</search>"],
        ["<search> Ada ", "</search", ">\n"],
        ["<search> Ada </searc", "h>"],
        ["<search> Ada </sea", "rch> and"],
    ):
        ids = segment(grammar, *pieces)
        ends = [i for i in range(len(ids)) if ids[i] in grammar.stop_ids and grammar.ends_call(ids[: i + 1])]
        assert ends[0] == len(ids) - 1, pieces
        assert grammar.call(ids) == ("search", "Ada")
    assert grammar.call(segment(grammar, "a > b <python> 1 > 0 ", "</python>")) == ("python", " 1 > 0 ")
    assert grammar.call(segment(grammar, "no opening tag </search>")) == ("search", "")
    assert grammar.call(segment(grammar, "<search> a <search> b </search>")) == ("search", "b")


def test_every_token_that_can_complete_a_tag_stops_and_no_other():
    grammar = spelt(">\n", "h>", "> and <b>", "t>", "x </search> y", "</search")
    stops = {grammar.tokenizer.decode([i]) for i in grammar.stop_ids}
    assert stops == {">", ">\n", "h>", "> and <b>", "x </search> y"}
    assert SpeltGrammar(hub.tokenizer(), ()).stop_ids == []
    assert not grammar.ends_call(segment(grammar, "<search> a > b")), "only looks like it"
    with pytest.raises(ValueError, match="ends with no call"):
        grammar.call(segment(grammar, "<search> a >"))


def test_a_tag_that_decoding_would_drop_is_refused():
    words = hub.tokenizer()
    words.add_special_tokens({"additional_special_tokens": ["<search>"]})
    with pytest.raises(UserError, match="<search> is a special token"):
        SpeltGrammar(words)


class Broken(SpeltGrammar):
    """Spelt tags over the words of MiniWeb, with a word that only looks like the end of one."""

    def __init__(self, words, false_stop: str):
        super().__init__(words)
        self.false = words.convert_tokens_to_ids(false_stop)
        self.stop_ids = [*self.stop_ids, self.false]


def played(grammar, policy, says, entropies):
    """Rollouts in which every turn samples `says(turn)`; entropies(number of the token in its turn): of each token."""
    t = tokenizer()

    def choose(path):
        text = says(path.turn)
        ids = [t.eos_token_id] if text is None else encode(text)[1:]
        said = sum(1 for s, turn in zip(path.sampled, path.turns, strict=True) if s and turn == path.turn)
        return ids[min(said, len(ids) - 1)], entropies(path.turn, said)

    engine = ScriptedEngine(choose, t.eos_token_id, set(grammar.stop_ids))
    loop = AgentLoop(engine, environment(), Call, grammar, Limits(3, 200))
    return loop.rollout(QUESTIONS[:1], PROMPTS[:1], 4, policy, np.random.default_rng(0))


@pytest.mark.parametrize("policy", [Independent(), AEPORollout(entropy_tokens=4)])
def test_a_false_stop_changes_nothing_neither_the_calls_nor_what_a_branch_is_decided_by(policy):
    def says(turn):
        return "<think> open </think> <search> page 1 </search>" if turn < 3 else None

    def entropies(turn, number):
        return 0.1 + turn if number < 4 else 0.0

    plain = played(Grammar(tokenizer()), policy, says, entropies)
    false = played(Broken(tokenizer(), "open"), policy, says, entropies)  # inside the look-ahead
    for a, b in zip(plain.groups[0], false.groups[0], strict=True):
        assert a.path.tokens == b.path.tokens and a.actions == b.actions and len(a.actions) == 3
        assert (a.parent, a.branch_token, a.segment_entropy) == (b.parent, b.branch_token, b.segment_entropy)
    assert plain.sampled_tokens == false.sampled_tokens and plain.branches == false.branches
    assert policy.branches == (plain.branches[0] > 0)


def test_a_path_whose_last_token_only_looks_like_an_end_is_out_of_length():
    said = played(Broken(tokenizer(), "open"), Independent(), lambda turn: "open " * 300, lambda turn, number: 0.0)
    assert {t.ended for t in said.groups[0]} == {"length"} and {t.path.length for t in said.groups[0]} == {200}
