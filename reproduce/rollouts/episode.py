"""One episode of a multi-turn environment, turn by turn."""

from dataclasses import dataclass, field, replace

from reproduce.rollouts.token_path import TokenPath
from reproduce.text import clean
from reproduce.worlds.episode_task import EpisodeQuestion
from reproduce.worlds.messages import Turn as PastTurn
from reproduce.worlds.text_environment import EpisodeLost, Step, TextEnvironment


@dataclass(frozen=True)
class Turn:
    """A turn: the observation that it started from, message and answer in tokens, and the command that was played.

    fault: what is wrong with the answer's format, "" if nothing is.
    """

    observation: str
    path: TokenPath
    response: str
    command: str
    fault: str


@dataclass(eq=False)
class Episode:
    """One episode of a group, in the terms of `trajectory.Trajectory`.

    environment: what plays it, once it has begun. step: the environment's last answer.
    """

    question: EpisodeQuestion
    group: int
    row: int
    environment: TextEnvironment | None = None
    step: Step = Step("")
    turns: list[Turn] = field(default_factory=list)

    single_turns = True
    parent = branch_token = branch_turn = -1  # episodes do not fork
    tests = ()

    def start(self) -> None:
        """Begin at the task's first observation. An environment that gets lost in doing so is asked again."""
        self.turns.clear()
        while True:
            try:
                self.step = _cleaned(self.environment.reset(self.question.task))
                return
            except EpisodeLost:
                continue

    def play(self, path: TokenPath, response: str, form) -> None:
        """Add the turn that sampled `path`. Raises EpisodeLost, without the turn, if the environment gets lost."""
        action = form.action(response, self.step)
        after = _cleaned(self.environment.step(action.text))
        self.turns.append(Turn(self.step.text, path, response, action.text, action.fault))
        self.step = after

    @property
    def paths(self) -> list[TokenPath]:
        """Paths to train on: one per turn."""
        return [turn.path for turn in self.turns]

    @property
    def observations(self) -> list[str]:
        """The observation that each turn started from, in the environment's own words."""
        return [turn.observation for turn in self.turns]

    @property
    def opening(self) -> str:
        """The observation that the episode starts from."""
        return self.turns[0].observation if self.turns else self.step.text

    @property
    def results(self) -> list[str]:
        """The observation that each turn led to."""
        return [*self.observations[1:], self.step.text] if self.turns else []

    @property
    def faults(self) -> list[str]:
        """Faults of each turn's answer in format, "" where there is none."""
        return [turn.fault for turn in self.turns]

    @property
    def ended(self) -> str:
        """ "done" if the environment ended the episode, "turns" at the limit of turns."""
        return "done" if self.step.done else "turns"

    @property
    def actions(self) -> list[str]:
        """The commands that were played."""
        return [turn.command for turn in self.turns]

    @property
    def past(self) -> list[PastTurn]:
        """Turns that the next message may show."""
        return [PastTurn(turn.observation, turn.command) for turn in self.turns]

    @property
    def calls(self) -> int:
        """Turns played."""
        return len(self.turns)

    @property
    def length(self) -> int:
        """Completion tokens of all turns; this episode alone sampled all of them, and all are trained on."""
        return sum(path.length for path in self.paths)

    new_tokens = trained_tokens = length

    def segment_entropies(self) -> list[list[float]]:
        """List the entropies (nats) of the sampled tokens, turn by turn."""
        return [path.entropies for path in self.paths]

    @property
    def text(self) -> str:
        """Observations and answers, turn by turn, and the last observation."""
        said = [f"{turn.observation}\n> {turn.response}" for turn in self.turns]
        return "\n".join([*said, self.step.text])


def _cleaned(step: Step) -> Step:
    """The step with its observation as valid text, which a file and a tokenizer can hold."""
    return replace(step, text=clean(step.text))
