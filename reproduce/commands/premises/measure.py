"""Sample with the warm model and take updates on the batch, for `figures` to compute the premises from.

Every part is JSON-able and is kept by the command as soon as it is there.
"""

import time
from collections.abc import Callable

import torch

from reproduce.algorithms import load
from reproduce.algorithms.policies import AEPORollout, ARPORollout, Independent, Policy
from reproduce.commands.premises.figures import ENTROPY_TOKENS
from reproduce.rollouts.agent import pilot_entropies
from reproduce.rollouts.collector import Batch, Collector, ScoredGroup
from reproduce.seeding import stream
from reproduce.training.batch_tensors import outcomes_of, padded, path_tensors
from reproduce.training.micro_batches import own_parts, take, values_of, whole_loss
from reproduce.training.token_logps import scored_head, token_logps
from reproduce.training.trainer import AgenticTrainer

MINIBATCHES = 16
AFTER = (1, 4, 16)
"""Updates after which the whole batch is scored."""


def sampled(collector: Collector, questions: list, k: int, policy: Policy, name: str) -> tuple[list[ScoredGroup], dict]:
    """Sample k trajectories for each question.

    Returns:
        The groups, and what they cost: tokens of prompts, sampled and forced tokens, CPU seconds and wall seconds.
    """
    started, cpu = time.perf_counter(), time.process_time()
    groups, rollout = collector.sample(questions, k, ("premises", name), policy)
    trajectories = [t for group in groups for t in group.trajectories]
    cost = {
        "prompt_tokens": sum(len(group.trajectories[0].path.prompt) for group in groups),
        "sampled_tokens": rollout.sampled_tokens,
        "forced_tokens": sum(t.length - t.trained_tokens for t in trajectories),
        "trajectories": len(trajectories),
        "cpu_seconds": time.process_time() - cpu,
        "seconds": time.perf_counter() - started,
    }
    return groups, cost


def independent(groups: list[ScoredGroup], log_vocabulary: float) -> dict:
    """Collect from whole trajectories entropies turn by turn, H_root and H_tool of each as a pilot, success."""
    turns = [[t.segment_entropies() for t in group.trajectories] for group in groups]
    return {
        "turns": turns,
        "pilots": [[pilot_entropies(t, ENTROPY_TOKENS, log_vocabulary) for t in group] for group in turns],
        "correct": [[float(r.correct) for r in group.rewards] for group in groups],
        "format_ok": [[float(r.format_ok) for r in group.rewards] for group in groups],
        "calls": [[t.calls for t in group.trajectories] for group in groups],
    }


class Counted(ARPORollout):
    """ARPO's rollout that counts its branch tests; `AEPOCounted` is AEPO's."""

    tests: list[bool]

    def branch(self, entropy_change: float, consecutive: int, uniform: float) -> bool:
        """Decide as the policy does, and note it."""
        passed = super().branch(entropy_change, consecutive, uniform)
        self.tests.append(passed)
        return passed


class AEPOCounted(Counted, AEPORollout):
    """See `Counted`."""


def counted(kind: type[Counted]) -> Counted:
    """Make a counting policy with the papers' constants."""
    made = kind(entropy_tokens=ENTROPY_TOKENS)
    object.__setattr__(made, "tests", [])
    return made


def trees(groups: list[ScoredGroup], policy: Counted) -> dict:
    """Collect from trees the forks below each root of every question, and the branch tests."""
    found = []
    for group in groups:
        parents = [t.parent for t in group.trajectories]
        roots = {i: 0 for i, parent in enumerate(parents) if parent < 0}
        for i, parent in enumerate(parents):
            at = i
            while parents[at] >= 0:
                at = parents[at]
            roots[at] += parent >= 0
        found.append(list(roots.values()))
    return {"forks": found, "tested": len(policy.tests), "passed": sum(policy.tests)}


