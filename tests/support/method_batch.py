"""Random batches with every tensor that a method asks for, for tests that run over all methods."""

from dataclasses import dataclass

import torch

from reproduce.algorithms import Algorithm, for_run, load
from reproduce.algorithms.parts.surrogates import Surrogate

ROWS, TOKENS = 6, 9
NUMBERS = {
    "control_entropy": 0.6,
    "control_target": 0.5,
    "draw_seed": 7,
    "rl_step": 3,
    "log_vocabulary": 2.5,
    "ppo_br_clip": 0.75,
    "difficulty_coefficient": 0.3,
    "rl_steps": 10,
    "entropy_reference": 0.4,
    "turn_entropy_reference": [0.3, 0.5, 0.4],
}
NUMBERS["turn_entropy_reference_with_current_left_padded"] = [0.0, 0.4, 0.5]


def ready(name: str, **overrides) -> Algorithm:
    """The method with what it leaves to the run filled in."""
    return for_run(load(name, **overrides), max_completion_tokens=TOKENS, updates_per_rollout=2)


def needs(algorithm: Algorithm) -> set[str]:
    """Names of all tensors that the method reads beyond rewards, groups and mask."""
    return {*algorithm.advantage_needs, *algorithm.loss_needs} - {"logps_BT", "old_logps_BT", "advantages_BT"}


def random_batch(algorithm: Algorithm, seed: int, rows=ROWS, tokens=TOKENS, dtype=torch.float64) -> dict:
    """Ratios on both sides of any range, ragged masks with holes, two groups, and what `algorithm` needs."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    old_BT = -normal(rows, tokens).abs() - 0.05
    mask_BT = torch.rand(rows, tokens, generator=generator) < 0.7
    mask_BT[:, 0] = True
    data = {
        "logps_BT": old_BT + 0.4 * normal(rows, tokens),
        "old_logps_BT": old_BT,
        "mask_BT": mask_BT,
        "rewards_B": normal(rows),
        "groups_B": torch.arange(rows) % 2,
        "entropies_BT": normal(rows, tokens).abs(),
        "ref_logps_BT": old_BT + 0.2 * normal(rows, tokens),
    }
    for name in sorted(needs(algorithm) - data.keys()):
        data[name] = _example(name, data, generator, normal)
    return data


def _example(name: str, data: dict, generator, normal):
    """What is called `name`: integers for tensors that number something, normal draws for any other (B, T)."""
    if name in NUMBERS:
        value = NUMBERS[name]
        return torch.tensor(value, dtype=data["logps_BT"].dtype) if isinstance(value, list) else value
    rows, tokens = data["mask_BT"].shape
    turns_BT = (torch.arange(tokens) // 3).expand(rows, tokens).clone()
    if name == "turns_BT":
        return turns_BT
    if name == "anchors_BT":  # three observations, shared by rows and turns
        observation = torch.randint(0, 3, (rows, tokens), generator=generator)
        return observation.gather(1, turns_BT)
    if name == "owners_BT":  # rows of a group share their first two tokens, each of the others is a row's own
        shared = torch.arange(tokens) < 2
        return torch.where(shared, data["groups_B"][:, None], 100 + torch.arange(rows)[:, None])
    if name == "regions_BT":
        return torch.randint(0, 16, (rows, tokens), generator=generator)
    if name.endswith("_BT"):
        return normal(rows, tokens)
    raise KeyError(f"no example of {name}: add one to tests/support/method_batch.py")


def advantages_of(algorithm: Algorithm, data: dict) -> torch.Tensor:
    extra = {name: data[name] for name in algorithm.advantage_needs}
    return algorithm.advantages(data["rewards_B"], data["groups_B"], data["mask_BT"], **extra)


def loss_and_gradient(algorithm: Algorithm, data: dict, advantages_BT, **sizes) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and its gradient with respect to log pi."""
    logps_BT = data["logps_BT"].clone().requires_grad_()
    extra = {name: data[name] for name in needs(algorithm) & set(algorithm.loss_needs)}
    loss, metrics = algorithm.loss(logps_BT, data["old_logps_BT"], advantages_BT, data["mask_BT"], **extra, **sizes)
    loss.backward()
    assert all(value == value for value in metrics.values()), metrics  # no metric is NaN
    return loss.detach(), logps_BT.grad


def select(data: dict, rows) -> dict:
    """The batch of some rows, or of all rows in another order."""
    return {name: value[rows] if name.endswith(("_B", "_BT")) else value for name, value in data.items()}


@dataclass(frozen=True)
class SigmoidGate:
    """SAPO (arXiv 2511.20347), a surrogate that the package does not have: (4 / tau) sigmoid(tau (delta - 1)) A."""

    tau_positive: float = 1.0
    tau_negative: float = 1.05
    needs = ("advantages_BT",)
    clip_range = (0.0, float("inf"))

    def __call__(self, ratio, advantages_BT):
        tau_BT = torch.where(advantages_BT > 0, self.tau_positive, self.tau_negative)
        objective_BT = 4 / tau_BT * torch.sigmoid(tau_BT * (ratio.value_BT - 1)) * advantages_BT
        nowhere_BT = torch.zeros_like(advantages_BT, dtype=torch.bool)
        return Surrogate(objective_BT, nowhere_BT, nowhere_BT, nowhere_BT)
