"""Small synthetic published results of table 6: its rows with their settings, and trees whose doses are known."""

import pandas as pd
from synthetic import STEPS, TRAINING, save, step_rows, write_results

from analysis.dose_response import CELLS, NONE
from reproduce.config.tables import TableConfig
from reproduce.runs import schema

K, GROUPS = 16, 4
SHIFT = {"beta-0.5": 0, "beta-2": 1, "beta-5": 2, "beta-10": 2, "beta-20": 3}
"""Row -> how far m lies from k/2, up in one half of the groups and down in the other."""
TOP = {"whole-0.125": 9, "whole-0.125-penalty-0.05": 8, "whole-0.125-penalty-0.2": 6}
"""Row -> the branches of 14 that descend from the first trajectory; every other row: as many as of any other."""
BOUND = {"updates-32": 0.004, "keep-32": 0.004}


def variants() -> dict[str, dict]:
    """The rows of table 6 as `config.yaml` of published results has them."""
    jobs = TableConfig.load("6").jobs("mini", ["all"], [0])
    varied = ("minibatches", "learning_rate")
    return {
        job.name: {
            "method": job.method,
            "algorithm": job.algorithm,
            "training": {name: getattr(job.training, name) for name in varied},
        }
        for job in jobs
    }


def write_doses(data_root, rows=None, seeds=(0, 1, 2), **success):
    """Published results of table 6 with rollouts; returns `data_root`. rows: None: all. success: of rows, with _ for -
    (default 0.4)."""
    names = list(rows or (NONE, *CELLS))
    chosen = {name: success.get(name.replace("-", "_").replace(".", "_"), 0.4) for name in names}
    settings = {name: row for name, row in variants().items() if name in names}
    write_results(data_root, chosen, seeds, table="table6", variants=settings, questions=12)
    folder = data_root / "results" / "mini" / "table6"
    runs = [(name, seed) for name in names for seed in seeds]
    steps = pd.concat([_steps(name, seed) for name, seed in runs])
    save(steps, folder / "steps.parquet", "steps")
    save(pd.concat([_rollouts(name, seed) for name, seed in runs]), folder / "rollouts.parquet", "rollouts")
    assert TRAINING["epochs"] == 2  # with 4 mini-batches the audit's 8 updates
    return data_root


def _budgets(name: str) -> list[int]:
    share, shift = CELLS[name].at if name.startswith("whole") else 0.5, SHIFT.get(name, 0)
    return [int(K * share) + (shift if group % 2 else -shift) for group in range(GROUPS)]


def _steps(name: str, seed: int) -> pd.DataFrame:
    mean = sum(_budgets(name)) / GROUPS
    found = step_rows(name, seed).assign(method=name, seed=seed, tree_initial_mean=mean)
    return found.assign(clip_fraction_high=BOUND.get(name, 0.001), outside_top20_share=0.95, success_mean=0.5)


def _rollouts(name: str, seed: int) -> pd.DataFrame:
    rows = []
    for step in (1, STEPS):
        for group, m in enumerate(_budgets(name)):
            for row in range(K):
                fork = row - m
                under_first = fork < TOP.get(name, 0)
                parent = -1 if fork < 0 else 0 if fork == 0 else row - 1 if under_first else 1 + fork % (m - 1)
                rows.append({"step": step, "group": group, "row": row, "parent": parent, "tool_calls": 6})
    text = {"question_id": "q", "family": "mini-deepsearch", "actions": "search", "answer": "a", "text": None}
    frame = pd.DataFrame(rows).assign(**text, turn_entropies=[[0.1]] * len(rows), correct=True, format_ok=True)
    frame = frame.reindex(columns=schema.ROLLOUTS_SCHEMA.names, fill_value=0).astype({"reward": float})
    return frame.assign(method=name, seed=seed)
