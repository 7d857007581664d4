"""What a run on a large model sets: adapters, bfloat16, layers that are computed again. Each does what it says."""

import importlib.util
import math
from functools import partial

import parallel_child
import pytest
import tiny
import torch
from tiny import model

from reproduce.config.sections import LoraConfig
from reproduce.errors import UserError
from reproduce.training.checkpoints import last_checkpoint
from reproduce.training.critic import Critic
from reproduce.training.master_weights import MasterAdamW, OffloadedAdamW
from reproduce.training.token_logps import scored_head, token_logps

LORA = LoraConfig(rank=4, alpha=8.0)
needs_peft = pytest.mark.skipif(
    importlib.util.find_spec("peft") is None, reason="the extra peft is missing: pip install -r requirements-gpu.txt"
)


def built(folder, method="grpo", **training):
    folder.mkdir(exist_ok=True)
    return parallel_child.built(folder, parallel_child.config(method, {"steps": 1, "rollout_shards": None} | training))


def batch(made):
    """The rollout batch of the first step, as `loss_on` would get it whole."""
    made.state.max_steps = made.updates_per_step
    made.model.train()
    return made.collect_batch(made.train_dataset["index"][:])


@needs_peft
def test_adapters_are_all_that_is_trained_and_checkpoints_hold_only_them(tmp_path):
    made = built(tmp_path, lora=LORA, steps=2)
    start = {name: value.clone() for name, value in made.model.state_dict().items()}
    parallel_child.record(made)
    moved = {name for name, value in made.model.state_dict().items() if not torch.equal(value, start[name])}
    adapters = {name for name in start if "lora_" in name}
    assert moved == adapters and len(adapters) == 2 * 2 * 7, "two factors for each of the seven linear maps of a layer"
    assert {name for name, p in made.model.named_parameters() if p.requires_grad} == adapters
    base = model(scale=2.0).state_dict()
    kept = {name.replace("base_model.model.", "").replace(".base_layer", ""): value for name, value in start.items()}
    assert all(torch.equal(kept[name], value) for name, value in base.items()), "the base is the warm start"
    checkpoint = last_checkpoint(made.run.checkpoints)
    assert (checkpoint / "adapter_model.safetensors").is_file() and not (checkpoint / "model.safetensors").exists()
    steps = parallel_child.steps(tmp_path)
    assert steps[0]["kl_warm_start"] == pytest.approx(0, abs=1e-6) and steps[1]["kl_warm_start"] > 1e-5
    again = built(tmp_path, lora=LORA, steps=2)
    again.load_checkpoint(checkpoint)
    assert all(torch.equal(value, again.model.state_dict()[name]) for name, value in made.model.state_dict().items())
    sampled = made.collector.model.state_dict()
    assert all(sampled[name.removeprefix("base_model.model.")] is not None for name in adapters)
    assert made.collector.model is made.model.get_base_model(), "the engine samples from the adapted policy"


@needs_peft
def test_the_reference_of_adapters_is_the_model_without_them(tmp_path):
    made = built(tmp_path, lora=LORA)
    output = batch(made)
    mask_BT = made.loss_mask(output)
    with torch.no_grad():
        for name, value in made.model.named_parameters():
            if "lora_B" in name:
                value.normal_(generator=torch.Generator().manual_seed(1))
        adapted, _ = made.passes.score(made.model, output)
        with made.reference.policy() as start:
            reference, _ = made.passes.score(start, output)
        base = model(scale=2.0).eval()
        expected, _ = token_logps(base, scored_head(base), output, mask_BT, made.temperature)
        after, _ = made.passes.score(made.model, output)
    torch.testing.assert_close(reference, expected)
    assert (adapted - expected).abs().max() > 0.1 and torch.equal(adapted, after) and made.model.training


@needs_peft
def test_adapters_are_drawn_from_the_seed_and_bad_targets_are_named(tmp_path):
    first, second = (dict(built(tmp_path / f, lora=LORA).model.named_parameters()) for f in "ab")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    with pytest.raises(UserError, match=r"training.lora.targets: .*q_projj"):
        built(tmp_path / "c", lora=LoraConfig(targets=["q_projj"]))
    with pytest.raises(UserError, match=r"training.lora.targets: lm_head"):
        built(tmp_path / "d", lora=LoraConfig(targets=["lm_head"]))


@needs_peft
@pytest.mark.slow
def test_a_critic_beside_adapters_has_none_and_trains_all_its_weights(tmp_path):
    made = built(tmp_path, "ppo", lora=LORA)
    start = {name: value.clone() for name, value in tiny.critic_weights(made).items()}
    assert start.keys() - {"lm_head.bias"} == model().state_dict().keys(), "the layers of a model without adapters"
    parallel_child.record(made)
    moved = [name for name, value in tiny.critic_weights(made).items() if not torch.equal(value, start[name])]
    assert set(moved) == set(start)


