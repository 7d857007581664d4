"""The tree of rows that begin alike: each distinct beginning once, attention to ancestors alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from reproduce.training.prefix_tree import cut_in_order, in_order, prefix_tree, tree_mask
from reproduce.training.tree_attention import attend, blocks_of, flex_mask

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=9)


def tree_of(rows):
    ids_BL = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=7)
    return prefix_tree(ids_BL, torch.tensor([len(row) for row in rows]))


def beginnings(rows, tree):
    """The tokens from the first to each token of the line, as the rows that hold it say."""
    found = {}
    for row, places in zip(rows, tree.places_BL.tolist(), strict=True):
        for column in range(len(row)):
            beginning = tuple(row[: column + 1])
            assert found.setdefault(places[column], beginning) == beginning
    return [found[place] for place in range(len(found))]


@given(rows=ROWS)
def test_every_distinct_beginning_is_one_token_of_the_line(rows):
    tree = tree_of(rows)
    line = beginnings(rows, tree)
    assert len(line) == len(set(line)) == len(tree.ids_N), "as many tokens as the rows have distinct beginnings"
    assert [one[-1] for one in line] == tree.ids_N.tolist()
    assert [len(one) - 1 for one in line] == tree.depths_N.tolist()
    expected = [[query[: len(key)] == key for key in line] for query in line]
    assert tree_mask(tree.ends_N).tolist() == expected
    queries = torch.arange(len(line))
    assert flex_mask(tree.ends_N).mask_mod(0, 0, queries[:, None], queries).tolist() == expected
    for row, start, own in zip(rows, tree.starts_B.tolist(), tree.own_B.tolist(), strict=True):
        assert line[start : start + own] == [tuple(row[: n + 1]) for n in range(len(row) - own, len(row))]


def states(tokens: int):
    draw = torch.Generator().manual_seed(0)
    made = [torch.randn(1, heads, tokens, 4, dtype=torch.float64, generator=draw) for heads in (6, 2, 2)]
    return [value.requires_grad_() for value in made]


def by_dense_mask(query, key, value, ends_N):
    found = scaled_dot_product_attention(
        query, key.repeat_interleave(3, 1), value.repeat_interleave(3, 1), attn_mask=tree_mask(ends_N), scale=0.3
    )
    return found.transpose(1, 2)


@settings(deadline=None, max_examples=25)
@given(rows=ROWS, call=st.sampled_from([0, 10, 10**6]))
def test_attention_row_by_row_equals_a_dense_mask(rows, call):
    tree = tree_of(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reproduce.training.tree_attention.CALL", call)
        blocks = blocks_of(tree)
    query, key, value = given = states(len(tree.ids_N))
    factor = torch.randn(1, len(tree.ids_N), 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = attend(None, query, key, value, None, scaling=0.3, tree=blocks)[0]
    expected = by_dense_mask(query, key, value, tree.ends_N)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    gradients = [torch.autograd.grad((one * factor).sum(), given) for one in (found, expected)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_flex_attention_in_a_tree_equals_a_dense_mask():
    """Uncompiled, as it runs without a card; some blocks of 128 tokens are left out."""
    from torch.nn.attention.flex_attention import flex_attention

    draw = torch.Generator().manual_seed(0)
    stem = torch.randint(0, 50, (40,), generator=draw).tolist()
    rows = [stem + torch.randint(0, 50, (200,), generator=draw).tolist() for _ in range(4)]
    tree = tree_of(rows)
    mask = flex_mask(tree.ends_N)
    assert 0 < mask.sparsity() < 100
    query, key, value = (values.detach().float() for values in states(len(tree.ids_N)))
    found = flex_attention(query, key, value, block_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(
        found.transpose(1, 2), by_dense_mask(query, key, value, tree.ends_N), atol=1e-5, rtol=1e-5
    )


@given(rows=ROWS, limit=st.integers(1, 30), processes=st.integers(1, 4))
def test_every_row_is_in_one_run_within_the_limit(rows, limit, processes):
    ids_BL = pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=7)
    order_B, shared_B = in_order(ids_BL, torch.tensor([len(row) for row in rows]))
    ordered = [rows[row] for row in order_B]
    assert ordered == sorted(rows)
    lengths = [len(row) for row in ordered]
    runs = cut_in_order(lengths, shared_B.tolist(), processes, limit)
    assert len(runs) == processes and [row for own in runs for run in own for row in run] == list(range(len(rows)))
    for run in (run for own in runs for run in own):
        assert len(run) == 1 or len(tree_of([ordered[row] for row in run]).ids_N) <= limit
    for own in cut_in_order(lengths, shared_B.tolist(), processes):
        assert len(own) <= 1, "without a limit a process makes one pass"
