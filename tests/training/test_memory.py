"""The estimate of a card's memory: its parts are those of real models, counted."""

from dataclasses import replace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from reproduce.config.engine import EngineConfig
from reproduce.config.sections import LoraConfig
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.training.flops import Model
from reproduce.training.job import full_card_named
from reproduce.training.master_weights import MasterAdamW
from reproduce.training.memory import GB, check, estimate, kept_bytes, main
from reproduce.training.token_logps import scored_head, token_logps

SHAPE = Model("made", hidden=48, layers=3, heads=6, kv_heads=2, head_size=8, intermediate=80, vocabulary=97)


def built(layers=SHAPE.layers):
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=97,
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=layers,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=8,
            attn_implementation="sdpa",
            tie_word_embeddings=False,
        )
    )


def kept(layers: int, dtype: torch.dtype, again: bool) -> float:
    """Bytes a token that autograd keeps of a pass of ours, parameters left out."""
    lm = built(layers).to(dtype).train()
    if again:
        lm.gradient_checkpointing_enable({"use_reentrant": False})
    own = {p.untyped_storage().data_ptr() for p in lm.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes(), tensor
        return tensor

    ids, ones = torch.randint(0, 97, (2, 64)), torch.ones(2, 32, dtype=torch.long)
    inputs = {"prompt_ids": ids[:, :32], "completion_ids": ids[:, 32:], "prompt_mask": ones, "completion_mask": ones}
    bf16 = torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), bf16:
        _ = token_logps(lm, scored_head(lm), inputs, ones.bool(), 1.0)  # holds the graph
    return sum(size for size, _ in seen.values()) / ids.numel()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("again", [False, True])
def test_what_a_layer_keeps_is_what_autograd_keeps(dtype, again):
    kind = getattr(torch, dtype)
    assert (kept(3, kind, again) - kept(1, kind, again)) / 2 == pytest.approx(kept_bytes(SHAPE, dtype, again), rel=0.01)


def of_table(method="grpo", **training):
    job = TableConfig.load(2).jobs("gpu-scratch", [method], [0])[0]
    return replace(job, training=replace(job.training, **training))


def test_the_fixed_parts_are_those_of_a_model_and_its_optimiser():
    job = of_table(dtype="bfloat16")
    found = estimate(job, 24 * GB)
    m = job.model
    lm = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=1,
            hidden_size=m.hidden_size,
            intermediate_size=m.intermediate_size,
            head_dim=m.hidden_size // 8,
            num_hidden_layers=m.num_layers,
            num_attention_heads=m.num_heads,
            num_key_value_heads=m.num_kv_heads,
        )
    )
    body = sum(p.numel() for p in lm.model.layers.parameters())
    assert found.weights == found.reference > 2 * body
    assert found.weights < 2.2 * body, "embeddings of a small vocabulary"
    parameter = torch.nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    optimizer = MasterAdamW([{"params": [parameter]}], lr=1e-3)
    parameter.sum().backward()
    optimizer.step()
    states = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v) and v.numel() > 1]
    held = [parameter.grad, *optimizer.copies, *states]
    assert found.trained / found.weights * 2 == sum(t.numel() * t.element_size() for t in held) / 1000
    assert estimate(of_table("ppo"), GB).critic == pytest.approx(16 * body, rel=0.1) and found.critic == 0


def test_adapters_are_counted_as_peft_makes_them():
    pytest.importorskip("peft", reason="the extra peft is missing: pip install -r requirements-gpu.txt")
    from reproduce.training.adapters import with_adapters

    adapted = with_adapters(built(), LoraConfig(rank=4), 0)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == SHAPE.adapters(4)


def test_each_setting_lowers_the_part_that_it_is_named_for():
    plain = estimate(of_table(), GB)
    assert estimate(of_table(gradient_checkpointing=None), GB).passes > 4 * plain.passes
    for change, part in (
        ({"minibatches": 16}, "passes"),
        ({"rollout_shards": 4}, "sampling"),
        ({"lora": LoraConfig()}, "trained"),
        ({"lora": LoraConfig()}, "reference"),
        ({"dtype": "bfloat16"}, "weights"),
    ):
        assert getattr(estimate(of_table(**change), GB), part) < getattr(plain, part) / 1.5, change
    shared = estimate(replace(of_table(), engine=EngineConfig(memory_share=0.25)), 24 * GB)
    assert shared.vllm == 6 * GB and shared.sampling == plain.vllm == 0, "its share is taken all the time"
    sharded = estimate(of_table(), GB, processes=8, sharded=True)
    assert sharded.trained == plain.trained / 8 and sharded.passes < plain.passes / 4


def test_a_full_card_is_an_error_that_names_a_setting():
    with pytest.raises(UserError, match=r"memory is full \(CUDA out of memory\); by estimate \w+ take .*; \w+ "):
        with full_card_named(of_table()):
            raise torch.OutOfMemoryError("CUDA out of memory\nand much more")


def test_the_profiles_fit_the_cards_that_they_are_for(capsys):
    assert main(["2", "--profile", "gpu", "--card", "24"]) == 0
    assert main(["2", "--profile", "gpu-80gb", "--card", "80"]) == 0
    assert main(["2", "--profile", "gpu-80gb", "--card", "24"]) == 2
    assert "needs about" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"grpo needs about \d+ GB on each card, which has 1: .* take .*training\."):
        check(of_table(), GB)
