"""Small configs and rows for the tests of runs, configs and the grid; no model, no world."""

from reproduce.config.tables import JobConfig

CONFIG = {
    "profile": "smoke",
    "experiment": "table2",
    "method": "grpo",
    "seed": 0,
    "task": {"max_tool_calls": 4, "max_completion_tokens": 64},
    "model": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "num_kv_heads": 1, "intermediate_size": 32},
    "warm_start": {"demonstrations": 8, "noise": 0.2, "max_epochs": 1, "learning_rate": 1e-3, "batch_size": 4},
    "training": {
        "steps": 3,
        "prompts_per_step": 2,
        "group_size": 2,
        "epochs": 1,
        "minibatches": 2,
        "learning_rate": 1e-3,
    },
    "evaluation": {"questions": 2, "samples": 2},
}


def job(**changes) -> JobConfig:
    """The small config; `training={"steps": 5}` changes one key of a section, `seed=1` a plain key."""
    data = {**CONFIG}
    for name, value in changes.items():
        data[name] = {**CONFIG[name], **value} if isinstance(CONFIG.get(name), dict) else value
    return JobConfig.from_dict(data)


def metrics(step: int) -> dict[str, float]:
    return {"reward_mean": 0.1 * step, "success_mean": 0.5, "entropy": 1 / step, "sampled_tokens": 10.0 * step}


def rollouts(step: int, text: str = "<think> a </think>") -> list[dict]:
    """Four trajectories of a step, deliberately not in order."""
    rows = []
    for group in (1, 0):
        for row in (0, 1):
            rows.append(
                {
                    "group": group,
                    "row": row,
                    "question_id": f"q{group}",
                    "family": "mini-math",
                    "level": 1,
                    "parent": -1 if row == 0 else 0,
                    "branch_token": -1 if row == 0 else 3,
                    "branch_turn": -1,
                    "reward": float(row),
                    "correct": bool(row),
                    "format_ok": True,
                    "tool_calls": 1,
                    "completion_tokens": 9,
                    "sampled_tokens": 8,
                    "trained_tokens": 8,
                    "actions": "search > answer",
                    "turn_entropies": [0.5, step / 10],
                    "answer": None if row == 0 else "7",
                    "text": f"{text} {step}",
                }
            )
    return rows


def evaluations(
    checkpoint: str = "last", questions: int = 2, text: str = "t", right=lambda question, sample: True
) -> list[dict]:
    """Two samples of each question; right(question, sample): whether one is correct."""
    return [
        {
            "checkpoint": checkpoint,
            "question_id": f"q{question:03d}",
            "family": "mini-math",
            "level": 1,
            "split": "test",
            "sample": sample,
            "reward": 1.0,
            "correct": right(question, sample),
            "format_ok": True,
            "answer": "7",
            "gold": "7",
            "tool_calls": 1,
            "completion_tokens": 9,
            "sampled_tokens": 8,
            "actions": "answer",
            "turn_entropies": [0.25],
            "text": f"{text}{question}{sample}",
        }
        for question in reversed(range(questions))
        for sample in (0, 1)
    ]
