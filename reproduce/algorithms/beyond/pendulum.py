"""Pendulum-v1, many at a time: the dynamics of Gymnasium's `classic_control/pendulum` (v1), without the package.

State (theta, speed), theta 0 upright; torque u in [-2, 2]; g = 10, mass and length 1, steps of 0.05 s:
speed <- clip(speed + (15 sin theta + 3 u) 0.05, -8, 8), theta <- theta + speed 0.05, after the reward
-(theta^2 + 0.1 speed^2 + 0.001 u^2) with theta in [-pi, pi). An episode has 200 steps and starts at theta in (-pi, pi),
speed in (-1, 1), both uniform. Observation: (cos theta, sin theta, speed).
"""

import math

import torch
from torch import Tensor

STEPS, MOST_TORQUE, MOST_SPEED, SECONDS = 200, 2.0, 8.0, 0.05


def first_states(count: int, generator: torch.Generator) -> Tensor:
    """Draw the states (count, 2) of episodes that begin."""
    return (2 * torch.rand(count, 2, generator=generator) - 1) * torch.tensor([math.pi, 1.0])


def observed(states: Tensor) -> Tensor:
    """The observations (N, 3) of states (N, 2)."""
    angle, speed = states.unbind(-1)
    return torch.stack([angle.cos(), angle.sin(), speed], -1)


def played(states: Tensor, torques: Tensor) -> tuple[Tensor, Tensor]:
    """The next states (N, 2) and the rewards (N,) of torques (N,), which are clipped first."""
    angle, speed = states.unbind(-1)
    torques = torques.clamp(-MOST_TORQUE, MOST_TORQUE)
    near = (angle + math.pi) % (2 * math.pi) - math.pi
    rewards = -(near**2 + 0.1 * speed**2 + 0.001 * torques**2)
    speed = (speed + (15.0 * angle.sin() + 3.0 * torques) * SECONDS).clamp(-MOST_SPEED, MOST_SPEED)
    return torch.stack([angle + speed * SECONDS, speed], -1), rewards
