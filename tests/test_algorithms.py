"""Algorithms through their public interface: published settings, overrides, gradients, invariances, refusals."""

import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import reproduce.algorithms
from reproduce.algorithms import load, names
from reproduce.algorithms.parts import GroupZScore
from reproduce.errors import UserError
from reproduce.rollouts.policies import AEPORollout, ARPORollout, Independent

METHODS = ("grpo", "dapo", "arpo", "aepo")
NAN, INF = float("nan"), float("inf")


def batch(seed, rows=6, tokens=9, dtype=torch.float64):
    """A random batch with ratios on both sides of the range, ragged masks with holes, and two groups."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    old = -normal(rows, tokens).abs() - 0.05
    mask = torch.rand(rows, tokens, generator=generator) < 0.7
    mask[:, 0] = True
    return {
        "logps_BT": old + 0.4 * normal(rows, tokens),
        "old_logps_BT": old,
        "mask_BT": mask,
        "entropies_BT": normal(rows, tokens).abs(),
        "ref_logps_BT": old + 0.2 * normal(rows, tokens),
        "rewards_B": normal(rows),
        "groups_B": torch.arange(rows) % 2,
    }


def advantages_of(algorithm, data):
    return algorithm.advantages(data["rewards_B"], data["groups_B"], data["mask_BT"], entropies_BT=data["entropies_BT"])


def loss_and_gradient(algorithm, data, advantages, **sizes):
    logps = data["logps_BT"].clone().requires_grad_()
    loss, _ = algorithm.loss(
        logps,
        data["old_logps_BT"],
        advantages,
        data["mask_BT"],
        entropies_BT=data["entropies_BT"],
        ref_logps_BT=data["ref_logps_BT"],
        **sizes,
    )
    loss.backward()
    return loss.detach(), logps.grad


# ---------------------------------------------------------------- published settings


def test_the_published_settings_are_chosen_by_name_alone():
    assert names() == METHODS
    expected = {
        "grpo": (Independent(), "group_zscore", "ppo_min", "sequence_mean", (0.8, 1.2), False),
        "dapo": (Independent(), "group_zscore", "ppo_min", "token_mean", (0.8, 1.28), True),
        "arpo": (ARPORollout(), "group_zscore", "ppo_min", "sequence_mean", (0.8, 1.2), False),
        "aepo": (None, "entropy_aware", "upper_gradient_keeping", "token_mean", (0.8, 1.2), False),
    }
    for name, (rollout, advantage, surrogate, aggregation, clip_range, dynamic) in expected.items():
        algorithm = load(name)
        chosen = algorithm.settings
        assert rollout is None or algorithm.rollout == rollout
        assert (chosen["advantage"], chosen["surrogate"], chosen["aggregation"]) == (advantage, surrogate, aggregation)
        assert algorithm.clip_range == pytest.approx(clip_range)
        assert algorithm.dynamic_sampling is dynamic
        assert chosen["dual_clip"] is None and chosen.get("kl_coefficient", 0.0) == 0.0
        assert chosen["std_epsilon"] == 1e-6
    assert load("dapo").max_generation_batches == 10
    aepo = load("aepo")
    assert isinstance(aepo.rollout, AEPORollout) and aepo.rollout.needs_pilot
    assert (aepo.rollout.beta, aepo.rollout.penalty_slope, aepo.settings["entropy_coefficient"]) == (0.5, 0.05, 0.2)


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_json_and_rebuild_the_algorithm(name):
    algorithm = load(name, clip_high=0.3)
    assert load(name, **json.loads(json.dumps(algorithm.settings))) == algorithm != load(name)


def test_algorithms_are_frozen_and_overrides_leave_the_registry_alone():
    with pytest.raises(FrozenInstanceError):
        load("grpo").name = "other"
    load("grpo", clip_high=0.5)
    assert load("grpo").clip_range == pytest.approx((0.8, 1.2))


@pytest.mark.parametrize("name", METHODS)
def test_readme_documents_every_setting_and_its_published_value(name):
    text = (Path(reproduce.algorithms.__file__).parent / "README.md").read_text()
    section = re.search(rf"^### {name}\n(.*?)(?=^### |\Z)", text, re.M | re.S).group(1)
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", section, re.M))
    documented = {key: json.loads(value) for key, value in rows.items()}
    slots = {"rollout", "advantage", "ratio", "surrogate", "token_weight", "regularisers", "aggregation"}
    slots |= {"group_filter", "reward_shaping"}
    assert documented == {key: value for key, value in load(name).settings.items() if key not in slots}


def test_objectives_and_algorithms_import_no_trainer():
    code = (
        "import sys, reproduce.algorithms; print([m for m in ('trl', 'transformers', 'datasets') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- gradients of the reference table

RATIOS = (0.5, 0.9, 1.0, 1.1, 1.5, 4.0)
PPO_MIN = {1: (0.5, 0.9, 1, 1.1, 0, 0), -1: (0, -0.9, -1, -1.1, -1.5, -4)}
DUAL_CLIP = {1: PPO_MIN[1], -1: (0, -0.9, -1, -1.1, -1.5, 0)}
AEPO = {1: (0.5, 0.9, 1, 1.1, 1.28, 1.28), -1: PPO_MIN[-1]}
AEPO_DUAL = {1: AEPO[1], -1: DUAL_CLIP[-1]}
ROWS = [
    ("grpo", {}, PPO_MIN),
    ("dapo", {}, PPO_MIN),
    ("arpo", {}, PPO_MIN),
    ("grpo", {"dual_clip": 3.0}, DUAL_CLIP),
    ("aepo", {}, AEPO),
    ("aepo", {"dual_clip": 3.0}, AEPO_DUAL),
    ("aepo", {"gradient_keeping_clip": False}, PPO_MIN),
    ("aepo", {"surrogate": "ppo_min"}, PPO_MIN),
]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "overrides", "table"), ROWS)
def test_gradient_factors_equal_the_reference_table(name, overrides, table, sign):
    algorithm = load(name, **overrides, clip_low=0.2, clip_high=0.28)
    old = torch.full((1, 6), -6.0, dtype=torch.float64)
    logps = (old + torch.tensor([RATIOS], dtype=torch.float64).log()).requires_grad_()
    advantages = torch.full((1, 6), float(sign), dtype=torch.float64)
    loss, _ = algorithm.loss(logps, old, advantages, torch.ones(1, 6), normalizer=6, rows=1)
    loss.backward()
    np.testing.assert_allclose(-6 * logps.grad[0].numpy(), table[sign], atol=1e-12)


def test_metrics_count_tokens_on_each_side():
    logps = torch.tensor([[0.5, 0.9, 1.5, 4.0, 100.0]], dtype=torch.float64).log().repeat(2, 1)
    advantages = torch.tensor([1.0, -1.0], dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 0]] * 2)
    _, metrics = load("aepo", dual_clip=3.0).loss(logps, torch.zeros_like(logps), advantages, mask)
    delta = np.array([0.5, 0.9, 1.5, 4.0])
    assert metrics == pytest.approx(
        {
            "tokens": 8,
            "ratio_mean": delta.mean(),
            "ratio_max": 4.0,
            "approx_kl": (delta - 1 - np.log(delta)).mean(),
            "outside_clip_fraction": 6 / 8,
            "clip_fraction_low": 1 / 8,
            "clip_fraction_high": 3 / 8,
            "kept_gradient_fraction": 2 / 8,
            "token_level_advantage_fraction": 0.0,
            "regulariser_loss": 0.0,
        }
    )


# ---------------------------------------------------------------- advantages


def test_aepo_advantage_equals_an_independent_computation_over_the_rollout_batch():
    data = batch(3)
    ours = advantages_of(load("aepo"), data)
    rewards, groups = data["rewards_B"].numpy(), data["groups_B"].numpy()
    mask, entropies = data["mask_BT"].numpy(), data["entropies_BT"].numpy()
    kept = entropies[mask]
    expected = np.zeros(mask.shape)
    for row, column in zip(*np.nonzero(mask), strict=True):
        group = rewards[groups == groups[row]]
        score = (rewards[row] - group.mean()) / (group.std(ddof=1) + 1e-6)
        expected[row, column] = score * (1 + 0.2 * (entropies[row, column] - kept.mean()) / kept.std(ddof=1))
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("overrides", [{"entropy_advantage": False}, {"entropy_coefficient": 0.0}])
def test_aepo_without_its_entropy_advantage_is_the_group_zscore_and_needs_no_entropies(overrides):
    data = batch(4)
    algorithm = load("aepo", **overrides)
    assert algorithm.advantage_needs == ()
    plain = algorithm.advantages(data["rewards_B"], data["groups_B"], data["mask_BT"])
    assert torch.equal(plain, advantages_of(load("grpo"), data))
    assert not torch.allclose(plain, advantages_of(load("aepo"), data))


def test_modified_and_sign_flipped_tokens_are_reported():
    entropies = torch.cat([torch.zeros(1), torch.ones(99)]).double().reshape(2, 50)
    mask = torch.ones(2, 50)
    rewards, groups = torch.tensor([0.0, 1.0]), torch.tensor([0, 0])
    algorithm = load("aepo")
    advantages, metrics = algorithm.advantages_and_metrics(rewards, groups, mask, entropies_BT=entropies)
    assert metrics["advantage_modified_fraction"] == 1.0
    assert metrics["advantage_sign_flip_fraction"] == pytest.approx(0.01)
    assert metrics["advantage_factor_min"] < 0 < metrics["advantage_factor_max"]
    assert advantages[0, 0] > 0 > advantages[0, 1]  # documented: the factor may turn the sign
    logps = torch.zeros(2, 50, dtype=torch.float64)
    _, seen = algorithm.loss(logps, logps, advantages, mask)
    assert seen["token_level_advantage_fraction"] == pytest.approx(0.5)  # row 1 has equal entropies throughout


@pytest.mark.parametrize("name", METHODS)
def test_equal_rewards_give_no_advantage_loss_or_gradient(name):
    data = batch(5) | {"rewards_B": torch.full((6,), 1.1, dtype=torch.float64)}
    advantages = advantages_of(load(name), data)
    assert torch.equal(advantages, torch.zeros(6, 9, dtype=torch.float64))
    loss, gradient = loss_and_gradient(load(name), data, advantages)
    assert loss == 0 and not gradient.any()


# ---------------------------------------------------------------- invariances

COMPOSITIONS = [
    *((name, {}) for name in METHODS),
    ("arpo", {"kl_coefficient": 0.1, "dual_clip": 1.5}),
    ("grpo", {"aggregation": "token_sum_const", "length_constant": 11}),
]
composition = st.sampled_from(COMPOSITIONS)
seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=25, deadline=None, derandomize=True)


def reordered(data, order):
    return {key: value[order] for key, value in data.items()}


@quick
@given(composition, seeds, st.permutations(range(6)))
def test_the_order_of_rows_does_not_matter(chosen, seed, order):
    algorithm, data = load(chosen[0], **chosen[1]), batch(seed)
    advantages = advantages_of(algorithm, data)
    loss, gradient = loss_and_gradient(algorithm, data, advantages)
    shuffled = reordered(data, list(order))
    shuffled_advantages = advantages_of(algorithm, shuffled)
    shuffled_loss, shuffled_gradient = loss_and_gradient(algorithm, shuffled, shuffled_advantages)
    torch.testing.assert_close(shuffled_advantages, advantages[list(order)], atol=1e-9, rtol=0)
    torch.testing.assert_close(shuffled_loss, loss, atol=1e-9, rtol=0)
    torch.testing.assert_close(shuffled_gradient, gradient[list(order)], atol=1e-9, rtol=0)


@quick
@given(composition, seeds, st.integers(1, 5), st.sampled_from([0.0, NAN, INF, -INF]))
def test_padding_and_whatever_it_holds_do_not_matter(chosen, seed, extra, filler):
    algorithm, data = load(chosen[0], **chosen[1]), batch(seed)
    advantages = advantages_of(algorithm, data)
    loss, gradient = loss_and_gradient(algorithm, data, advantages)
    padded = dict(data)
    wide_mask = torch.nn.functional.pad(data["mask_BT"], (0, extra))
    for key in ("logps_BT", "old_logps_BT", "entropies_BT", "ref_logps_BT"):
        padded[key] = torch.nn.functional.pad(data[key], (0, extra)).masked_fill(~wide_mask, filler)
    padded["mask_BT"] = wide_mask
    padded_advantages = advantages_of(algorithm, padded)
    torch.testing.assert_close(padded_advantages[:, :9], advantages, atol=1e-9, rtol=0)
    poisoned = padded_advantages.masked_fill(~wide_mask, filler)
    padded_loss, padded_gradient = loss_and_gradient(algorithm, padded, poisoned)
    torch.testing.assert_close(padded_loss, loss, atol=1e-9, rtol=0)
    torch.testing.assert_close(padded_gradient[:, :9], gradient, atol=1e-9, rtol=0)
    assert not padded_gradient[:, 9:].any()


@quick
@given(composition, seeds, st.lists(st.integers(1, 5), max_size=3, unique=True))
def test_micro_batches_sum_to_the_whole_update(chosen, seed, cuts):
    algorithm, data = load(chosen[0], **chosen[1]), batch(seed)
    advantages = advantages_of(algorithm, data)
    loss, gradient = loss_and_gradient(algorithm, data, advantages)
    tokens, edges = data["mask_BT"].sum(), [0, *sorted(cuts), 6]
    parts = [
        loss_and_gradient(algorithm, reordered(data, slice(low, high)), advantages[low:high], normalizer=tokens, rows=6)
        for low, high in zip(edges[:-1], edges[1:], strict=True)
    ]
    torch.testing.assert_close(sum(part for part, _ in parts), loss, atol=1e-9, rtol=0)
    torch.testing.assert_close(torch.cat([part for _, part in parts]), gradient, atol=1e-9, rtol=0)


def test_a_local_token_mean_would_depend_on_the_split():
    data = batch(8)
    advantages = advantages_of(load("dapo"), data)
    whole, _ = loss_and_gradient(load("dapo"), data, advantages)
    halves = [
        loss_and_gradient(load("dapo"), reordered(data, rows), advantages[rows])[0] / 2
        for rows in (slice(0, 2), slice(2, 6))
    ]
    assert abs(sum(halves) - whole) > 1e-4  # what `normalizer` is for


@pytest.mark.parametrize("name", METHODS)
def test_float32_follows_float64(name):
    data = batch(9)
    loss, gradient = loss_and_gradient(load(name), data, advantages_of(load(name), data))
    single = {key: value.float() if value.is_floating_point() else value for key, value in data.items()}
    single_loss, single_gradient = loss_and_gradient(load(name), single, advantages_of(load(name), single))
    assert single_gradient.dtype == torch.float32
    torch.testing.assert_close(single_loss.double(), loss, atol=1e-5, rtol=0)
    torch.testing.assert_close(single_gradient.double(), gradient, atol=1e-5, rtol=0)


def test_first_update_after_a_rollout_is_the_same_for_both_clips():
    data = batch(10)
    on_policy = data | {"logps_BT": data["old_logps_BT"]}
    advantages = advantages_of(load("aepo"), data)
    kept, plain = load("aepo"), load("aepo", gradient_keeping_clip=False)
    assert torch.equal(
        loss_and_gradient(kept, on_policy, advantages)[1], loss_and_gradient(plain, on_policy, advantages)[1]
    )
    assert not torch.allclose(
        loss_and_gradient(kept, data, advantages)[1], loss_and_gradient(plain, data, advantages)[1]
    )


# ---------------------------------------------------------------- replaceable parts and refusals


@dataclass(frozen=True)
class FirstTurnWeight:
    """A user's own part: weight only the tokens of turn 0."""

    first_turn_weight: float = 2.0
    needs = ("turns_BT",)

    def __call__(self, tensors, mask_BT):
        return (tensors["turns_BT"] == 0) * self.first_turn_weight


