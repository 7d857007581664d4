"""Prepare a recorded group for a page: turns, lanes, and why each branch is there."""

import math
from collections.abc import Iterator

from reproduce.runs.token_records import BranchTest, RecordedGroup, RecordedPath, RecordedTrajectory, TokenRecord
from reproduce.worlds.tags import BOXED_CLOSE, BOXED_OPEN

ENDS = {
    "eos": "",
    "done": "",
    "length": "cut at the token limit",
    "calls": "ended at the call limit",
    "turns": "ended at the limit of turns",
    "malformed": "ended by an empty call",
}
"""Words for the ways in which a trajectory ends."""
LONGEST_LABEL = 160
SHOWN_SETTINGS = ("alpha", "entropy_weight", "threshold", "entropy_tokens", "decision", "penalty_slope", "beta")
"""Settings of a rollout policy that decide branches, in the order of the page."""


def side(record: TokenRecord, group: RecordedGroup) -> dict:
    """Describe a group for the page: JSON-able, all text as it was recorded."""
    rows = [_row(record, group, trajectory) for trajectory in group.trajectories]
    return {
        "title": f"{record.name}, seed {record.seed}, step {record.step} of {record.steps}",
        "name": record.name,
        "place": f"{record.world}, {group.family}, level {group.level}, question {group.question_id}",
        "prompt": group.prompt,
        "gold": group.gold or "",
        "facts": facts(record, group),
        "forked": branches(record),
        "lanes": lanes(group.trajectories),
        "rows": rows,
        "columns": max((len(row["turns"]) for row in rows), default=0),
    }


def facts(record: TokenRecord, group: RecordedGroup) -> list[str]:
    """List one-line facts of a group: its rewards, how its budget was spent, the rule that branched."""
    rows = group.trajectories
    right = sum(t.correct for t in rows)
    found = [f"{right} of {len(rows)} right, mean reward {sum(t.reward for t in rows) / max(1, len(rows)):.2f}"]
    if group.rejected:
        found.append("dropped by dynamic sampling: every advantage is 0")
    if not branches(record):
        return found
    forks = [t.branch_turn for t in rows if t.parent >= 0]
    late = sum(t.parent < 0 for t in rows) - group.initial
    budget = f"{group.initial} whole at the start (m), {len(forks)} forks, {late} whole at the end (late)"
    if group.pilot is not None:
        root, tool = group.pilot
        budget += f"; m from the pilot: H_root {root:.3f}, H_tool {tool:.3f}"
    found.append(budget)
    if forks:
        turns = (f"{forks.count(turn)} after call {turn}" for turn in sorted(set(forks)))
        found.append(f"forks: {', '.join(turns)}")
    known = [f"{name} {record.policy[name]}" for name in SHOWN_SETTINGS if name in record.policy]
    found.append(f"{record.policy.get('name', '')}: {', '.join(known)}")
    return found


def branches(record: TokenRecord) -> bool:
    """Whether the record's rollout policy branches."""
    return "alpha" in record.policy


def lanes(rows: list[RecordedTrajectory]) -> list[int]:
    """Order rows from top to bottom: each fork below its parent, later forks first, so that no lines cross."""

    def below(row: RecordedTrajectory) -> Iterator[int]:
        yield row.row
        forks = [other for other in rows if other.parent == row.row]
        for fork in sorted(forks, key=lambda other: (-other.branch_turn, other.row)):
            yield from below(fork)

    return [row for root in rows if root.parent < 0 for row in below(root)]


def _row(record: TokenRecord, group: RecordedGroup, t: RecordedTrajectory) -> dict:
    fork = t.parent >= 0
    kind = "fork" if fork else "whole" if t.row < group.initial or not branches(record) else "late"
    return {
        "row": t.row,
        "parent": t.parent,
        "first": t.branch_turn if fork else 0,
        "kind": kind,
        "why": _why_forked(record, group, t),
        "short": _short_reason(record, group, t),
        "reward": t.reward,
        "correct": t.correct,
        "end": ", ".join(filter(None, ["" if t.format_ok else "wrong format", ENDS.get(t.ended, t.ended)])),
        "answer": t.answer,
        "opening": t.opening,
        "turns": [_turn(record, group, t, number, part) for number, part in enumerate(_turns(record, t))],
    }


def _turns(record: TokenRecord, t: RecordedTrajectory) -> list[tuple[RecordedPath, range]]:
    """Path and tokens of each turn."""
    if record.single_turns:
        return [(path, range(len(path.tokens))) for path in t.paths]
    (path,) = t.paths
    count = max(path.turns, default=0) + 1
    ends = [sum(turn < number for turn in path.turns) for number in range(count + 1)]
    return [(path, range(start, end)) for start, end in zip(ends, ends[1:], strict=False)]


