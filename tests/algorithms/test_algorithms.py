"""Algorithms through their public interface: published settings, overrides, metrics, parts of one's own, refusals."""

import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from method_batch import advantages_of, loss_and_gradient, needs, random_batch, ready

import reproduce.algorithms
from reproduce.algorithms import for_run, inert_at_one_update, load, module_of, names
from reproduce.algorithms.parts import GroupZScore
from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent
from reproduce.errors import UserError
from reproduce.runs import schema

METHODS = names()
NAN = float("nan")


def batch(seed):
    """A random batch with entropies and reference log-probabilities."""
    return random_batch(load("aepo"), seed)


# ---------------------------------------------------------------- published settings


def test_rollouts_are_the_policies_of_the_papers():
    assert load("grpo").rollout == Independent() and load("arpo").rollout == ARPORollout()
    assert isinstance(load("aepo").rollout, AEPORollout) and load("aepo").rollout.needs_pilot


@pytest.mark.parametrize("name", METHODS)
def test_the_published_settings_are_chosen_by_name_alone(name):
    """A name gives what the method's file says; that file is what README.md documents (tests/docs/test_readme.py)."""
    algorithm = load(name)
    in_file = vars(import_module(f"reproduce.algorithms.{module_of(name)}")).values()
    assert algorithm.name == name and [made for made in in_file if getattr(made, "name", None) == name] == [algorithm]
    assert load(name, **algorithm.settings) == algorithm, "no setting has a second default"


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_json_and_rebuild_the_algorithm(name):
    algorithm = load(name, log_ratio_bound=10.0)
    assert load(name, **json.loads(json.dumps(algorithm.settings))) == algorithm != load(name)


def test_algorithms_are_frozen_and_overrides_leave_the_registry_alone():
    with pytest.raises(FrozenInstanceError):
        load("grpo").name = "other"
    load("grpo", clip_high=0.5)
    assert load("grpo").clip_range == pytest.approx((0.8, 1.2))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_one_page(name):
    assert len((Path(reproduce.algorithms.__file__).parent / f"{module_of(name)}.py").read_text().splitlines()) <= 85