def test_a_users_own_part_stands_in_a_slot_with_its_settings_and_its_needs():
    data = batch(11)
    algorithm = load("dapo", token_weight=FirstTurnWeight(), first_turn_weight=3.0)
    advantages = advantages_of(algorithm, data)
    turns = (torch.arange(9) >= 4).long().expand(6, 9)
    arguments = (data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"])
    loss, _ = algorithm.loss(*arguments, turns_BT=turns, normalizer=data["mask_BT"].sum())
    first_turn = data["mask_BT"] & (turns == 0)
    expected, _ = load("dapo").loss(*arguments[:3], first_turn, normalizer=data["mask_BT"].sum())
    assert loss.item() == pytest.approx(3.0 * expected.item())
    with pytest.raises(ValueError, match="dapo: token_weight part 'FirstTurnWeight' needs turns_BT"):
        algorithm.loss(*arguments)


def test_a_users_own_regulariser_never_sees_what_is_masked_out():
    data = batch(14)
    logps = data["logps_BT"].masked_fill(~data["mask_BT"], NAN).requires_grad_()
    algorithm = load("dapo", regularisers=[lambda tensors, mask_BT: tensors["logps_BT"] ** 2])
    zeros = torch.zeros(6, 9, dtype=torch.float64)
    loss, _ = algorithm.loss(logps, data["old_logps_BT"], zeros, data["mask_BT"])
    loss.backward()
    kept = logps.detach()[data["mask_BT"]]
    assert loss.item() == pytest.approx((kept**2).mean().item())
    torch.testing.assert_close(logps.grad[data["mask_BT"]], 2 * kept / kept.numel())
    assert not logps.grad[~data["mask_BT"]].any()


def test_missing_tensors_are_named_with_method_and_part():
    data = batch(12)
    with pytest.raises(ValueError, match="aepo: advantage part 'entropy_aware' needs entropies_BT"):
        load("aepo").advantages(data["rewards_B"], data["groups_B"], data["mask_BT"])
    advantages = advantages_of(load("grpo"), data)
    with pytest.raises(ValueError, match="grpo: regularisers part 'reference_kl' needs ref_logps_BT"):
        load("grpo", kl_coefficient=0.04).loss(data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"])
    with pytest.raises(ValueError, match="grpo: ratio part 'token' needs old_logps_BT"):
        load("grpo").loss(data["logps_BT"], None, advantages, data["mask_BT"])
    with pytest.raises(ValueError, match="old_logps_BT has shape"):
        load("grpo").loss(data["logps_BT"], data["old_logps_BT"][:, :1], advantages, data["mask_BT"])


def test_kl_regulariser_adds_its_aggregated_k3():
    data = batch(13)
    advantages = advantages_of(load("grpo"), data)
    algorithm = load("grpo", kl_coefficient=0.04)
    assert "ref_logps_BT" in algorithm.loss_needs and "ref_logps_BT" not in load("grpo").loss_needs
    with_kl, _ = loss_and_gradient(algorithm, data, advantages)
    without, _ = loss_and_gradient(load("grpo"), data, advantages)
    u, mask = (data["ref_logps_BT"] - data["logps_BT"]).numpy(), data["mask_BT"].numpy()
    kl = np.mean([(np.exp(u[i]) - u[i] - 1)[mask[i]].mean() for i in range(6)])
    assert (with_kl - without).item() == pytest.approx(0.04 * kl)


BAD_OVERRIDES = [
    ("grpo", {"clip_hi": 0.3}, "unknown setting 'clip_hi'; did you mean 'clip_high'"),
    ("aepo", {"entropy_token": 5}, "did you mean 'entropy_tokens'"),
    ("grpo", {"agregation": "token_mean"}, "did you mean 'aggregation'"),
    ("grpo", {"aggregation": "token_meen"}, "unknown aggregation 'token_meen'; did you mean 'token_mean'"),
    ("dapo", {"kl_coefficient": 0.1}, "unknown setting 'kl_coefficient'"),
    ("grpo", {"clip_low": -0.1}, "clip_low must be a number from 0 to 1"),
    ("grpo", {"clip_high": NAN}, "clip_high must be a number from 0"),
    ("grpo", {"clip_high": "0.2"}, "clip_high must be a number"),
    ("grpo", {"dual_clip": 1.0}, "dual_clip must be a number above 1"),
    ("grpo", {"std_epsilon": 0.0}, "std_epsilon must be a number above 0"),
    ("grpo", {"surrogate": None}, "unknown surrogate 'none'"),
    ("grpo", {"surrogate": {"clip_low": 0.1}}, "surrogate must be a name (ppo_min, upper_gradient_keeping) or a part"),
    ("grpo", {"aggregation": "token_sum_const"}, "length_constant must be an integer"),
    ("dapo", {"max_generation_batches": 2.5}, "max_generation_batches must be an integer from 1"),
    ("dapo", {"dynamic_sampling": 1}, "dynamic_sampling must be true or false"),
    ("dapo", {"overlong_buffer": 0.0}, "overlong_buffer must be a number above 0 to 1"),
    ("arpo", {"decision": "coin"}, "'threshold' or 'bernoulli'"),
    ("arpo", {"initial_fraction": 1.5}, "initial_fraction must be a number above 0 to 1"),
    ("aepo", {"entropy_advantage": False, "entropy_coefficient": 0.4}, "entropy_coefficient has no effect"),
    ("aepo", {"initial_fraction": 0.25}, "initial_fraction has no effect with dynamic_budget=True"),
    ("dapo", {"dynamic_sampling": False, "max_generation_batches": 3}, "max_generation_batches has no effect"),
]


@pytest.mark.parametrize(("name", "overrides", "message"), BAD_OVERRIDES)
def test_bad_overrides_are_refused_in_one_line(name, overrides, message):
    with pytest.raises(UserError) as error:
        load(name, **overrides)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_unknown_method_names_the_nearest():
    with pytest.raises(UserError, match="unknown method 'aeop'; did you mean 'aepo'"):
        load("aeop")


# ---------------------------------------------------------------- rollout policies and DAPO's hooks


def test_rollout_settings_are_settings_of_the_algorithm():
    arpo = load("arpo", entropy_tokens=5, decision="bernoulli")
    assert arpo.rollout == ARPORollout(entropy_tokens=5, decision="bernoulli")
    assert load("dapo", rollout="arpo", alpha=0.4).rollout == ARPORollout(alpha=0.4)
    assert load("aepo", rollout="independent").rollout == Independent()


def test_aepo_rollout_components_switch_singly():
    k, root, tool = 16, 3.0, 0.5
    full = load("aepo").rollout
    assert full.initial(k, root, tool) == AEPORollout().initial(k, root, tool) == 12
    assert full.branch_probability(0.5, 4) == pytest.approx(0.6 * 0.8)
    fixed = load("aepo", dynamic_budget=False).rollout
    assert fixed.initial(k) == 8 and not fixed.needs_pilot
    assert fixed.branch_probability(0.5, 4) == pytest.approx(0.6 * 0.8)
    assert load("aepo", dynamic_budget=False, initial_fraction=0.25).rollout.initial(k) == 4
    unpenalised = load("aepo", branch_penalty=False).rollout
    assert unpenalised.branch_probability(0.5, 4) == ARPORollout().branch_probability(0.5, 4) == pytest.approx(0.6)
    assert unpenalised.initial(k, root, tool) == 12 and unpenalised.needs_pilot
    assert unpenalised.with_entropy_tokens(5).branch_penalty is False


def test_dapo_hooks_shape_rewards_and_filter_groups():
    dapo, lengths = load("dapo"), torch.tensor([80, 90, 100, 200])
    assert dapo.overlong_penalty(lengths, 100).tolist() == pytest.approx([0.0, -0.5, -1.0, -1.0])
    assert load("dapo", overlong_factor=0.3).overlong_penalty(lengths, 100).tolist() == pytest.approx(
        [0, -0.15, -0.3, -0.3]
    )
    assert load("dapo", overlong_penalty=False).overlong_penalty(lengths, 100) is None
    assert load("grpo").overlong_penalty(lengths, 100) is None
    rewards, groups = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([0, 0, 1, 1])
    assert dapo.filter_groups(rewards, groups).tolist() == [False, False, True, True]
    off = load("dapo", dynamic_sampling=False)
    assert off.filter_groups(rewards, groups).all() and off.max_generation_batches == 1 and not off.dynamic_sampling
    added = load("grpo", group_filter="dynamic_sampling", max_generation_batches=3)
    assert added.dynamic_sampling and added.max_generation_batches == 3


def test_a_part_object_replaces_a_part():
    assert load("aepo", advantage=GroupZScore(std_epsilon=1e-4)).settings["std_epsilon"] == 1e-4
