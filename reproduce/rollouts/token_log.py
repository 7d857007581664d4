"""Write the groups of an RL step as records, token by token (`runs.token_records`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from reproduce.rollouts.collector import ScoredGroup
from reproduce.rollouts.token_path import TokenPath
from reproduce.runs.token_records import RecordedGroup, RecordedPath, RecordedTrajectory, rounded

Decode = Callable[[Sequence[int]], str]
"""Text of token ids, special tokens included."""
WINDOW = 6
"""Tokens that a token's text may depend on: a character of four bytes takes four tokens at most."""
HALF = "\ufffd"
"""What a decoder gives for a character whose last bytes are missing."""


def group_record(group: ScoredGroup, columns: Iterator[Mapping[str, list]], decode: Decode) -> RecordedGroup:
    """Write a group as a record.

    Args:
        group: the group.
        columns: for each path of the group, in order, the numbers of its tokens that the trainer has: advantages,
            trainer_logps, trainer_entropies and update_logps, by name.
        decode: makes text of token ids.
    """
    paths = [t.paths for t in group.trajectories]
    return RecordedGroup(
        question_id=group.question.id,
        family=group.question.family,
        level=int(group.question.level),
        prompt=decode(paths[0][0].prompt) if paths and paths[0] else "",
        gold=group.question.gold,
        initial=group.initial,
        pilot=None if group.pilot is None else [float(value) for value in group.pilot],
        rejected=group.rejected,
        trajectories=[
            RecordedTrajectory(
                row=row,
                parent=t.parent,
                branch_token=t.branch_token,
                branch_turn=t.branch_turn,
                ended=t.ended,
                reward=float(reward.reward),
                correct=bool(reward.correct),
                format_ok=bool(reward.format_ok),
                answer=reward.answer,
                opening=t.opening,
                actions=list(t.actions),
                results=list(t.results),
                faults=list(t.faults),
                tests=list(t.tests),
                paths=[_path(path, next(columns), decode) for path in t.paths],
            )
            for row, (t, reward) in enumerate(zip(group.trajectories, group.rewards, strict=True))
        ],
    )


def _path(path: TokenPath, columns: Mapping[str, list], decode: Decode) -> RecordedPath:
    return RecordedPath(
        tokens=[int(token) for token in path.completion],
        pieces=pieces(path.completion, decode),
        sampled=[bool(sampled) for sampled in path.sampled],
        turns=list(path.turns),
        logps=rounded(path.logps),
        entropies=rounded(path.entropies),
        **columns,
    )


def pieces(tokens: Sequence[int], decode: Decode) -> list[str]:
    """Split the text of tokens into the part that each token adds.

    A token that ends inside a character adds nothing, and the one that completes it adds all of it. The pieces join to
    the text of the tokens.

    Args:
        tokens: token ids.
        decode: makes text of token ids.
    """
    found: list[str] = []
    before, done = 0, 0  # decoded together from `before`; text of the tokens up to `done` is in `found`
    for end in range(1, len(tokens) + 1):
        known, text = decode(tokens[before:done]), decode(tokens[before:end])
        if text.endswith(HALF) and end < len(tokens) and end - done < WINDOW:
            found.append("")
            continue
        found.append(text[len(known) :])
        before, done = done, end
    return found
