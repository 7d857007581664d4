"""Micro-batches: an update split by tokens has the loss, metrics and gradient of the whole one, for any method."""

import copy

import parallel_child
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from process_groups import run, same

from reproduce.algorithms import names
from reproduce.training.critic import Critic
from reproduce.training.layout import Layout
from reproduce.training.micro_batches import cut, dealt, own_parts, take, values_of, whole_loss


def update(
    made, output: dict, limit: int | None, layout: Layout = Layout.PADDED
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict]:
    """(loss, gradients, metrics) of one update by all states and the policy, which end as they were."""
    made.passes.tokens_per_pass, made.passes.layout, made.updates = limit, layout, []
    critics = [state for state in made.states if isinstance(state, Critic)]
    before = [copy.deepcopy(state.state_dict()) for state in made.states]
    made.model.zero_grad()
    for critic in critics:
        critic.tokens_per_pass, critic.layout = limit, layout
    with made.passes.attending(made.model):
        loss = made.loss_on(made.model, output)
        loss.backward()
    gradients = {name: value.grad.clone() for name, value in made.model.named_parameters()}
    for critic in critics:
        gradients |= {f"critic.{name}": value.grad.clone() for name, value in critic.network.named_parameters()}
    for state, saved in zip(made.states, before, strict=True):
        state.load_state_dict(saved)
    return loss.detach(), gradients, made.updates.pop()


@pytest.mark.parametrize("method", names())
def test_an_update_in_micro_batches_equals_the_whole_one(tmp_path, method, wide_norms):
    """So does one that passes shared prefixes once, in one pass or several."""
    made = parallel_child.built(tmp_path, parallel_child.config(method, {"dtype": "float64", "minibatches": 1}))
    made.create_optimizer_and_scheduler(10)
    made.state.max_steps = 10 * made.updates_per_step
    made.collect_batch([0, 1, 2, 3])  # a first RL step, for what remembers it
    for state in made.states:
        state.on_step_end()
    made.state.global_step = made.updates_per_step
    output = made.collect_batch([0, 1, 2, 3])
    with torch.no_grad():  # ratios away from 1
        for value in made.model.parameters():
            value += 0.02 * torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(1))
    assert len(own_parts(output, made.loss_mask(output), 150)) > 4
    (loss, gradients, metrics), (split_loss, split, split_metrics) = (update(made, output, n) for n in (None, 150))
    torch.testing.assert_close(split_loss, loss, atol=1e-12, rtol=1e-12)
    assert metrics == pytest.approx(split_metrics, abs=1e-12, rel=1e-12, nan_ok=True)
    assert max(float(value.abs().max()) for value in gradients.values()) > 1e-4
    for name, value in gradients.items():
        torch.testing.assert_close(split[name], value, atol=1e-12, rtol=1e-12)
    for limit in (None, 150):
        shared_loss, shared, shared_metrics = update(made, output, limit, Layout.SHARED)
        torch.testing.assert_close(shared_loss, loss, atol=1e-9, rtol=1e-9)
        assert metrics == pytest.approx(shared_metrics, abs=1e-9, rel=1e-9, nan_ok=True)
        for name, value in gradients.items():
            torch.testing.assert_close(shared[name], value, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("method", ["ppo+epo-released", "aepo"])
def test_an_update_in_any_layout_equals_the_padded_one(tmp_path, method, wide_norms):
    """Policy, critic and reference, from the rollout on; a limit of tokens that counts no padding, and what rows share
    once."""
    found, parts = {}, {}
    for layout in Layout:
        settings = {"packed": layout is not Layout.PADDED, "shared_prefixes": layout is Layout.SHARED or None}
        training = {"dtype": "float64", "minibatches": 1, "tokens_per_pass": 150} | settings
        (tmp_path / layout.value).mkdir()
        made = parallel_child.built(tmp_path / layout.value, parallel_child.config(method, training))
        assert made.passes.layout is layout
        made.create_optimizer_and_scheduler(10)
        made.state.max_steps = 10 * made.updates_per_step
        output = made.collect_batch([0, 1, 2, 3])
        parts[layout] = len(own_parts(output, made.loss_mask(output), 150, layout))
        found[layout] = output, *update(made, output, 150, layout)
    assert 1 < parts[Layout.SHARED] <= parts[Layout.PACKED] < parts[Layout.PADDED]
    expected = found.pop(Layout.PADDED)
    if method == "ppo+epo-released":
        assert {"ref_logps_BT", "values_BT"} <= expected[0].keys()
    for other in found.values():
        for name, value in expected[0].items():
            torch.testing.assert_close(other[0][name], value, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(other[1:3], expected[1:3], atol=1e-9, rtol=1e-9)
        assert other[3] == pytest.approx(expected[3], abs=1e-9, rel=1e-9, nan_ok=True)


@pytest.mark.slow
def test_steps_with_shared_prefixes_are_those_without_on_any_number_of_processes(tmp_path):
    """Sampling lies between the passes of the trainer. To 1e-6: transformers' norms work in float32."""
    words = ["steps=1", 'dtype="float64"', "rollout_shards=6", "prompts_per_step=6"]
    whole = run(tmp_path / "whole", "ppo+epo", 1, *words)
    for name, count, *more in (("one", 1), ("two", 2, "tokens_per_pass=150"), ("fsdp", 2, "fsdp=1")):
        shared = run(tmp_path / name, "ppo+epo", count, *words, "shared_prefixes=true", *more)
        same(whole, shared, tolerance=1e-5)
        torch.testing.assert_close(shared[0]["gradients"][0], whole[0]["gradients"][0], atol=1e-7, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["aepo", "ppo+epo", "aepo-released"])
def test_processes_with_unequal_numbers_of_micro_batches_train_as_one(tmp_path, method):
    """Updates to 1e-6 only: Adam makes a step of the rounding of a gradient near 0."""
    words = ["steps=1", 'dtype="float64"', "rollout_shards=6", "prompts_per_step=6"]
    whole = run(tmp_path / "whole", method, 1, *words)
    for count in (2, 3):
        split = run(tmp_path / str(count), method, count, *words, "tokens_per_pass=150")
        same(whole, split, tolerance=1e-6)
        torch.testing.assert_close(split[0]["gradients"][0], whole[0]["gradients"][0], atol=1e-12, rtol=0)


@pytest.mark.slow
def test_rows_of_single_turns_are_split_too(tmp_path):
    words = ["steps=1", 'dtype="float64"', "house=1"]
    whole = run(tmp_path / "whole", "ppo+epo", 1, *words)
    for count in (1, 2):
        split = run(tmp_path / str(count), "ppo+epo", count, *words, "tokens_per_pass=150")
        torch.testing.assert_close(split[0]["gradients"][0], whole[0]["gradients"][0], atol=1e-12, rtol=1e-12)
        same(whole, split, tolerance=1e-6)


def batch(lengths: list[int]) -> tuple[dict, torch.Tensor]:
    mask_BT = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    return {"prompt_mask": torch.zeros(len(lengths), 1), "completion_mask": mask_BT.float()}, mask_BT


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), limit=st.integers(1, 90), count=st.integers(1, 4))
def test_every_row_is_in_one_pass_within_the_limit(lengths, limit, count):
    rows_of = dealt(lengths, count)
    assert sorted(row for rows in rows_of for row in rows) == list(range(len(lengths)))
    tokens = sorted(sum(lengths[row] for row in rows) for rows in rows_of)
    assert tokens[-1] - tokens[0] <= max(lengths), "no process has more to do by more than one row"
    for rows in rows_of:
        passes = cut(rows, lengths, limit)
        assert [row for part in passes for row in part] == rows
        for part in passes:
            assert len(part) == 1 or len(part) * max(lengths[row] for row in part) <= limit