@pytest.mark.parametrize("offload", [False, True])
def test_a_critic_of_bfloat16_weights_learns_steps_that_they_cannot_hold(tmp_path, offload):
    """Ten steps of 1e-6 move float32 copies by 1e-5, and no weight of 1 beside 1.0078."""
    made = built(tmp_path, "ppo", dtype="bfloat16")
    critic = Critic(made.model, made.algorithm, 1e-6, 0.0, offload=offload)
    layers = [p for name, p in critic.network.named_parameters() if not name.startswith("lm_head")]
    assert {p.dtype for p in layers} == {torch.bfloat16} and isinstance(critic.optimizer, MasterAdamW)
    assert isinstance(critic.optimizer, OffloadedAdamW) == offload
    torch.nn.init.normal_(critic.network.lm_head.weight, std=0.1)
    output = batch(made)
    mask_BT = made.loss_mask(output)
    start = [kept.detach().clone() for kept in critic.optimizer.copies]
    for _ in range(10):
        critic.update(output, mask_BT, output["values_BT"], output["returns_BT"] + 1)
    moved = [float((kept - first).abs().max()) for kept, first in zip(critic.optimizer.copies, start, strict=True)]
    assert max(moved) == pytest.approx(1e-5, rel=0.1) and {p.grad.dtype for p in layers} == {torch.float32}


@needs_peft
@pytest.mark.slow
def test_adapters_killed_and_resumed_equal_uninterrupted(tmp_path):
    whole = parallel_child.record(built(tmp_path / "whole", "aepo", lora=LORA, steps=4))
    parallel_child.record(built(tmp_path / "halves", "aepo", lora=LORA, steps=4), stop=2)
    for part in (tmp_path / "halves" / "run" / "parts").glob("000003.*"):
        part.unlink()
    halves = parallel_child.record(built(tmp_path / "halves", "aepo", lora=LORA, steps=4))
    assert whole["losses"][8:] == halves["losses"]
    assert all(torch.equal(value, halves["weights"][name]) for name, value in whole["weights"].items())


def gradients(made, output):
    made.model.zero_grad()
    made.loss_on(made.model, output).backward()
    return {name: p.grad.clone() for name, p in made.model.named_parameters()}


def test_layers_computed_again_give_the_same_gradients(tmp_path):
    plain, again = built(tmp_path / "plain"), built(tmp_path / "again", gradient_checkpointing=True)
    again.model.gradient_checkpointing_enable(again.args.gradient_checkpointing_kwargs)  # as train() does
    output = batch(plain)
    assert all(torch.equal(value, batch(again)[name]) for name, value in output.items() if torch.is_tensor(value))
    calls = {made: [] for made in (plain, again)}
    found = {}
    for made in calls:
        made.model.train()
        layer = made.model.model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, made=made: calls[made].append(1))
        made.updates = [{"kl_warm_start": 0.0}]
        made.high_entropy = plain.high_entropy
        found[made] = gradients(made, output)
    assert len(calls[again]) == 2 * len(calls[plain]) > 0, "a layer is computed a second time in the backward pass"
    for name, value in found[plain].items():
        torch.testing.assert_close(value, found[again][name], atol=1e-6, rtol=1e-5)
    assert again.args.gradient_checkpointing and not plain.args.gradient_checkpointing


def test_bfloat16_is_the_type_of_weights_and_passes_and_its_optimiser_keeps_float32(tmp_path):
    made = built(tmp_path, dtype="bfloat16", learning_rate=1e-6)
    start = {name: value.clone() for name, value in made.model.state_dict().items()}
    seen = []
    made.model.model.layers[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].dtype))
    found = parallel_child.record(made)
    assert {p.dtype for p in made.model.parameters()} == {torch.bfloat16} == set(seen)
    optimizer = made.optimizer.optimizer
    assert isinstance(optimizer, MasterAdamW) and {p.dtype for p in optimizer.copies} == {torch.float32}
    assert all(abs(loss) < 1 for loss in found["losses"])
    moved = [
        float((kept - start[name].float()).abs().max())
        for (name, p), kept in zip(trained(made), optimizer.copies, strict=True)
        if p.ndim > 1
    ]
    assert min(moved) > 1e-7, "a step far below what bfloat16 can hold is kept"


def trained(made):
    names = {id(p): name for name, p in made.model.named_parameters()}
    return [(names[id(p)], p) for p in made.optimizer.optimizer.trained]


