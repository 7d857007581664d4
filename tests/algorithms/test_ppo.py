"""PPO: advantages and value loss against independent computations, and the critic as a network that learns."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import model
from token_rows import batch as token_batch

from reproduce.algorithms import load
from reproduce.algorithms.parts import critics as gae
from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.training.critic import Critic

NAN = float("nan")


def random_batch(seed, rows=5, tokens=9):
    generator = torch.Generator().manual_seed(seed)
    mask_BT = torch.rand(rows, tokens, generator=generator) < 0.6
    mask_BT[0] = False  # a row without any trained token
    values_BT = torch.randn(rows, tokens, generator=generator, dtype=torch.float64)
    return torch.randn(rows, generator=generator, dtype=torch.float64), values_BT, mask_BT


def gae_by_definition(rewards, values, mask, discount, gae_lambda):
    """A_i as the explicit sum over later deltas, on each row's loss-mask tokens alone."""
    advantages, returns = np.zeros(values.shape), np.zeros(values.shape)
    for row in range(len(rewards)):
        places = np.flatnonzero(mask[row])
        v = np.append(values[row, places], 0.0)
        r = np.zeros(len(places))
        if len(places):
            r[-1] = rewards[row]
        delta = r + discount * v[1:] - v[:-1]
        for i, place in enumerate(places):
            powers = (discount * gae_lambda) ** np.arange(len(places) - i)
            advantages[row, place] = (powers * delta[i:]).sum()
            returns[row, place] = advantages[row, place] + v[i]
    return advantages, returns


# ---------------------------------------------------------------- advantages and returns


@pytest.mark.parametrize(("discount", "gae_lambda"), [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0), (1.0, 0.5)])
def test_gae_equals_its_definition_on_the_tokens_of_the_mask(discount, gae_lambda):
    for seed in range(4):
        rewards, values_BT, mask_BT = random_batch(seed)
        found = gae.gae(rewards, values_BT.masked_fill(~mask_BT, NAN), mask_BT, discount, gae_lambda)
        expected = gae_by_definition(rewards.numpy(), values_BT.numpy(), mask_BT.numpy(), discount, gae_lambda)
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-12)


def test_undiscounted_the_advantage_is_reward_minus_value_and_the_return_the_reward():
    rewards, values_BT, mask_BT = random_batch(7)
    advantages_BT, returns_BT = gae.gae(rewards, values_BT, mask_BT)
    wanted = rewards[:, None].expand(values_BT.shape)
    torch.testing.assert_close(advantages_BT[mask_BT], (wanted - values_BT)[mask_BT])
    torch.testing.assert_close(returns_BT[mask_BT], wanted[mask_BT])


def test_tokens_of_a_tool_result_are_no_time_steps():
    values = torch.tensor([[0.5, 0.2, 0.9]], dtype=torch.float64)
    advantages, _ = gae.gae(torch.tensor([1.0]), values, torch.ones(1, 3, dtype=torch.bool), 0.9, 0.8)
    apart = torch.tensor([[0.5, 7.0, 7.0, 0.2, 7.0, 0.9, 7.0]], dtype=torch.float64)
    mask_BT = torch.tensor([[1, 0, 0, 1, 0, 1, 0]], dtype=torch.bool)
    spread, _ = gae.gae(torch.tensor([1.0]), apart, mask_BT, 0.9, 0.8)
    assert spread[mask_BT].tolist() == pytest.approx(advantages[0].tolist())
    assert advantages[0, -1].item() == pytest.approx(1.0 - 0.9) and not spread[~mask_BT].any()


def test_ppo_advantages_are_whitened_over_all_tokens_of_the_rollout_batch():
    rewards, values_BT, mask_BT = random_batch(3)
    groups = torch.zeros(5, dtype=torch.int64)
    poisoned = values_BT.masked_fill(~mask_BT, NAN)
    found = load("ppo").advantages(rewards, groups, mask_BT, values_BT=poisoned)
    raw = gae_by_definition(rewards.numpy(), values_BT.numpy(), mask_BT.numpy(), 1.0, 1.0)[0][mask_BT.numpy()]
    expected = (raw - raw.mean()) / np.sqrt(raw.var(ddof=1) + 1e-8)
    np.testing.assert_allclose(found[mask_BT].numpy(), expected, atol=1e-12)
    assert not found[~mask_BT].any() and not found.requires_grad
    plain = load("ppo", whiten=False).advantages(rewards, groups, mask_BT, values_BT=poisoned)
    np.testing.assert_allclose(plain[mask_BT].numpy(), raw, atol=1e-12)
    returns = load("ppo", discount=0.9).returns(rewards, mask_BT, poisoned)
    expected = gae_by_definition(rewards.numpy(), values_BT.numpy(), mask_BT.numpy(), 0.9, 1.0)[1]
    np.testing.assert_allclose(returns.numpy(), expected, atol=1e-12)
    assert set(load("ppo").advantage_needs) == {"values_BT"}