def test_processes_make_equal_numbers_of_passes(monkeypatch):
    inputs, mask_BT = batch([40, 3, 3, 3])
    monkeypatch.setenv("WORLD_SIZE", "3")
    seen = []
    for rank in "012":
        monkeypatch.setenv("RANK", rank)
        parts = own_parts(inputs, mask_BT, 4)
        assert len(parts) == 2, "one of them has two rows that do not fit into one pass"
        seen += [row for part in parts if part.mask_BT.any() for row in part.rows.tolist()]
    assert sorted(seen) == [0, 1, 2, 3]


def test_the_gradient_of_a_loss_that_couples_all_tokens_is_exact():
    """A product of sums, which no sum over micro-batches is: what gradient caching is for."""
    inputs, mask_BT = batch([5, 2, 4, 4, 1])
    weight = torch.tensor([0.3, -1.2], dtype=torch.float64, requires_grad=True)
    features = torch.randn(*mask_BT.shape, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs["features"] = features

    def score(part, part_mask_BT):
        values_BT = torch.where(part_mask_BT, (part["features"] @ weight).tanh(), 0.0)
        return values_BT, None, values_BT.square()

    def loss(values_BT, nothing, squares_BT):
        assert nothing is None
        return values_BT.sum() * squares_BT.sum() + values_BT.std()

    def gradient(limit):
        parts, passes = own_parts(inputs, mask_BT, limit), []
        weight.grad = None
        total = whole_loss(parts, inputs, mask_BT, score, loss, lambda part: passes.append(part.backward()))
        total.backward()
        assert len(passes) == len(parts) - 1
        return total.detach(), weight.grad.clone()

    for limit in (4, 5, 8):
        for one, other in zip(gradient(None), gradient(limit), strict=True):
            torch.testing.assert_close(one, other, atol=1e-14, rtol=1e-14)


def test_a_pass_holds_no_more_tokens_than_the_limit(tmp_path):
    made = parallel_child.built(tmp_path, parallel_child.config("grpo", {"tokens_per_pass": 150, "minibatches": 1}))
    seen = []
    made.model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    output = made.collect_batch([0, 1])
    seen.clear()
    made.loss_on(made.model, output)
    longest = int((output["prompt_mask"].sum(1) + output["completion_mask"].sum(1)).max())
    assert len(seen) > 4 and max(seen) <= max(150, longest)


def test_values_of_all_rows_come_back_in_their_places():
    inputs, mask_BT = batch([5, 2, 4])
    inputs["own"] = torch.arange(3.0)
    parts = own_parts(inputs, mask_BT, 5)
    (values_BT,) = values_of(parts, inputs, mask_BT, lambda part, mask: [mask * (1 + part["own"][:, None])])
    assert torch.equal(values_BT, mask_BT * torch.tensor([[1.0], [2.0], [3.0]]))
    taken = take(inputs | {"number": 3.0, "scalar": torch.tensor(2.0)}, torch.tensor([2]))
    assert (taken["own"].tolist(), taken["number"], float(taken["scalar"])) == ([2.0], 3.0, 2.0)
