"""Evaluation, as a run and its warm start share it."""

import json

from reproduce.config.tables import JobConfig
from reproduce.evaluation.evaluate import BATCH, evaluate
from reproduce.evaluation.judge import Judge
from reproduce.evaluation.kept_batches import KeptBatches
from reproduce.evaluation.verdicts import judged
from reproduce.rollouts.collector import Collector
from reproduce.rollouts.kept_episodes import KeptEpisodes
from reproduce.runs.directory import RunDirectory
from reproduce.training.parallel import gathered, sampling_part


def together_of(config: JobConfig) -> int:
    """Trajectories that evaluation samples together: as the config says, else as many as a shard of training has."""
    t = config.training
    if config.evaluation.together is not None:
        return config.evaluation.together
    return BATCH if t.rollout_shards is None else t.prompts_per_step * t.group_size // t.rollout_shards


def panel_rows(
    config: JobConfig, collector: Collector, checkpoint: str, report, kept: KeptBatches | None = None
) -> list[dict]:
    """Rows of the fixed panel; `kept` has those of an earlier attempt. All processes call it, and get all rows."""
    e = config.evaluation
    return _rows(config, collector, (e.split, e.questions, e.samples), checkpoint, report, kept)


class Validation:
    """Evaluations of the validation panel during training (`evaluation.validation`).

    They report no stage of their own: the displays take a stage other than training for the end of it.

    config: the run's. collector: of evaluations.
    """

    def __init__(self, config: JobConfig, collector: Collector):
        self.config, self.collector = config, collector

    def due(self, step: int, last: bool = False) -> bool:
        """Whether one follows RL step `step` (from 1). last: training ends with it."""
        return last or step == self.config.training.steps or step % self.config.evaluation.validation.every == 0

    def __call__(self, step: int) -> list[dict]:
        """Return the rows after RL step `step` (from 1). All processes call it; see `_rows`."""
        v = self.config.evaluation.validation
        panel = ("validation", v.questions, v.samples)
        return _rows(self.config, self.collector, panel, f"step {step}", lambda *_: None)


def _rows(
    config: JobConfig,
    collector: Collector,
    panel: tuple[str, int, int],
    checkpoint: str,
    report,
    kept: KeptBatches | None = None,
) -> list[dict]:
    """Rows of a panel (`evaluate`), of which each process, or group that samples together, has its part.

    panel: split, questions of each family, samples of each. All processes call it, with the weights brought to the
    sampler (`EngineHost.refresh`), and get all rows.
    """
    host = collector.host
    part = sampling_part(host.tensor_parallel)

    def own() -> list[dict]:
        return evaluate(collector, *panel, checkpoint, report, together_of(config), part, kept)

    return [row for rows in gathered(host.led(own) or []) for row in rows]


def with_verdicts(config: JobConfig, setup, rows: list[dict], run: RunDirectory) -> list[dict]:
    """The rows of an evaluation with the judge's verdicts, where the config names a judge; its counts go to the log."""
    if config.judge is None:
        return rows
    e = config.evaluation
    questions = {question.id: question for question in setup.task.panel(e.split, e.questions)}
    run.progress("judge", 0, len(rows))
    with Judge(config.judge, seed=config.seed, session=setup.task.session) as judge:
        rows, counts = judged(rows, questions, judge)
        print(f"judge: {json.dumps(counts | judge.costs())}", flush=True)
    return rows


def keep_episodes(setup, run: RunDirectory, collector: Collector, name: str) -> None:
    """Where the world cannot repeat an episode, finished ones are kept in the run's parts until it is finished."""
    if not setup.task.repeatable:
        collector.kept = KeptEpisodes(run.parts / "episodes" / name)
