"""Settings that a method leaves to the run, and whether the run's updates let every part act."""

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.parts import part_name
from reproduce.errors import UserError


def inert_at_one_update(algorithm: Algorithm) -> tuple[str, ...]:
    """The parts, as "slot part", that change no gradient if a rollout batch is used for a single optimiser step.

    Then pi = pi_old, every ratio is 1, and what such a part does to ratios off 1 (a kept or scaled bound, a capped
    weight, a sequence ratio, a penalty on the ratio) never happens: the method would silently be the one that it was
    meant to improve on. A part says so by `acts_only_off_policy`. PPO-min itself does not: its clip is a safeguard
    that may rest, and GRPO was published with one update.
    """
    return tuple(
        f"{slot} {part_name(slot, part)}"
        for slot, part in algorithm.loss_parts()
        if getattr(part, "acts_only_off_policy", False)
    )


def check_group_size(algorithm: Algorithm, group_size: int) -> None:
    """UserError if a group of one trajectory leaves the method without a signal: every advantage would be 0."""
    if group_size > 1 or not (algorithm.advantage_compares_groups or algorithm.rollout.branches):
        return
    reason = "grows trees" if algorithm.rollout.branches else "compares the trajectories of a group"
    raise UserError(f"{algorithm.name}: it {reason}, so training.group_size must be at least 2")


def for_run(
    algorithm: Algorithm, *, max_completion_tokens: int, updates_per_rollout: int, group_size: int = 2
) -> Algorithm:
    """`algorithm` with the settings filled in that its method leaves to the run.

    max_completion_tokens: the longest completion that the run may sample, which is Dr. GRPO's `length_constant` where
    that is None. updates_per_rollout: optimiser steps per rollout batch (epochs x mini-batches). group_size:
    trajectories per question. Raises UserError if there is only one update and a part of the method is inert then, or
    one trajectory per question and the method compares them.
    """
    check_group_size(algorithm, group_size)
    inert = inert_at_one_update(algorithm)
    if updates_per_rollout < 2 and inert:
        raise UserError(
            f"{algorithm.name}: {' and '.join(inert)} would change nothing with one update per rollout batch, where "
            "every ratio is 1; raise training.epochs or training.minibatches, or choose another part or method"
        )
    if algorithm.settings.get("length_constant", max_completion_tokens) is None:
        return algorithm.with_overrides(length_constant=max_completion_tokens)
    return algorithm