def test_small_steps_add_up_on_float32_copies_and_are_lost_without():
    rates = dict(lr=1e-6, weight_decay=0.0)
    weights = {kind: torch.nn.Parameter(torch.full((4,), 0.02, dtype=torch.bfloat16)) for kind in ("kept", "lost")}
    optimizers = {"kept": MasterAdamW([{"params": [weights["kept"]]}], **rates)}
    optimizers["lost"] = torch.optim.AdamW([weights["lost"]], **rates)
    for _ in range(200):
        for kind, weight in weights.items():
            weight.grad = torch.ones_like(weight, dtype=weight.grad_dtype)
            optimizers[kind].step()
    assert torch.equal(weights["lost"], torch.full((4,), 0.02, dtype=torch.bfloat16))
    assert optimizers["kept"].copies[0].tolist() == pytest.approx([0.02 - 200e-6] * 4, rel=1e-3)
    assert (weights["kept"] < weights["lost"]).all()
    other = torch.nn.Parameter(torch.zeros(4, dtype=torch.bfloat16))
    resumed = MasterAdamW([{"params": [other]}], **rates)
    resumed.load_state_dict(optimizers["kept"].state_dict())
    assert torch.equal(other, weights["kept"]) and torch.equal(resumed.copies[0], optimizers["kept"].copies[0])
    for optimizer, weight in ((resumed, other), (optimizers["kept"], weights["kept"])):
        weight.grad = torch.ones_like(weight, dtype=weight.grad_dtype)
        optimizer.step()
    assert torch.equal(resumed.copies[0], optimizers["kept"].copies[0]), "Adam's moments went along"


def test_gradients_of_bfloat16_micro_batches_are_added_up_in_float32(tmp_path):
    sizes = dict(minibatches=1, prompts_per_step=8, group_size=8, tokens_per_pass=1)
    made = built(tmp_path, dtype="bfloat16", **sizes)
    output = batch(made)
    made.updates = [{"kl_warm_start": 0.0}]
    sums = {name: torch.zeros(p.shape, dtype=torch.float64) for name, p in made.model.named_parameters()}

    def error(found) -> float:
        return max(float((found[name] - exact).norm() / exact.norm()) for name, exact in sums.items())

    rounded = gradients(made, output)
    made.model.zero_grad()
    made.create_optimizer()
    kept, parts = gradients(made, output), []

    def add(name, parameter):
        sums[name] += parameter.grad
        parameter.grad = None
        parts.append(name)

    made.model.zero_grad()
    for name, parameter in made.model.named_parameters():
        parameter.register_post_accumulate_grad_hook(partial(add, name))
    made.loss_on(made.model, output).backward()
    assert parts.count("model.norm.weight") == 64
    assert {value.dtype for value in kept.values()} == {torch.float32} and error(kept) < 1e-5
    assert error(rounded) > 1e-3, "what a sum in bfloat16 loses"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_an_optimiser_on_the_cpu_makes_the_same_steps(dtype):
    start = torch.randn(40, generator=torch.Generator().manual_seed(0)).to(dtype)
    weights = [torch.nn.Parameter(start.clone()) for _ in range(2)]
    usual = MasterAdamW if dtype == torch.bfloat16 else torch.optim.AdamW
    here, away = (kind([{"params": [w]}], lr=1e-2) for kind, w in zip((usual, OffloadedAdamW), weights, strict=True))
    for step in range(5):
        for weight, optimizer in zip(weights, (here, away), strict=True):
            weight.grad = (weight.detach() * (step + 1)).to(weight.grad_dtype)
            optimizer.step()
        assert torch.equal(*weights) and not torch.equal(weights[0], start)
    held = [kept for state in away.state.values() for kept in state.values()]
    assert {kept.device.type for kept in [*away.copies, *held]} == {"cpu"}


def test_without_a_card_an_offloaded_optimiser_changes_nothing_and_says_so(tmp_path, capsys):
    made = built(tmp_path, offload_optimizer=True)
    assert "training.offload_optimizer: changes nothing" in capsys.readouterr().out
    assert not isinstance(made.create_optimizer(), MasterAdamW)


def test_a_copy_of_the_first_policy_is_kept_only_where_something_reads_it(tmp_path):
    made = built(tmp_path / "none", "ppo", measure_kl=False)
    assert made.reference is None
    parallel_child.record(made)
    assert all(
        math.isnan(step["kl_warm_start"]) and step["loss"] == step["loss"]
        for step in parallel_child.steps(tmp_path / "none")
    )
    read, measured = built(tmp_path / "read", "grpo-released", measure_kl=False), built(tmp_path / "measured")
    assert read.reference is not None and measured.reference is not None


@pytest.mark.slow
def test_bfloat16_killed_and_resumed_equals_uninterrupted(tmp_path):
    whole = parallel_child.record(built(tmp_path / "whole", dtype="bfloat16", steps=4))
    parallel_child.record(built(tmp_path / "halves", dtype="bfloat16", steps=4), stop=2)
    for part in (tmp_path / "halves" / "run" / "parts").glob("000003.*"):
        part.unlink()
    halves = parallel_child.record(built(tmp_path / "halves", dtype="bfloat16", steps=4))
    assert whole["losses"][8:] == halves["losses"]
    assert all(torch.equal(value, halves["weights"][name]) for name, value in whole["weights"].items())