def _turn(
    record: TokenRecord, group: RecordedGroup, t: RecordedTrajectory, number: int, part: tuple[RecordedPath, range]
) -> dict:
    path, place = part
    own = [i for i in place if path.sampled[i]]
    action = t.actions[number] if number < len(t.actions) else ""
    text = "".join(path.pieces[i] for i in own)
    test = next((test for test in t.tests if test.turn == number), None)
    fault = t.faults[number] if number < len(t.faults) else ""
    return {
        "label": (action if record.single_turns else label(text, action))[:LONGEST_LABEL] or "(nothing)",
        "fault": fault,
        "result": t.results[number] if number < len(t.results) else None,
        "test": None if test is None else sentence(test, record.policy),
        "forked": test is not None and test.forked,
        "untested": _untested(record, t, number, test),
        "forks": [other.row for other in group.trajectories if other.parent == t.row and other.branch_turn == number],
        "tokens": {
            "text": [path.pieces[i] for i in own],
            "entropy": [path.entropies[i] for i in own],
            "logp": [path.logps[i] for i in own],
            "advantage": [path.advantages[i] for i in own],
            "ratio": [_ratio(path, i) for i in own],
        },
    }


def _ratio(path: RecordedPath, token: int) -> float | None:
    """Ratio of the policy before the last update to the sampler; None where either is not known."""
    old, new = path.logps[token], path.update_logps[-1][token] if path.update_logps else None
    return None if old is None or new is None else round(math.exp(min(50.0, new - old)), 4)


def label(text: str, action: str) -> str:
    """Name a turn by its call: the content of the last tag that the text closes, behind the tool's name."""
    close = text.rfind("</")
    tag = text[close + 2 :].partition(">")[0] if close >= 0 else ""
    start = text.rfind(f"<{tag}>", 0, close) if tag else -1
    if start < 0:
        return f"{action}: {text.strip()}" if action else text.strip()
    content = text[start + len(tag) + 2 : close].strip()
    if content.startswith(BOXED_OPEN):
        content = content.removeprefix(BOXED_OPEN).removesuffix(BOXED_CLOSE).strip()
    return f"{action or tag}: {content}"


def compared_with(test: BranchTest, policy: dict) -> tuple[str, float]:
    """Return the name and the value of what P was compared with."""
    if policy.get("decision") == "bernoulli":
        return "draw", test.draw
    return "threshold", float(policy.get("threshold", math.nan))


def sentence(test: BranchTest, policy: dict) -> str:
    """Say why a branch test had its outcome."""
    name, bound = compared_with(test, policy)
    h, sign = test.baseline + test.entropy_change, ">" if test.forked else "≤"
    outcome = "fork" if test.forked else "no fork"
    return (
        f"Branch test: h {h:.3f} after the result, {test.baseline:.3f} in the first turn, "
        f"so dH {test.entropy_change:+.3f}; l {test.consecutive} forks in a row; "
        f"P {test.probability:.3f} {sign} {name} {bound:.3f}: {outcome} (draw {test.draw:.3f})."
    )


def _test_of(group: RecordedGroup, t: RecordedTrajectory) -> BranchTest | None:
    """The branch test that made a fork."""
    tests = group.trajectories[t.parent].tests if t.parent >= 0 else []
    return next((test for test in tests if test.forked and test.token == t.branch_token), None)


def _short_reason(record: TokenRecord, group: RecordedGroup, t: RecordedTrajectory) -> str:
    test = _test_of(group, t)
    if test is None:
        return ""
    _, bound = compared_with(test, record.policy)
    numbers = (f"{test.entropy_change:+.3f}", f"{test.probability:.3f}", f"{bound:.3f}")
    change, chance, least = (number.replace("0.", ".", 1) for number in numbers)
    return f"dH {change}, l {test.consecutive}: P {chance} > {least}"


def _why_forked(record: TokenRecord, group: RecordedGroup, t: RecordedTrajectory) -> str:
    test = _test_of(group, t)
    return "" if test is None else sentence(test, record.policy)


def _untested(record: TokenRecord, t: RecordedTrajectory, number: int, test: BranchTest | None) -> str:
    """Say why no branch test stands before a turn that follows a tool result; "" where one does, or none could."""
    own = number > max(0, t.branch_turn)
    if test is not None or not branches(record) or not own:
        return ""
    return "No branch test: no fork was left to give, or the turn ended within its first tokens."