def test_algorithms_import_no_trainer():
    code = (
        "import sys, reproduce.algorithms; print([m for m in ('trl', 'transformers', 'datasets') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ---------------------------------------------------------------- metrics


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


@pytest.mark.parametrize("name", METHODS)
def test_whatever_a_method_reports_is_declared_and_has_a_column(name):
    algorithm = ready(name)
    data = random_batch(algorithm, 7)
    extra = {key: data[key] for key in {*algorithm.advantage_needs, *algorithm.loss_needs} & data.keys()}
    arguments = (data["rewards_B"], data["groups_B"], data["mask_BT"])
    advantages, reported = algorithm.advantages_and_metrics(
        *arguments, **{key: extra[key] for key in algorithm.advantage_needs}
    )
    loss_extra = {key: extra[key] for key in set(algorithm.loss_needs) & needs(algorithm)}
    _, metrics = algorithm.loss(data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"], **loss_extra)
    of_any_loss = {"tokens", "ratio_mean", "ratio_max", "approx_kl", "outside_clip_fraction"}
    of_any_loss |= {"clip_fraction_low", "clip_fraction_high"}
    assert reported.keys() | metrics.keys() - of_any_loss <= set(algorithm.metrics)
    assert all(metric in schema.METHOD_METRICS or schema.PART_METRIC.fullmatch(metric) for metric in algorithm.metrics)


def test_a_regulariser_may_report_metrics_that_it_declares():
    data = batch(15)
    arguments = (data["logps_BT"], data["old_logps_BT"], advantages_of(load("grpo"), data), data["mask_BT"])
    penalised, metrics = load("dapo", regularisers=[Square()]).loss(*arguments)
    assert metrics["square/mean"] == 7.0 and "square/mean" in load("dapo", regularisers=[Square()]).metrics
    added = (data["logps_BT"][data["mask_BT"]] ** 2).mean()
    assert (penalised - load("dapo").loss(*arguments)[0]).item() == pytest.approx(added.item())
    with pytest.raises(ValueError, match="dapo: regularisers part 'Undeclared' reports square/mean"):
        load("dapo", regularisers=[Undeclared()]).loss(*arguments)


@dataclass(frozen=True)
class Undeclared:
    def __call__(self, tensors, mask_BT):
        return tensors["logps_BT"] ** 2, {"square/mean": 7.0}


@dataclass(frozen=True)
class Square(Undeclared):
    metrics = ("square/mean",)


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


@pytest.mark.parametrize("name", [name for name in METHODS if set(load(name).advantage_needs) <= {"entropies_BT"}])
def test_equal_rewards_give_no_advantage_and_no_gradient(name):
    algorithm = ready(name, regularisers="none")
    data = random_batch(algorithm, 5) | {"rewards_B": torch.full((6,), 1.1, dtype=torch.float64)}
    advantages = advantages_of(algorithm, data)
    assert torch.equal(advantages, torch.zeros(6, 9, dtype=torch.float64))
    assert not loss_and_gradient(algorithm, data, advantages)[1].any()


# ---------------------------------------------------------------- what a run decides


@pytest.mark.parametrize("name", METHODS)
def test_parts_called_inert_act_only_when_the_policy_has_moved(name):
    algorithm = ready(name)
    inert = {part.split()[0] for part in inert_at_one_update(algorithm)}
    without = {"ratio": "token", "surrogate": "ppo_min", "token_weight": "none"}
    plain = algorithm.with_overrides(**{slot: part for slot, part in without.items() if slot in inert})
    acting = [part for part in algorithm.regularisers if not getattr(part, "acts_only_off_policy", False)]
    plain = plain.with_overrides(regularisers=acting)
    moved = random_batch(algorithm, 10)
    moved["logps_BT"] = moved["old_logps_BT"] + 2 * (moved["logps_BT"] - moved["old_logps_BT"])
    moved["rewards_B"] = moved["rewards_B"].abs() * torch.tensor([1, -1, -1, 1, 1, -1])  # both signs in each group
    advantages = advantages_of(algorithm, moved)
    still = moved | {"logps_BT": moved["old_logps_BT"]}
    if "old_entropies_BT" in still:
        still["entropies_BT"] = still["old_entropies_BT"] = moved["old_entropies_BT"].abs()
    torch.testing.assert_close(
        loss_and_gradient(algorithm, still, advantages)[1],
        loss_and_gradient(plain, still, advantages)[1],
        atol=1e-12,
        rtol=0,
    )
    differs = loss_and_gradient(algorithm, moved, advantages)[1] - loss_and_gradient(plain, moved, advantages)[1]
    assert (differs.abs().max() > 1e-3) == bool(inert)


def test_one_update_per_rollout_is_refused_where_a_part_would_be_inert():
    expected = {
        "gspo": "ratio sequence",
        "gppo": "surrogate gradient_keeping",
        "ce-gppo": "surrogate gradient_keeping",
        "cispo": "surrogate clipped_weight",
        "aepo": "surrogate upper_gradient_keeping",
    }
    for name, part in expected.items():
        assert inert_at_one_update(load(name)) == (part,)
        with pytest.raises(UserError, match=f"{name}: {part} "):
            for_run(load(name), max_completion_tokens=9, updates_per_rollout=1)
        assert for_run(load(name), max_completion_tokens=9, updates_per_rollout=2) == load(name)
    for name in ("grpo", "dapo", "arpo", "rloo", "opo", "reinforce++"):
        assert for_run(load(name), max_completion_tokens=9, updates_per_rollout=1) == load(name)
    switched_off = load("aepo", gradient_keeping_clip=False)
    assert for_run(switched_off, max_completion_tokens=9, updates_per_rollout=1) == switched_off


def test_the_run_gives_dr_grpo_its_length_constant_unless_it_was_chosen():
    sizes = {"max_completion_tokens": 40, "updates_per_rollout": 2}
    assert for_run(load("dr-grpo"), **sizes) == load("dr-grpo", length_constant=40)
    assert for_run(load("dr-grpo", length_constant=7), **sizes).settings["length_constant"] == 7
    assert for_run(load("rloo"), **sizes) == load("rloo")
    data = batch(6)
    tensors = (data["logps_BT"], data["old_logps_BT"], data["rewards_B"], data["mask_BT"])
    with pytest.raises(ValueError, match="'token_sum_const' needs length_constant"):
        load("dr-grpo").loss(*tensors)
    with pytest.raises(ValueError, match="token_sum_const: length_constant"):
        load("dr-grpo").loss(*tensors, length_constant=40)


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
    with pytest.raises(ValueError, match="'FirstTurnWeight' needs turns_BT"):
        algorithm.loss(*arguments)


def test_a_part_may_say_which_values_its_settings_take():
    for value, message in ((0.0, "a number above 0 to 5"), (6.0, "a number above 0 to 5"), ("3", "a number above 0")):
        with pytest.raises(UserError, match=f"dapo: first_turn_weight must be {message}"):
            load("dapo", token_weight=BoundedWeight(), first_turn_weight=value)
    with pytest.raises(UserError, match="dapo: first_turn_weight must be a number above 0 to 5, not -1.0"):
        load("dapo", token_weight=BoundedWeight(-1.0))
    assert load("dapo", token_weight=FirstTurnWeight(), first_turn_weight=6.0)


@dataclass(frozen=True)
class BoundedWeight(FirstTurnWeight):
    ranges = {"first_turn_weight": (0.0, 5.0, False)}


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
    with pytest.raises(ValueError, match="'entropy_aware' needs entropies_BT"):
        load("aepo").advantages(data["rewards_B"], data["groups_B"], data["mask_BT"])
    advantages = advantages_of(load("grpo"), data)
    with pytest.raises(ValueError, match="'reference_kl' needs ref_logps_BT"):
        load("grpo", kl_coefficient=0.04).loss(data["logps_BT"], data["old_logps_BT"], advantages, data["mask_BT"])
    with pytest.raises(ValueError, match="ratio part 'token' needs old_logps_BT"):
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
    (
        "grpo",
        {"surrogate": {"clip_low": 0.1}},
        "surrogate must be a name (ppo_min, upper_gradient_keeping, gradient_keeping, ",
    ),
    ("dr-grpo", {"length_constant": 0}, "length_constant must be an integer from 1"),
    ("ce-gppo", {"beta_1": -0.5}, "beta_1 must be a number from 0"),
    ("ce-gppo", {"beta_3": 0.5}, "unknown setting 'beta_3'; did you mean 'beta_"),
    ("cispo", {"clip_low": 1.2}, "clip_low must be a number from 0 to 1"),
    ("reinforce++", {"whitening_epsilon": 0.0}, "whitening_epsilon must be a number above 0"),
    ("reinforce++", {"group_baseline": "yes"}, "group_baseline must be true or false"),
    ("grpo", {"advantage": "LengthWeightedBaseline"}, "unknown advantage 'LengthWeightedBaseline'"),
    (
        "dapo",
        {"token_weight": "top_entropy", "top_entropy_fraction": 0.0},
        "top_entropy_fraction must be a number abov",
    ),
    ("dapo", {"token_weight": "top_entropy", "top_entropy_denominator": "some"}, "top_entropy_denominator must be"),
    ("dapo", {"max_generation_batches": 2.5}, "max_generation_batches must be an integer from 1"),
    ("dapo", {"dynamic_sampling": 1}, "dynamic_sampling must be true or false"),
    ("dapo", {"overlong_buffer": 0.0}, "overlong_buffer must be a number above 0 to 1"),
    ("arpo", {"decision": "coin"}, "decision must be"),
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
    with pytest.raises(UserError, match="'aeop'; did you mean 'aepo'"):
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