# ---------------------------------------------------------------- value loss


def test_value_loss_takes_the_larger_error_and_its_gradient():
    old = torch.zeros(1, 6, dtype=torch.float64)
    values = torch.tensor([[0.2, 0.9, 0.9, -0.9, 0.0, NAN]], dtype=torch.float64)
    returns = torch.tensor([[1.0, 2.0, -1.0, 1.0, 1.0, NAN]], dtype=torch.float64)
    mask_BT = torch.tensor([[1, 1, 1, 1, 1, 0]])
    algorithm = load("ppo")
    leaf = values.clone().requires_grad_()
    loss, metrics = algorithm.value_loss(leaf, old, returns, mask_BT)
    loss.backward()
    # clipped to +-0.5: 0.2; 0.5 (worse than 0.9 for 2.0: clipped); 0.5 (better than 0.9 for -1); -0.5 (better); 0
    errors = [0.8**2, 1.5**2, 1.9**2, 1.9**2, 1.0]
    assert loss.item() == pytest.approx(np.mean(errors)) and metrics["value_loss"] == loss.item()
    assert leaf.grad[0].tolist() == pytest.approx([-2 * 0.8 / 5, 0.0, 2 * 1.9 / 5, -2 * 1.9 / 5, -2 / 5, 0.0])
    assert metrics["value_clip_fraction"] == pytest.approx(1 / 5)
    half, _ = load("ppo", value_loss_weight=0.5).value_loss(values, old, returns, mask_BT)
    assert half.item() == pytest.approx(loss.item() / 2)
    free, metrics = load("ppo", value_clip=None).value_loss(values, old, returns, mask_BT)
    assert free.item() == pytest.approx(np.mean([0.8**2, 1.1**2, 1.9**2, 1.9**2, 1.0]))
    assert metrics["value_clip_fraction"] == 0
    split = [
        algorithm.value_loss(values[:, part], old[:, part], returns[:, part], mask_BT[:, part], normalizer=5)[0]
        for part in (slice(0, 2), slice(2, 6))
    ]
    assert sum(split).item() == pytest.approx(loss.item())


def test_explained_variance():
    returns, mask_BT = torch.tensor([[1.0, 0.0, 1.0, 0.0, 99.0]]), torch.tensor([[1, 1, 1, 1, 0]], dtype=torch.bool)
    assert gae.explained_variance(returns.clone(), returns, mask_BT) == 1.0
    assert gae.explained_variance(torch.full((1, 5), 0.3), returns, mask_BT) == 0.0
    assert gae.explained_variance(1 - returns, returns, mask_BT) == pytest.approx(-3.0)
    assert math.isnan(gae.explained_variance(returns, torch.ones(1, 5), mask_BT))


def test_a_critic_and_an_advantage_that_reads_no_values_refuse_each_other():
    with pytest.raises(UserError, match="'group_zscore' reads no values"):
        load("ppo", advantage="group_zscore")
    with pytest.raises(UserError, match="'gae' needs values_BT"):
        load("grpo", advantage="gae")
    assert load("grpo+epo", advantage="gae", critic="token").settings["value_clip"] == 0.5
    with pytest.raises(ValueError, match="grpo has no critic"):
        load("grpo").value_loss(None, None, None, torch.ones(1, 1))
    with pytest.raises(ValueError, match="'token' needs returns_BT"):
        load("ppo").value_loss(torch.zeros(1, 1), torch.zeros(1, 1), None, torch.ones(1, 1))
    with pytest.raises(ValueError, match="'gae' needs values_BT"):
        load("ppo").advantages(torch.zeros(1), torch.zeros(1, dtype=torch.int64), torch.ones(1, 1))
    for bad in ({"discount": 0.0}, {"gae_lambda": 1.5}, {"critic_learning_rate": 0.0}, {"value_clip": -1.0}):
        with pytest.raises(UserError, match=next(iter(bad))):
            load("ppo", **bad)
    with pytest.raises(UserError, match="whitening_epsilon .* whiten=False"):
        load("ppo", whiten=False, whitening_epsilon=1e-4)


# ---------------------------------------------------------------- the network


def critic(learning_rate=3e-3, **overrides):
    return Critic(model(scale=2.0), load("ppo", **overrides), learning_rate, 0.0)


