"""The estimate of a card's memory: its parts are those of real models, counted."""

from dataclasses import replace

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from reproduce.config.engine import EngineConfig
from reproduce.config.sections import LoraConfig, MachineConfig
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.training.flops import Model
from reproduce.training.job import full_card_named
from reproduce.training.master_weights import MasterAdamW
from reproduce.training.memory import (
    GB,
    SPARE,
    check,
    estimate,
    kept_bytes,
    lines,
    place,
    tokens_of_a_pass,
    warm_start_estimate,
    width_of,
)
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
    assert found.weights == found.reference > 2 * body and found.copy == 0
    assert found.weights < 2.2 * body, "embeddings of a small vocabulary"
    parameter = torch.nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    optimizer = MasterAdamW([{"params": [parameter]}], lr=1e-3)
    parameter.sum().backward()
    optimizer.step()
    states = [v for s in optimizer.state.values() for v in s.values() if torch.is_tensor(v) and v.numel() > 1]
    held = [parameter.grad, *optimizer.copies, *states]
    estimated = (found.gradients + found.optimiser) / found.weights * 2
    assert estimated == sum(t.numel() * t.element_size() for t in held) / 1000
    assert estimate(of_table("ppo"), GB).critic == pytest.approx(16 * body, rel=0.1) and found.critic == 0


def test_adapters_are_counted_as_peft_makes_them():
    pytest.importorskip("peft", reason="the extra peft is missing: pip install -r requirements-gpu.txt")
    from reproduce.training.adapters import with_adapters

    adapted = with_adapters(built(), LoraConfig(rank=4), 0)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == SHAPE.adapters(4)


def test_each_setting_lowers_the_part_that_it_is_named_for():
    plain = estimate(of_table(minibatches=1, tokens_per_pass=10**9), 80 * GB)
    assert (
        estimate(of_table(minibatches=1, gradient_checkpointing=None, tokens_per_pass=10**9), GB).passes > plain.passes
    )
    for change, part in (
        ({"minibatches": 1, "tokens_per_pass": 2000}, "passes"),
        ({"rollout_shards": 4}, "sampling"),
        ({"lora": LoraConfig()}, "optimiser"),
        ({"lora": LoraConfig()}, "reference"),
        ({"measure_kl": False}, "reference"),
        ({"offload_optimizer": True}, "optimiser"),
        ({"dtype": "bfloat16"}, "weights"),
    ):
        assert getattr(estimate(of_table(**change), 80 * GB), part) < getattr(plain, part) / 1.5, change
    shared = estimate(replace(of_table(), engine=EngineConfig(memory_share=0.25)), 24 * GB)
    assert shared.sampling == 6 * GB and shared.asleep < shared.sampling, "it sleeps while training"
    awake = estimate(replace(of_table(), engine=EngineConfig(memory_share=0.25, sleep=False)), 24 * GB)
    assert awake.asleep == 6 * GB
    divided = estimate(of_table(), 80 * GB, processes=8, divided=True)
    assert divided.optimiser == plain.optimiser / 8 and divided.copy > 0, "Transformers samples from a whole copy"


def paper(table=2, method="grpo"):
    return TableConfig.load(table).jobs("paper", [method], [0])[0]


def test_vllms_share_is_weights_and_the_cache_that_there_is_room_for():
    found = [estimate(paper(), size * GB, 8, divided=True).sampling for size in (75, 80, 100)]
    weights = 2 * 14.77 * GB
    assert weights < found[0] <= found[1] < found[2], "a larger card holds more sequences"
    assert estimate(paper(), 60 * GB, 8, divided=True).sampling < weights + 2.0 * GB, (
        "two cards share the weights where 40 % of one are fewer"
    )