def updated(
    model, collector: Collector, groups: list[ScoredGroup], rate: float, tokens_per_pass: int | None, told: Callable
) -> dict:
    """Take 16 GRPO updates on the batch, a mini-batch each, and score all of it after 1, 4 and 16.

    Args:
        model: the policy; it is changed.
        collector: whose temperature the batch has.
        groups: the batch, of independent trajectories.
        rate: the learning rate of AdamW; gradients are clipped at norm 1, there is no weight decay.
        tokens_per_pass: of one pass of the network.
        told: told(update) reports progress.

    Returns:
        "ratios": update -> question -> ratio of every sampled token; "entropies": question -> those at rollout; "cost":
        positions that passed and CPU seconds of passes with a gradient ("trained") and without one ("scored").
    """
    batch = Batch(groups)
    rows = batch.training_rows()
    inputs = path_tensors([r.path for r in rows], collector.grammar.pad_id, "cpu")
    mask_BT = AgenticTrainer.loss_mask(inputs)
    entropies_BT = padded([r.path.entropies for r in rows], "cpu")
    outcomes, grpo = outcomes_of(batch, 0, "cpu"), load("grpo")
    inputs["advantages"], _ = grpo.advantages_and_metrics(
        outcomes.rewards_J, outcomes.groups_J, mask_BT, entropies_BT=entropies_BT
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    head = scored_head(model)

    def score(part, part_mask_BT):
        return token_logps(model, head, part, part_mask_BT, collector.temperature)

    order = stream(collector.seed, "premises", "minibatches").permutation(len(rows))
    cuts = [torch.as_tensor(order[i::MINIBATCHES].copy()) for i in range(MINIBATCHES)]
    lengths_B = inputs["prompt_mask"].sum(1) + inputs["completion_mask"].sum(1)
    cost = dict.fromkeys(("trained_positions", "trained_cpu_seconds", "scored_positions", "scored_cpu_seconds"), 0.0)
    ratios = {}
    for update, chosen in enumerate((c for c in cuts if len(c)), start=1):
        cpu, part = time.process_time(), take(inputs, chosen)
        part_mask_BT = mask_BT[chosen]

        def loss(logps_BT, _, part=part, part_mask_BT=part_mask_BT):
            old, normalizer = part["old_per_token_logps"], part_mask_BT.sum().float().clamp(min=1)
            given = dict(normalizer=normalizer, rows=len(part_mask_BT))
            return grpo.loss(logps_BT, old, part["advantages"], part_mask_BT, entropies_BT=None, **given)[0]

        parts = own_parts(part, part_mask_BT, tokens_per_pass)
        whole_loss(parts, part, part_mask_BT, score, loss, lambda some: some.backward()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        cost["trained_positions"] += float(lengths_B[chosen].sum())
        cost["trained_cpu_seconds"] += time.process_time() - cpu
        if update in AFTER:
            cpu = time.process_time()
            with torch.no_grad():
                parts = own_parts(inputs, mask_BT, tokens_per_pass)
                logps_BT, _ = values_of(parts, inputs, mask_BT, score)
            ratio_BT = (logps_BT - inputs["old_per_token_logps"]).exp()
            ratios[str(update)] = by_question(ratio_BT, mask_BT, outcomes.groups_J, len(groups))
            cost["scored_positions"] += float(lengths_B.sum())
            cost["scored_cpu_seconds"] += time.process_time() - cpu
        told(update)
    entropies = by_question(entropies_BT, mask_BT, outcomes.groups_J, len(groups))
    return {"ratios": ratios, "entropies": entropies, "cost": cost}


def by_question(values_BT, mask_BT, groups_B, count: int) -> list[list[float]]:
    """The values of the sampled tokens of each question."""
    return [values_BT[groups_B == g][mask_BT[groups_B == g]].tolist() for g in range(count)]


POLICIES: dict[str, Callable[[], Policy]] = {
    "independent": Independent,
    "arpo": lambda: counted(Counted),
    "aepo": lambda: counted(AEPOCounted),
}
"""Part -> the policy that its rollouts have."""
