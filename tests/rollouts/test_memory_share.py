"""vLLM's part of a card and the cards that share it, on numbers that can be checked by hand."""

import subprocess
import sys

import pytest
from places import ROOT

from reproduce.errors import UserError
from reproduce.rollouts.engines.memory_share import (
    GB,
    Sampled,
    check_share,
    check_tensor_parallel,
    memory_share,
    tensor_parallel,
)

# bfloat16; a token's keys and values: 2 x layers x key-value heads x 128 x 2 bytes
OF_14B = Sampled(29.5 * GB, 8192 * 163_840, heads=40, kv_heads=8)  # Qwen3-14B, 40 layers
OF_7B = Sampled(15.2 * GB, 8192 * 57_344, heads=28, kv_heads=4)  # Qwen2.5-7B, 28 layers
OF_2B = Sampled(3.4 * GB, 4096 * 114_688, heads=16, kv_heads=8)  # Qwen3-1.7B, 28 layers
OF_70B = Sampled(141 * GB, 8192 * 327_680, heads=64, kv_heads=8)  # Llama-3.1-70B, 80 layers


@pytest.mark.parametrize(
    ("model", "card", "processes", "cards"),
    [
        (OF_14B, 80, 8, 1),  # 29.5 <= 32
        (OF_14B, 40, 8, 2),  # 14.75 <= 16
        (OF_7B, 80, 8, 1),
        (OF_7B, 24, 8, 2),  # 7.6 <= 9.6
        (OF_2B, 24, 1, 1),
        (OF_70B, 80, 8, 8),  # a quarter is 35.25 > 32
        (OF_70B, 80, 4, 4),  # not the 40 %, but they fit
    ],
)
def test_the_fewest_cards_on_which_weights_take_two_fifths(model, card, processes, cards):
    assert tensor_parallel(model, card * GB, processes, processes) == cards


def test_weights_cache_and_rest_make_the_share():
    """14B on 80 GB, trained by eight cards with 16 bytes a weight: 29.5 of them rest. 21 + 29.5 GB are left."""
    share = memory_share(OF_14B, 1, 80 * GB, 29.5 * GB, 256)
    sequence = 8192 * 163_840 / GB  # 1.342 GB, of which 14 fit into 80 - 29.5 - 29.5 - 2
    assert share == pytest.approx((29.5 + 2 + 14 * sequence) / 80) and share == pytest.approx(0.6286, abs=1e-4)
    halves = memory_share(OF_14B, 2, 80 * GB, 29.5 * GB, 256)
    assert halves == pytest.approx((14.75 + 2 + 50 * sequence / 2) / 80)
    seven = memory_share(OF_7B, 1, 80 * GB, 0.0, 256)  # at most .9 of the card: 54.8 GB of cache, 116 sequences
    assert seven == pytest.approx((15.2 + 2 + 116 * 8192 * 57_344 / GB) / 80) and 0.89 < seven <= 0.9
    small = memory_share(OF_2B, 1, 24 * GB, 6 * GB, 16)  # no more sequences than are sampled at a time
    assert small == pytest.approx((3.4 + 2 + 16 * 4096 * 114_688 / GB) / 24)


def test_more_cards_than_key_value_heads_hold_the_same_cache():
    assert OF_7B.sequence_on(4) == OF_7B.sequence_on(8) / 1 == OF_7B.sequence / 4 and OF_7B.weights_on(8) == 1.9 * GB


def test_what_does_not_fit_is_one_line_that_names_a_setting():
    with pytest.raises(UserError, match=r"engine.memory_share: vLLM needs 42.2 GB .* of which 20.0 are left"):
        memory_share(OF_14B, 1, 80 * GB, 60 * GB, 256)
    with pytest.raises(UserError, match="^engine.memory_share: 0.3 of a card of 80.0 GB is less than .* 29.5 GB"):
        check_share(0.3, OF_14B, 1, 80 * GB)
    check_share(0.3, OF_14B, 2, 80 * GB)
    with pytest.raises(UserError, match="^model.name_or_path: its weights take 141.0 GB, more than the 1 cards"):
        tensor_parallel(OF_70B, 80 * GB, 1, 1)
    for cards, problem in ((3, "40 attention heads"), (5, "key-value heads"), (8, "processes of a node")):
        with pytest.raises(UserError, match=f"^engine.tensor_parallel: {cards} .*{problem}"):
            check_tensor_parallel(cards, OF_14B, 4, 4)


def test_the_arithmetic_needs_neither_torch_nor_vllm():
    code = "import sys, reproduce.rollouts.engines.memory_share; assert not {'torch', 'vllm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
