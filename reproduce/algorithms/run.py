"""Fill in what a method leaves to the run, and check that the run's updates let every part act."""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import part_name
from reproduce.errors import UserError


def inert_at_one_update(algorithm: Algorithm) -> tuple[str, ...]:
    """List the parts, as "slot part", that change no gradient if a rollout batch is used for a single optimiser step.

    With one step pi = pi_old and every ratio is 1. A part that acts on ratios other than 1 (a kept or scaled bound, a
    capped weight, a sequence ratio, a penalty on the ratio) then never acts, and the method is silently the one that it
    should improve on. Such a part sets `acts_only_off_policy`. PPO-min does not: its clip is a safeguard that may rest,
    and GRPO was published with one update.
    """
    return tuple(
        f"{slot} {part_name(slot, part)}"
        for slot, part in algorithm.loss_parts()
        if getattr(part, "acts_only_off_policy", False)
    )


def check_group_size(algorithm: Algorithm, group_size: int) -> None:
    """Refuse groups of one trajectory for a method that compares trajectories: every advantage would be 0.

    Raises:
        UserError: the group is too small for the method.
    """
    if group_size > 1 or not (algorithm.advantage_compares_groups or algorithm.rollout.branches):
        return
    reason = "grows trees" if algorithm.rollout.branches else "compares the trajectories of a group"
    raise UserError(f"{algorithm.name}: it {reason}, so training.group_size must be at least 2")


def for_run(
    algorithm: Algorithm,
    *,
    max_completion_tokens: int,
    updates_per_rollout: int,
    group_size: int = 2,
    stale_steps: int = 0,
) -> Algorithm:
    """Fill in the settings that a method leaves to the run.

    Args:
        algorithm: the method.
        max_completion_tokens: the longest completion that the run may sample, in tokens. It becomes Dr. GRPO's
            `length_constant` if that is None.
        updates_per_rollout: optimiser steps per rollout batch (epochs x mini-batches).
        group_size: trajectories per question.
        stale_steps: RL steps by which the weights that sample are older than those that the step begins to train. With
            any, ratios differ from 1 at the first update.

    Returns:
        The method with these settings.

    Raises:
        UserError: there is only one update and a part of the method is inert then, or there is one trajectory per
            question and the method compares them, or rollouts are stale and the loss reads no ratio.
    """
    check_group_size(algorithm, group_size)
    inert = inert_at_one_update(algorithm)
    if stale_steps and getattr(algorithm.surrogate, "only_on_policy", False):
        part = part_name("surrogate", algorithm.surrogate)
        raise UserError(
            f"{algorithm.name}: surrogate {part} reads no ratio and so takes every row for one of the current policy; "
            "set training.stale_steps to 0, or importance_weight to true"
        )
    if updates_per_rollout < 2 and not stale_steps and inert:
        raise UserError(
            f"{algorithm.name}: {' and '.join(inert)} would change nothing with one update per rollout batch, where "
            "every ratio is 1; raise training.epochs or training.minibatches, or choose another part or method"
        )
    if algorithm.settings.get("length_constant", max_completion_tokens) is None:
        return algorithm.with_overrides(length_constant=max_completion_tokens)
    return algorithm