def test_values_are_read_before_each_token_and_start_at_zero():
    made = critic()
    inputs, mask_BT, prompts, completions = token_batch(rows=7)
    assert not made.values(inputs, mask_BT).any()
    torch.manual_seed(0)
    torch.nn.init.normal_(made.network.get_output_embeddings().weight)
    values_BT = made.values(inputs, mask_BT)
    assert not values_BT.requires_grad and not values_BT[~mask_BT].any()
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        with torch.no_grad():
            row = made.network(input_ids=torch.cat([prompt, completion])[None]).logits[0, len(prompt) - 1 : -1, 0]
        kept = mask_BT[i, : len(completion)]
        torch.testing.assert_close(values_BT[i, : len(completion)][kept], row[kept], atol=1e-5, rtol=1e-5)


def test_the_critic_learns_and_leaves_the_policy_alone():
    policy = model(scale=2.0)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    made = Critic(policy, load("ppo"), 3e-3, 0.0)
    inputs, mask_BT, _, _ = token_batch(rows=12)
    rewards = torch.tensor([1.0, 0.0] * 6)
    losses, old_BT = [], made.values(inputs, mask_BT)
    returns_BT = load("ppo").returns(rewards, mask_BT, old_BT)
    start = gae.explained_variance(old_BT, returns_BT, mask_BT)
    for step in range(30):
        if step % 5 == 0:
            old_BT = made.values(inputs, mask_BT)
        metrics = made.update(inputs, mask_BT, old_BT, returns_BT)
        losses.append(metrics["value_loss"])
    assert start == 0.0 and losses[-1] < 0.4 * losses[0] and metrics["value_grad_norm"] > 0
    assert gae.explained_variance(made.values(inputs, mask_BT), returns_BT, mask_BT) > 0.5
    assert all(torch.equal(value, before[name]) for name, value in policy.state_dict().items())
    assert all(parameter.grad is None for parameter in policy.parameters())


def test_the_critics_own_learning_rate_and_its_state():
    assert critic().optimizer.param_groups[0]["lr"] == 3e-3
    assert critic(critic_learning_rate=1e-5).optimizer.param_groups[0]["lr"] == 1e-5
    inputs, mask_BT, _, _ = token_batch(rows=6)
    returns_BT = torch.ones_like(mask_BT, dtype=torch.float32)

    def train(made, steps):
        for _ in range(steps):
            made.update(inputs, mask_BT, torch.zeros_like(returns_BT), returns_BT)
        return made

    whole, half = train(critic(), 4), train(critic(), 2)
    again = critic()
    again.load_state_dict(half.state_dict())
    train(again, 2)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name
    assert not torch.equal(whole.network.lm_head.weight, half.network.lm_head.weight)


def test_a_policy_in_bfloat16_has_a_critic_of_its_type_whose_head_and_values_are_float32():
    policy = model(scale=2.0).to(torch.bfloat16)
    made = Critic(policy, load("ppo"), 1e-3, 0.0)
    inputs, mask_BT, _, _ = token_batch(rows=4)
    old_BT = made.values(inputs, mask_BT)
    made.update(inputs, mask_BT, old_BT, torch.ones_like(old_BT))
    kinds = {name.startswith("lm_head"): p.dtype for name, p in made.network.named_parameters()}
    assert kinds == {False: torch.bfloat16, True: torch.float32} and old_BT.dtype == torch.float32
    assert made.network.lm_head.bias.item() > 0 and policy.dtype == torch.bfloat16


# ---------------------------------------------------------------- through a job


@pytest.mark.slow
def test_ppo_and_grpo_epo_through_the_job(tmp_path):
    from reproduce.runs.directory import RunDirectory
    from reproduce.runs.reader import read_run
    from reproduce.training.job import run_job
    from reproduce.training.prepare import prepare_warm_start

    for job in TableConfig.load(2).jobs("smoke", ["ppo", "grpo+epo"], [0]):
        job = replace(job, training=replace(job.training, steps=2), evaluation=replace(job.evaluation, questions=2))
        run = RunDirectory.open(job.directory(tmp_path), job)
        run_job(job, run, prepare_warm_start(job, tmp_path))
        steps = read_run(run.path).frame("steps")
        assert len(steps) == 2 and np.isfinite(steps[["loss", "grad_norm"]].to_numpy()).all()
        values, smoothing = steps["value_loss"], steps["epo_phase_weight"]
        assert values.notna().all() == (job.method == "ppo") and values.isna().all() == (job.method != "ppo")
        assert smoothing.isna().tolist() == ([True, True] if job.method == "ppo" else [True, False])
        assert json.loads((run.path / "manifest.json").read_text())["status"] == "finished"
