"""Evaluate the fixed test panel: n samples per question from the last checkpoint."""

from reproduce.rollouts.collector import Collector, row_record

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

    Returns:
        Rows of eval.parquet. A row's split is its question's own (the test panel of a world of episodes holds two).
    """
    panel = collector.task.panel(split, questions)
    per_batch = max(1, batch // samples)
    rows = []
    first, every = part
    for start in range(first * per_batch, len(panel), every * per_batch):
        groups, _ = collector.sample(panel[start : start + per_batch], samples, ("evaluation", split, start))
        for group in groups:
            for sample, trajectory in enumerate(group.trajectories):
                record = row_record(group.question, trajectory, group.texts[sample], group.rewards[sample])
                question = group.question
                rows.append(
                    record
                    | {"checkpoint": checkpoint, "split": question.split, "sample": sample, "gold": question.gold}
                )
        report("evaluate", min(start + per_batch, len(panel)), len(panel))
    return rows
