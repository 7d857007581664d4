"""RPO (arXiv 2212.07536) on Pendulum-v1: `python -m reproduce.algorithms.beyond.rpo`, beside PPO.

PPO with a Gaussian policy, and one line more: where stored actions are evaluated again for an update, z ~ U(-alpha,
alpha) is added to the mean, in every dimension and evaluation. Sampling is not perturbed. So ratios differ from 1 in
the first mini-batch already, the gradient of the mean is (a - mean - z) / sigma^2, and the entropy, of sigma alone, is
as it was. alpha 0 is PPO.

Settings are CleanRL's `rpo_continuous_action` where it has them: alpha 0.5, batches of 2048 steps, 32 mini-batches, 10
epochs, learning rate 3e-4 falling linearly, gamma 0.99, lambda 0.95, clip 0.2, value weight 0.5, gradient norm 0.5.
Assumed, for a few minutes on a CPU: 16 pendulums of 128 steps each; fixed scales in place of running ones (speed / 8,
reward / 16); an unclipped value loss.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reproduce.algorithms.beyond import pendulum

PENDULUMS, LENGTH, EPOCHS, PARTS, CLIP, GAMMA, LAMBDA = 16, 128, 10, 32, 0.2, 0.99, 0.95


class Agent(nn.Module):
    """A Gaussian policy over torques, and a value."""

    def __init__(self):
        super().__init__()
        self.mean, self.value = (self._network() for _ in range(2))
        self.log_sigma = nn.Parameter(torch.zeros(()))

    @staticmethod
    def _network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))

    def log_probs(self, observations: Tensor, torques: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
        """Log-probabilities (N,) of torques, with means that noise up to alpha has moved."""
        mean = self.mean(observations)[:, 0]
        mean = mean + alpha * (2 * torch.rand(mean.shape, generator=generator) - 1)  # the line that PPO does not have
        return torch.distributions.Normal(mean, self.log_sigma.exp()).log_prob(torques)


@dataclass
class Rollouts:
    """A batch of steps (N = LENGTH * PENDULUMS): observations (N, 3), all else (N,)."""

    observations: Tensor
    torques: Tensor
    old: Tensor
    advantages: Tensor
    returns: Tensor


class World:
    """The pendulums between batches, and the returns of episodes that ended."""

    def __init__(self, generator: torch.Generator):
        self.generator, self.steps = generator, 0
        self.states, self.totals = pendulum.first_states(PENDULUMS, generator), torch.zeros(PENDULUMS)
        self.ended: list[float] = []

    @torch.no_grad()
    def collect(self, agent: Agent) -> Rollouts:
        seen, torques, logs, values, rewards, ends = [], [], [], [], [], []
        for _ in range(LENGTH):
            seen.append(self._seen())
            values.append(agent.value(seen[-1])[:, 0])
            policy = torch.distributions.Normal(agent.mean(seen[-1])[:, 0], agent.log_sigma.exp())
            torques.append(policy.mean + policy.stddev * torch.randn(PENDULUMS, generator=self.generator))
            logs.append(policy.log_prob(torques[-1]))
            self.states, reward = pendulum.played(self.states, torques[-1])
            rewards.append(reward / 16)
            self.totals, self.steps = self.totals + reward, self.steps + 1
            ends.append(self.steps % pendulum.STEPS == 0)
            if ends[-1]:  # cut by time, so the value of the last state counts
                rewards[-1] = rewards[-1] + GAMMA * agent.value(self._seen())[:, 0]
                self.ended += self.totals.tolist()
                self.states, self.totals = pendulum.first_states(PENDULUMS, self.generator), torch.zeros(PENDULUMS)
        advantages, after, ahead = [], agent.value(self._seen())[:, 0], torch.zeros(PENDULUMS)
        for reward, value, end in zip(reversed(rewards), reversed(values), reversed(ends), strict=True):
            ahead = reward + GAMMA * after * (not end) - value + GAMMA * LAMBDA * ahead * (not end)
            after = value
            advantages.insert(0, ahead)
        observations, torques, old, values, advantages = map(torch.cat, (seen, torques, logs, values, advantages))
        return Rollouts(observations, torques, old, advantages, advantages + values)

    def _seen(self) -> Tensor:
        return pendulum.observed(self.states) * torch.tensor([1.0, 1.0, 1 / pendulum.MOST_SPEED])


def loss_of(agent: Agent, batch: Rollouts, rows: Tensor, alpha: float, generator: torch.Generator) -> Tensor:
    """PPO's loss of some rows of a batch, with re-evaluated actions."""
    logs = agent.log_probs(batch.observations[rows], batch.torques[rows], alpha, generator)
    ratio, a = (logs - batch.old[rows]).exp(), batch.advantages[rows]
    a = (a - a.mean()) / (a.std() + 1e-8)
    value = (agent.value(batch.observations[rows])[:, 0] - batch.returns[rows]).square().mean()
    return -torch.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + CLIP) * a).mean() + 0.5 * 0.5 * value


def train(alpha: float, iterations: int, seed: int) -> tuple[Agent, list[float], list[float]]:
    """Train for so many batches. Returns the agent, log sigma after each, and the returns of all episodes in order."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    agent, world, sigmas = Agent(), World(generator), []
    optimiser = torch.optim.Adam(agent.parameters(), lr=3e-4, eps=1e-5)
    for iteration in range(iterations):
        optimiser.param_groups[0]["lr"] = 3e-4 * (1 - iteration / iterations)
        batch = world.collect(agent)
        for _ in range(EPOCHS):
            for rows in torch.randperm(PENDULUMS * LENGTH, generator=generator).chunk(PARTS):
                optimiser.zero_grad()
                loss_of(agent, batch, rows, alpha, generator).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimiser.step()
        sigmas.append(float(agent.log_sigma.detach()))
    return agent, sigmas, world.ended


def main(iterations: int = 100) -> None:
    """Print returns and sigma of PPO and RPO."""
    for name, alpha in (("PPO", 0.0), ("RPO", 0.5)):
        _, sigmas, returns = train(alpha, iterations, seed=1)
        first, last = sum(returns[:16]) / 16, sum(returns[-16:]) / 16
        print(f"{name}: return {first:.0f}, at last {last:.0f}; log sigma {sigmas[0]:.2f}, at last {sigmas[-1]:.2f}")


if __name__ == "__main__":
    main()
