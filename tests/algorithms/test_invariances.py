"""What must not matter to any method: the order of rows, padding, the split into micro-batches, masked-out values."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from method_batch import ROWS, TOKENS, advantages_of, loss_and_gradient, random_batch, ready, select

from reproduce.algorithms import load, names

NAN, INF = float("nan"), float("inf")
NOTHING_DRAWN = {"spear": {"covariance_low": 99.0, "covariance_high": 100.0}}
"""Settings with which no token is drawn at random: a draw goes by the tokens' places."""
COMPOSITIONS = [
    *((name, NOTHING_DRAWN.get(name, {})) for name in names()),
    ("arpo", {"kl_coefficient": 0.1, "dual_clip": 1.5}),
    ("ce-gppo", {"ratio": "sequence", "dual_clip": 1.5}),
    ("cispo", {"clip_low": 0.2, "clip_high": 0.28}),
    ("dapo", {"surrogate": "policy_gradient", "importance_weight": True}),
]


def splits(name, overrides) -> bool:
    """False for methods with a part that looks at all tokens of one call, as their released code does."""
    algorithm = load(name, **overrides)
    per_call = any(getattr(part, "over_one_call", False) for _, part in algorithm.loss_parts())
    return not per_call and algorithm.settings["aggregation"] != "micro_batch_token_mean"


SPLITTABLE = [(name, overrides) for name, overrides in COMPOSITIONS if splits(name, overrides)]
every_composition = pytest.mark.parametrize(("name", "overrides"), COMPOSITIONS)
seeds = st.integers(0, 2**31 - 1)
few = settings(max_examples=4, deadline=None, derandomize=True)
close = {"atol": 1e-6, "rtol": 0}


def told_apart(mask_BT) -> bool:
    """Whether the released packing, which goes by these numbers, tells every row from every other (`parts.packing`)."""
    place_BT = mask_BT * torch.arange(1, TOKENS + 1)
    keys = [place_BT.amax(-1), mask_BT.sum(-1), place_BT.sum(-1), (place_BT**2).sum(-1)]
    return len(torch.stack(keys, dim=1).unique(dim=0)) == ROWS


def prepared(name, overrides, seed):
    algorithm = ready(name, **overrides)
    data = random_batch(algorithm, seed)
    advantages_BT = advantages_of(algorithm, data)
    return algorithm, data, advantages_BT, *loss_and_gradient(algorithm, data, advantages_BT)


@every_composition
@few
@given(seed=seeds, order=st.permutations(range(ROWS)))
def test_the_order_of_rows_does_not_matter(name, overrides, seed, order):
    algorithm, data, advantages_BT, loss, gradient_BT = prepared(name, overrides, seed)
    assume(algorithm.settings["aggregation"] != "micro_batch_token_mean" or told_apart(data["mask_BT"]))
    shuffled = select(data, order)
    shuffled_advantages_BT = advantages_of(algorithm, shuffled)
    torch.testing.assert_close(shuffled_advantages_BT, advantages_BT[order], **close)
    shuffled_loss, shuffled_gradient_BT = loss_and_gradient(algorithm, shuffled, shuffled_advantages_BT)
    torch.testing.assert_close(shuffled_loss, loss, **close)
    torch.testing.assert_close(shuffled_gradient_BT, gradient_BT[order], **close)


