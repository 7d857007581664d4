"""A coefficient that holds the policy's entropy near a share of its first value, and weights by difficulty."""

import torch
from torch import Tensor

from reproduce.algorithms.parts.state import Outcomes, RolloutBatch, State

COEFFICIENT = "difficulty_coefficient"
WEIGHT = "difficulty_weights_BT"


def difficulty_weights(correct_J: Tensor, groups_J: Tensor, threshold: float) -> Tensor:
    """Compute 1 - accuracy of each trajectory's group, 0 where the accuracy is at least `threshold`.

    Args:
        correct_J: bool (J,). groups_J: group ids (J,).

    Returns:
        weights_J (J,), float.
    """
    _, index_J = torch.unique(groups_J, return_inverse=True)
    correct_G = torch.bincount(index_J, weights=correct_J.to(torch.get_default_dtype()))
    accuracy_J = (correct_G / index_J.bincount())[index_J].to(torch.get_default_dtype())
    return torch.where(accuracy_J < threshold, 1.0 - accuracy_J, 0.0)


def controlled(coefficient: float, entropy: float, target: float, rate: float) -> float:
    """Compute max(0, c + rate (target - entropy)); entropies in nats."""
    return max(0.0, coefficient + rate * (target - entropy))


class EntropyTarget(State):
    """The entropy of the first step's rollouts, and the coefficient c.

    threshold: of accuracy. share: of the first entropy. rate: of the controller, per nat. start: the first c. metrics:
    names of c, target, entropy and mean weight.
    """

    name = "entropy_target"
    reads = ("entropies_BT",)
    makes = (WEIGHT,)

    def __init__(self, threshold: float, share: float, rate: float, start: float, metrics: tuple[str, ...]):
        self.coefficient, self.first_entropy = start, None
        self._threshold, self._share, self._rate, self._metrics = threshold, share, rate, metrics

    def on_batch(self, batch: RolloutBatch) -> tuple[dict[str, Tensor], dict[str, float]]:
        outcomes: Outcomes = batch.outcomes
        weights_J = difficulty_weights(outcomes.correct_J, outcomes.groups_J, self._threshold)
        heights = batch.tensors["entropies_BT"]
        entropy = float(heights[batch.mask_BT].double().mean())
        if self.first_entropy is None:
            self.first_entropy = entropy
        target = self._share * self.first_entropy
        self.coefficient = controlled(self.coefficient, entropy, target, self._rate)
        found = (self.coefficient, target, entropy, float(weights_J.mean()))
        weights_BT = batch.fold.split(weights_J[:, None].expand(batch.fold.mask_JL.shape).to(heights.dtype))
        return {WEIGHT: weights_BT}, dict(zip(self._metrics, found, strict=True))

    def numbers(self) -> dict[str, float]:
        return {COEFFICIENT: self.coefficient}

    def state_dict(self) -> dict:
        return {"coefficient": self.coefficient, "first_entropy": self.first_entropy}

    def load_state_dict(self, state: dict) -> None:
        self.coefficient, self.first_entropy = state["coefficient"], state["first_entropy"]
