"""Columns of the small real batch in data/fidelity, which `recorder.py` writes and `batch.py` reads."""

import pyarrow as pa

ROWS = {
    "group": pa.int32(),  # question
    "parent": pa.int32(),  # row of the batch that it was forked from, -1 for none
    "index": pa.int32(),  # its number in the rollout, in order of creation
    "reward": pa.float32(),
    "ended": pa.string(),  # eos, length, calls (call limit), malformed
    "completion_tokens": pa.int32(),  # tool results included
    "own_tokens": pa.int32(),  # sampled for this row alone
    "first_batch_h": pa.float32(),  # h of the first segment of the same index in RL step 1
    "both_tools": pa.bool_(),  # a complete call of either tool, by the model
    "both_closing_tags": pa.bool_(),  # </search> and </python> somewhere in the text, tool results included
    "tags_in_results": pa.int32(),  # tags of the grammar inside tool results
}
"""A row per trajectory, groups in order."""

TOKENS = {
    "position": pa.int16(),  # in the completion
    "turn": pa.int16(),
    "owner": pa.int16(),  # row that the token was first sampled for
    "old_logp": pa.float32(),  # under the policy that sampled
    "logp": pa.float32(),  # under the policy as the step's last update sees it
    "ref_logp": pa.float32(),  # under the warm start
    "old_entropy": pa.float32(),  # at rollout
    "old_entropy_top10": pa.float32(),  # the same, summed over the ten likeliest tokens and the sampled one
    "entropy": pa.float32(),  # with logp
    "score_square": pa.float32(),  # with logp, as are the next two: squared norm of d log p / d logits
    "score_slope": pa.float32(),  # its inner product with dH / d logits
    "slope_square": pa.float32(),  # squared norm of dH / d logits
}
"""Lists over the loss-mask tokens of a row. Log-probabilities and entropies in nats, at the sampling temperature."""

ALL_ENTROPIES = "all_old_entropies"  # at rollout, of every completion token, tool results included
BATCH_SCHEMA = pa.schema(
    [*ROWS.items(), *((name, pa.list_(kind)) for name, kind in TOKENS.items()), (ALL_ENTROPIES, pa.list_(pa.float32()))]
)
TESTS_SCHEMA = pa.schema(
    [
        ("penalty_per_prompt", pa.bool_()),  # the released rollout with this switch
        ("entropy_change", pa.float32()),  # dH
        ("in_a_row", pa.int32()),  # l
        ("passed", pa.bool_()),
    ]
)
"""A row per branch test, in order."""