@every_composition
@few
@given(seed=seeds, extra=st.integers(1, 5), filler=st.sampled_from([0.0, NAN, INF, -INF]))
def test_padding_and_whatever_is_masked_out_do_not_matter(name, overrides, seed, extra, filler):
    algorithm, data, advantages_BT, loss, gradient_BT = prepared(name, overrides, seed)
    mask_BT = torch.nn.functional.pad(data["mask_BT"], (0, extra))
    data = {key: value for key, value in data.items() if key != "mask_BT"}

    def padded(key, value):
        if not key.endswith("_BT"):
            return value
        if not value.is_floating_point():
            return torch.nn.functional.pad(value, (0, extra), value=-1)
        return torch.nn.functional.pad(value, (0, extra)).masked_fill(~mask_BT, filler)

    wide = {key: padded(key, value) for key, value in data.items()} | {"mask_BT": mask_BT}
    wide_advantages_BT = advantages_of(algorithm, wide)
    torch.testing.assert_close(wide_advantages_BT[:, :TOKENS], advantages_BT, **close)
    poisoned_BT = wide_advantages_BT.masked_fill(~mask_BT, filler)
    wide_loss, wide_gradient_BT = loss_and_gradient(algorithm, wide, poisoned_BT)
    torch.testing.assert_close(wide_loss, loss, **close)
    torch.testing.assert_close(wide_gradient_BT[:, :TOKENS], gradient_BT, **close)
    assert not wide_gradient_BT[~mask_BT].any()


@pytest.mark.parametrize(("name", "overrides"), SPLITTABLE)
@few
@given(seed=seeds, cuts=st.lists(st.integers(1, ROWS - 1), min_size=1, max_size=3, unique=True))
def test_micro_batches_sum_to_the_whole_update(name, overrides, seed, cuts):
    algorithm, data, advantages_BT, loss, gradient_BT = prepared(name, overrides, seed)
    tokens, edges = data["mask_BT"].sum(), [0, *sorted(cuts), ROWS]
    parts = [
        loss_and_gradient(algorithm, select(data, rows), advantages_BT[rows], normalizer=tokens, rows=ROWS)
        for rows in (slice(low, high) for low, high in zip(edges[:-1], edges[1:], strict=True))
    ]
    torch.testing.assert_close(sum(part for part, _ in parts), loss, **close)
    torch.testing.assert_close(torch.cat([part for _, part in parts]), gradient_BT, **close)


def test_a_local_token_mean_would_depend_on_the_split():
    algorithm, data, advantages_BT, whole, _ = prepared("dapo", {}, 8)
    halves = [
        loss_and_gradient(algorithm, select(data, rows), advantages_BT[rows])[0] / 2
        for rows in (slice(0, 2), slice(2, 6))
    ]
    assert abs(sum(halves) - whole) > 1e-4  # what `normalizer` is for


@pytest.mark.parametrize("name", names())
def test_float32_follows_float64(name):
    algorithm, data, _, loss, gradient_BT = prepared(name, {}, 9)
    single = {
        key: value.float() if key.endswith(("_B", "_BT")) and value.is_floating_point() else value
        for key, value in data.items()
    }
    single_loss, single_gradient_BT = loss_and_gradient(algorithm, single, advantages_of(algorithm, single))
    assert single_gradient_BT.dtype == torch.float32
    torch.testing.assert_close(single_loss.double(), loss, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(single_gradient_BT.double(), gradient_BT, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", names())
def test_extreme_ratios_lone_rows_and_empty_rows_stay_finite(name):
    algorithm = ready(name)
    data = random_batch(algorithm, 10, dtype=torch.float32)
    data["logps_BT"][:, :3] = torch.tensor([-1e-8, -1e4, -700.0])  # ratios that over- and underflow float32
    data["old_logps_BT"][:, :3] = torch.tensor([-1e4, -1e-8, -700.0])
    data["mask_BT"][:, :3] = True
    data["mask_BT"][5] = False
    data["groups_B"] = torch.tensor([0, 0, 0, 0, 7, 0])  # a group of one row
    data["rewards_B"][:4] = torch.tensor([1e3, -1e3, 1e3, 0.0])
    advantages_BT = advantages_of(algorithm, data)
    assert advantages_BT.isfinite().all() and not advantages_BT[5].any()
    loss, gradient_BT = loss_and_gradient(algorithm, data, advantages_BT)
    assert loss.isfinite() and gradient_BT.isfinite().all()
    data["mask_BT"][:] = False
    advantages_BT = advantages_of(algorithm, data)
    loss, gradient_BT = loss_and_gradient(algorithm, data, advantages_BT)
    assert loss == 0 and not gradient_BT.any() and not advantages_BT.any()
