"""Records and metrics of an RL step's rollouts: rows of rollouts.parquet, and what the rollouts alone decide."""

import numpy as np

from reproduce.rollouts.collector import Batch
from reproduce.rollouts.trajectory import Trajectory
from reproduce.runs.schema import POSITIONS, TURNS
from reproduce.worlds.rewards import Reward


def row_record(question, trajectory: Trajectory, text: str, reward: Reward) -> dict:
    """Return the columns of a trajectory in both rollouts.parquet and eval.parquet."""
    return {
        "question_id": question.id,
        "family": question.family,
        "level": question.level,
        "reward": reward.reward,
        "correct": bool(reward.correct),
        "format_ok": bool(reward.format_ok),
        "answer": reward.answer,
        "tool_calls": trajectory.calls,
        "completion_tokens": trajectory.length,
        "sampled_tokens": trajectory.new_tokens,
        "actions": " > ".join(trajectory.actions),
        "text": text,
        "turn_entropies": [float(np.mean(turn)) for turn in trajectory.segment_entropies() if turn],
    }


def rollout_records(batch: Batch) -> list[dict]:
    """Return the rows of rollouts.parquet for one RL step."""
    batch = batch.own()
    return [
        {
            **row_record(group.question, t, group.texts[i], group.rewards[i]),
            "group": g,
            "row": i,
            "parent": t.parent,
            "branch_token": t.branch_token,
            "branch_turn": t.branch_turn,
            "trained_tokens": t.trained_tokens,
        }
        for g, group, i in batch.rows()
        for t in [group.trajectories[i]]
    ]


def batch_metrics(batch: Batch, entropy_tokens: int) -> dict[str, float]:
    """Compute the metrics of one RL step that the rollouts alone decide (names and units: analysis/README.md).

    Entropies are in nats, at rollout. "After a result" is the first `entropy_tokens` tokens of a turn that follows a
    tool result, "mid segment" all other sampled tokens.
    """
    batch = batch.own()
    rows = [group.trajectories[i] for _, group, i in batch.rows()]
    rewards = [group.rewards[i] for _, group, i in batch.rows()]
    segments = [t.segment_entropies() for t in rows]
    after = [e for turns in segments for turn in turns[1:] for e in turn[:entropy_tokens]]
    middle = [e for turns in segments for e in turns[0]]
    middle += [e for turns in segments for turn in turns[1:] for e in turn[entropy_tokens:]]
    metrics = {
        "reward_mean": _mean([r.reward for r in rewards]),
        "success_mean": _mean([float(r.correct) for r in rewards]),
        "format_ok_mean": _mean([float(r.format_ok) for r in rewards]),
        "tool_calls_mean": _mean([t.calls for t in rows]),
        "completion_tokens_mean": _mean([t.length for t in rows]),
        "trained_tokens": float(sum(t.trained_tokens for t in rows)),
        "trajectories": float(len(rows)),
        "entropy": _mean(after + middle),
        "entropy_after_result": _mean(after),
        "entropy_mid_segment": _mean(middle),
        **batch.cost,
    }
    for i in range(TURNS):
        metrics[f"entropy_turn_{i}"] = _mean([e for turns in segments if len(turns) > i for e in turns[i]])
    for i in range(POSITIONS):
        metrics[f"entropy_pos_{i}"] = _mean([turn[i] for turns in segments for turn in turns[1:] if len(turn) > i])
    metrics["high_entropy_follow"], metrics["high_entropy_base"] = consecutive_high(
        [[float(np.mean(turn[:entropy_tokens])) for turn in turns[1:] if turn] for turns in segments]
    )
    if batch.single_turns:
        metrics["entropy_early"], metrics["entropy_late"] = early_and_late(segments)
    return metrics


def early_and_late(segments: list[list[list[float]]]) -> tuple[float, float]:
    """Compute the mean entropy of the tokens in the first and in the last third of each trajectory's turns, in nats.

    Both thirds are rounded up, so that a trajectory of one turn counts in both.

    Args:
        segments: per trajectory and turn, the entropies of its tokens.
    """
    early = [e for turns in segments for turn in turns[: -(-len(turns) // 3)] for e in turn]
    late = [e for turns in segments for turn in turns[len(turns) - -(-len(turns) // 3) :] for e in turn]
    return _mean(early), _mean(late)


def consecutive_high(heights: list[list[float]]) -> tuple[float, float]:
    """Compute how often a high-entropy tool step follows another one, and how often it would in random order.

    High means above the median of all steps.

    Args:
        heights: per trajectory, the entropy of each tool step in order.

    Returns:
        The share of high steps (with a predecessor) whose predecessor is high too, and its expectation when the steps
            are shuffled inside their trajectories, in closed form: h (h - 1) / n pairs and h (n - 1) / n candidates for
            a trajectory with h high ones among n. NaN if no high step has a predecessor.
    """
    pooled = [h for steps in heights for h in steps]
    if not pooled:
        return float("nan"), float("nan")
    middle = float(np.median(pooled))
    pairs = candidates = expected_pairs = expected_candidates = 0.0
    for steps in heights:
        high = [h > middle for h in steps]
        n, count = len(high), sum(high)
        pairs += sum(a and b for a, b in zip(high, high[1:], strict=False))
        candidates += sum(high[1:])
        if n > 1:
            expected_pairs += count * (count - 1) / n
            expected_candidates += count * (n - 1) / n
    return (
        pairs / candidates if candidates else float("nan"),
        expected_pairs / expected_candidates if expected_candidates else float("nan"),
    )


def _mean(values: list) -> float:
    return float(np.mean(values)) if values else float("nan")
