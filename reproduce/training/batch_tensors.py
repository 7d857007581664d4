"""A collected batch as tensors: what the trainer needs of it beside the tensors that methods ask for by name."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from trl.trainer.utils import pad

from reproduce.algorithms.parts.state import Outcomes
from reproduce.rollouts.collector import Batch
from reproduce.rollouts.fold import Fold, Whole
from reproduce.rollouts.tensors import rollout_tensors
from reproduce.rollouts.token_path import TokenPath
from reproduce.worlds.rewards import normalise_training


def fold_of(batch: Batch, mask_BT: Tensor) -> Fold | Whole:
    """How the batch's rows join to trajectories.

    Args:
        mask_BT: the loss mask of its training rows.

    Returns:
        `Whole` where a row is a trajectory, `Fold` where it is a turn of one.
    """
    if not batch.single_turns:
        return Whole(mask_BT)
    name = "trajectories_B"
    return Fold(rollout_tensors(batch, (name,), mask_BT.shape[1], mask_BT.device)[name], mask_BT)


def outcomes_of(batch: Batch, step: int, device) -> Outcomes:
    """How every trajectory ended.

    Args:
        step: the RL step, from 0.
        device: of the tensors.
    """
    rows = batch.rows()
    rewards = [group.rewards[i] for _, group, i in rows]
    numbers: dict[int, int] = {}

    def each(values) -> Tensor:
        return torch.tensor(list(values), device=device)

    return Outcomes(
        rewards_J=each(reward.reward for reward in rewards),
        groups_J=each(g for g, _, _ in rows),
        questions_J=each(numbers.setdefault(id(group.question), len(numbers)) for _, group, _ in rows),
        correct_J=each(bool(reward.correct) for reward in rewards),
        sides_J=each(group.side for _, group, _ in rows),
        calls_J=each(group.trajectories[i].calls for _, group, i in rows),
        answers=None if batch.single_turns else [_same(reward.answer) for reward in rewards],
        step=step,
    )


def _same(answer: str | None) -> str | None:
    """The form in which equal answers are equal strings; None where there is nothing to read."""
    return None if answer is None else normalise_training(answer) or answer.strip().lower() or None


def counted(batch: Batch, device, sides: bool) -> Tensor:
    """counted_J: False for trajectories of groups that dynamic sampling rejected, whose advantages are 0.

    A reward that is shaped after the filter (DAPO's overlong penalty) would otherwise turn equal rewards into a
    z-score of lengths.

    Args:
        sides: whether side rows count.
    """
    counts = [not group.rejected and (sides or not group.side) for _, group, _ in batch.rows()]
    return torch.tensor(counts, device=device)


def longest_completions(batch: Batch, device) -> Tensor:
    """lengths_J: tokens of each trajectory's longest completion, which is what the limit on completions is about."""
    trajectories = (group.trajectories[i] for _, group, i in batch.rows())
    return torch.tensor([max(path.length for path in t.paths) for t in trajectories], device=device)


def path_tensors(paths: Sequence[TokenPath], pad_id: int, device) -> dict[str, Tensor]:
    """The paths by TRL's names, a row each: token for token as they were sampled.

    Args:
        pad_id: of the tokenizer.

    Returns:
        prompt_ids, prompt_mask (B, longest prompt): padded on the left. completion_ids, completion_mask (B, T): what
        follows, padded on the right. tool_mask (B, T): 1 where the policy sampled the token. old_per_token_logps
        (B, T): log-probabilities of the sampler, in nats, 0 at forced tokens.
    """
    prompts, completions = [list(path.prompt) for path in paths], [path.completion for path in paths]
    return {
        "prompt_ids": padded(prompts, device, pad_id, "left"),
        "prompt_mask": padded([[1] * len(row) for row in prompts], device, 0, "left"),
        "completion_ids": padded(completions, device, pad_id),
        "completion_mask": padded([[1] * len(row) for row in completions], device),
        "tool_mask": padded([[int(s) for s in path.sampled] for path in paths], device, 1),
        "old_per_token_logps": padded([path.logps for path in paths], device),
    }


def padded(rows: Iterable[Sequence[float]], device, value: int = 0, side: str = "right") -> Tensor:
    """rows_BT: rows of numbers, padded to the longest.

    Args:
        value: of padding. side: "left" or "right".
    """
    return pad([torch.tensor(row) for row in rows], padding_value=value, padding_side=side).to(device)