def test_a_pass_holds_as_many_rows_as_leave_a_tenth_of_the_card():
    job = paper()
    width = width_of(job)
    by_card = [tokens_of_a_pass(job, size * GB, 8, divided=True) for size in (40, 80, 141, 10_000)]
    assert by_card == sorted(by_card) and by_card[0] == width, "never less than one row"
    assert by_card[3] == width * 64 * 12 // (8 * 8), "never more than a process's part of a mini-batch"
    chosen = by_card[1]
    assert estimate(job, 80 * GB, 8, True, tokens=chosen).training <= 80 * GB * (1 - SPARE)
    assert estimate(job, 80 * GB, 8, True, tokens=chosen + width).training > 80 * GB * (1 - SPARE)
    assert tokens_of_a_pass(replace(job, training=replace(job.training, tokens_per_pass=8000)), GB) == 8000
    assert tokens_of_a_pass(of_table(device="cpu", minibatches=8), GB) == width_of(of_table()) * 128


def test_a_full_card_is_an_error_that_names_a_setting():
    with pytest.raises(UserError, match=r"memory is full \(CUDA out of memory\); by estimate \w+ take .*; \w+ "):
        with full_card_named(of_table()):
            raise torch.OutOfMemoryError("CUDA out of memory\nand much more")


FITTING = [
    *((table, profile) for table in (1, 2, 3) for profile in ("paper", "gpu", "gpu-80gb", "gpu-8x80", "gpu-scratch")),
    (3, "paper-alfworld"),
]


@pytest.mark.parametrize(("table", "profile"), FITTING)
def test_every_method_fits_the_machine_of_its_profile_with_a_tenth_to_spare(table, profile):
    config = TableConfig.load(table)
    methods = [name for name in config.groups["all"] if name not in config.groups]
    jobs = config.jobs(profile, [*dict.fromkeys([*config.rows(profile), *methods, "ppo", "ppo+epo"])], seeds=[0])
    card, processes, divided = place(jobs)
    start = warm_start_estimate(jobs[0], processes, divided)
    assert card == jobs[0].machine.gb * GB and len(lines(jobs)) == (1 if start is None else 2)
    assert (start is None) == (jobs[0].warm_start.data is None) and (start is None or start.total <= card * (1 - SPARE))
    for job in jobs:
        found = check(job, card, processes, divided)
        assert found.total <= card * (1 - SPARE), (job.name, found)


def test_a_warm_start_on_an_sft_set_trains_all_weights_a_row_at_a_time():
    adapted = replace(paper(), training=replace(paper().training, lora=LoraConfig(), offload_optimizer=True))
    for job in (paper(), adapted, paper(method="ppo")):
        found = warm_start_estimate(job, 8, True)
        assert found.optimiser == 8 * found.weights / 4 and found.critic == found.reference == found.sampling == 0
        assert found.copy == 2 * found.weights * 8 / 4, "put together at the end"
    with pytest.raises(UserError, match="the warm start needs about .* more cards"):
        check(replace(paper(), model=replace(paper().model, name_or_path="Qwen/Qwen3-8B")), 40 * GB, 2, True)
    assert warm_start_estimate(TableConfig.load(2).jobs("gpu", ["grpo"], [0])[0]) is None


def test_stale_steps_sample_from_a_whole_copy():
    plain, stale = (estimate(of_table(stale_steps=steps), 80 * GB) for steps in (0, 1))
    assert (plain.copy, stale.copy) == (0, plain.weights)


def test_a_critic_of_bfloat16_weights_has_float32_gradients_copies_and_states():
    plain, offloaded = (estimate(of_table("ppo", dtype="bfloat16", offload_optimizer=o), GB) for o in (False, True))
    assert offloaded.critic / plain.critic == 6 / 18


def test_what_does_not_fit_names_a_setting_that_changes_no_method():
    with pytest.raises(UserError, match=r"grpo needs about \d+ GB on each card, which has 1: .* take .*"):
        check(of_table(), GB)
    small = replace(paper(), machine=MachineConfig(cards=2, gb=80.0))
    assert "too large" in lines([small])[1] and "more cards" in lines([small])[1]
    for method in ("grpo", "ppo"):
        for size in (1, 8, 24):
            with pytest.raises(UserError) as error:
                check(paper(method=method), size * GB)
            assert not any(word in str(error.value) for word in ("minibatches", "group_size", "steps", "completion"))
