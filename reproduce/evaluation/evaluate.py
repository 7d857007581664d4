"""Evaluate the fixed test panel: n samples per question from the last checkpoint."""

from reproduce.evaluation.kept_batches import KeptBatches
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.records import row_record

BATCH = 512


def evaluate(
    collector: Collector,
    split: str,
    questions: int,
    samples: int,
    checkpoint: str,
    report,
    batch: int = BATCH,
    part: tuple[int, int] = (0, 1),
    kept: KeptBatches | None = None,
) -> list[dict]:
    """Sample trajectories on the first questions of a panel.

    Sampling draws from the stream ("evaluation", split), so two checkpoints of equal weights give equal rows.

    Args:
        collector: samples and scores.
        split: the panel.
        questions: of each family.
        samples: per question.
        checkpoint: its name in the rows.
        report: report(stage, done, total) shows progress, in questions.
        batch: trajectories that are sampled together.
        part: (i, n): only the batches i, i + n, i + 2 n, ...
        kept: holds batches that an earlier session finished, and gets the others; None: nothing is kept.

    Returns:
        Rows of eval.parquet. A row's split is its question's own (the test panel of a world of episodes holds two).
    """
    panel = collector.task.panel(split, questions)
    per_batch = max(1, batch // samples)
    rows = []
    first, every = part
    for start in range(first * per_batch, len(panel), every * per_batch):
        found = None if kept is None else kept.rows(start)
        if found is None:
            found = _batch(
                collector, panel[start : start + per_batch], samples, ("evaluation", split, start), checkpoint
            )
            if kept is not None:
                kept.add(start, found)
        rows += found
        report("evaluate", min(start + per_batch, len(panel)), len(panel))
    return rows


def _batch(collector: Collector, questions: list, samples: int, purpose: tuple, checkpoint: str) -> list[dict]:
    groups, _ = collector.sample(questions, samples, purpose)
    return [
        row_record(group.question, trajectory, group.texts[sample], group.rewards[sample])
        | {"checkpoint": checkpoint, "split": group.question.split, "sample": sample, "gold": group.question.gold}
        for group in groups
        for sample, trajectory in enumerate(group.trajectories)
    ]
