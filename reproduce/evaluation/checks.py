"""EPO's own evaluation during training (arXiv 2509.22576, released code): often, on a few tasks that are drawn anew.

Every 5 RL steps it plays 16 tasks of each split, one episode each (temperature 0.4 there). The paper's `Succ.*` is the
best of these evaluations, an order statistic of noise. We show it beside the whole fixed panel at the last checkpoint.
"""

from reproduce.rollouts.episodes import EpisodeCollector
from reproduce.seeding import child_seed
from reproduce.worlds.text_environment import IID, OOD


class Checks:
    """Success on random tasks of each split after every `every` RL steps; it draws from its own streams.

    collector: on the model that trains, with the temperature of the checks. questions: tasks of each split.
    """

    def __init__(self, collector: EpisodeCollector, every: int, questions: int):
        self.collector, self.every, self.questions = collector, every, questions

    def due(self, step: int) -> bool:
        """Whether one follows RL step `step` (from 1)."""
        return step % self.every == 0

    def __call__(self, step: int) -> dict[str, float]:
        """Return check_success_<split> after RL step `step` (from 1); empty if none is due."""
        if not self.due(step):
            return {}
        return {f"check_success_{split}": self._success(split, step) for split in (IID, OOD)}

    def _success(self, split: str, step: int) -> float:
        seed = child_seed(self.collector.seed, "checks", step)
        questions = self.collector.task.random_panel(split, self.questions, seed)
        groups, _ = self.collector.sample(questions, 1, ("checks", split, step))
        return sum(reward.correct for group in groups for reward in group.rewards) / len(groups)
