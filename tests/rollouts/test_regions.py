"""Regions of calls and reasoning: of text, and of the tokens that were sampled, however they cut it."""

import pytest
import tiny

from reproduce.algorithms.parts.regions import ARGUMENTS, FORMAT, NAME, REASONING
from reproduce.commands.random_model import bpe_tokenizer
from reproduce.rollouts.grammar import ACTIONS, Grammar, SpeltGrammar
from reproduce.rollouts.regions import regions_of_text, token_regions, token_spans

LETTER = {
    0: ".",
    FORMAT: "F",
    NAME: "N",
    ARGUMENTS: "A",
    REASONING: "R",
    FORMAT | NAME: "n",
    ARGUMENTS | REASONING: "a",
}


def drawn(text):
    return "".join(LETTER[bits] for bits in regions_of_text(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>so</think> hm", "FFFFFFFRRFFFFFFFF..."),
        ("<search>a b</search>", "FnnnnnnFAAAFFFFFFFFF"),
        ("<answer>7</answer>", "FFFFFFFF.FFFFFFFFF"),
        ("<think>never", "FFFFFFF....."),
        ("<python>1</search>", "FFFFFFFF.FFFFFFFFF"),
        ("<result>[/result] <b>", "....................."),
        (
            '<tool_call>{"name": "f", "arguments": {"x": {}}}</tool_call>',
            "F" * 11 + "." * 10 + "N" + "." * 16 + "A" * 9 + "." + "F" * 12,
        ),
        ('<tool_call>{"parameters": {"x": 1</tool_call>', "F" * 11 + "." * 22 + "F" * 12),
        ("", ""),
    ],
)
def test_regions_of_a_text(text, expected):
    assert drawn(text) == expected


def test_a_call_in_a_thought_is_both():
    assert regions_of_text("<think><action>go</action></think>")[15:17] == [ARGUMENTS | REASONING] * 2


def test_tokens_of_the_mini_worlds_have_the_regions_of_their_words():
    grammar = Grammar(tiny.tokenizer())
    text = "<think> year year </think> <search> year of year </search>"
    assert grammar.unknown_id not in grammar.encode(text)
    ids = [*grammar.encode(text), grammar.eos_id]
    found = token_regions(grammar, ids)
    call = [FORMAT | NAME, ARGUMENTS, ARGUMENTS, ARGUMENTS, FORMAT]
    assert found == [FORMAT, REASONING, REASONING, FORMAT, *call, 0], "the end of sequence is in no region"


@pytest.fixture(scope="module")
def spelt():
    words = ["<think>so</think><action>go to the café 🙂</action>", "the the cafe then"]
    return SpeltGrammar(bpe_tokenizer(words * 3, 330), ACTIONS)


TEXT = "<think>so 🙂🙂é</think>\n<action>go to café</action>"


def test_places_of_tokens_are_what_decoding_every_prefix_gives(spelt):
    tokenizers = [
        (spelt, spelt.encode(TEXT)),
        (Grammar(tiny.tokenizer()), Grammar(tiny.tokenizer()).encode("a <search> b")),
    ]
    for grammar, ids in tokenizers:
        ends = [len(grammar.decode(ids[: i + 1])) for i in range(len(ids))]
        assert token_spans(grammar, ids) == list(zip([0, *ends[:-1]], ends, strict=True))
        assert ends[-1] == len(grammar.decode(ids))


def test_tokens_keep_their_regions_however_they_were_sampled(spelt):
    """Characters one by one, which the tokenizer itself would join: cutting the text anew would give fewer tokens."""
    pieces = [spelt.tokenizer.encode(character, add_special_tokens=False) for character in TEXT]
    ids = [i for piece in pieces for i in piece]
    assert spelt.decode(ids) == TEXT and len(ids) > len(spelt.encode(TEXT))
    expected = [bits for bits, piece in zip(regions_of_text(TEXT), pieces, strict=True) for _ in piece]
    assert token_regions(spelt, ids) == expected, "every byte of a character has its region"


def test_a_token_over_a_border_is_in_both_regions_and_blanks_do_not_count(spelt):
    tokenizer = spelt.tokenizer
    tokenizer.add_tokens(["ee</th", " then<"])
    ids = tokenizer.encode("<think>s", add_special_tokens=False) + tokenizer.convert_tokens_to_ids(["ee</th"])
    ids += tokenizer.encode("ink>", add_special_tokens=False) + tokenizer.convert_tokens_to_ids([" then<"])
    found = token_regions(spelt, ids)
    assert spelt.decode(ids) == "<think>see</think> then<" and found[-1] == 0
    assert (FORMAT | REASONING) in found
