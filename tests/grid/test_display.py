"""The progress display: rate and time left of every stage from its first steps on, sparklines, the log's place."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from run_rows import job

from reproduce.grid import display
from reproduce.grid.display import RUNNING, Display, Pace, RunStatus
from reproduce.grid.sparkline import History, sparkline


def test_a_stage_has_a_rate_and_a_time_left_from_its_second_step_on():
    pace = Pace("warm start", 0.0, 0, 0, 0.0)
    assert pace.text(100, 7.0) == "7 s so far"
    pace = pace.seen("warm start", 10, 20.0)
    assert pace.text(100, 20.0) == "2.0 s each, about 3 min left"
    assert pace.text(100, 25.0) == "2.0 s each, about 3 min left" and pace.seen("warm start", 10, 30.0) is pace
    fast = Pace("evaluate", 0.0, 0, 0, 0.0).seen("evaluate", 50, 10.0)
    assert fast.text(100, 10.0) == "5.0 a second, about 10 s left"
    begun = pace.seen("train", 3, 40.0)
    assert (begun.first, begun.since) == (3, 40.0), "another stage begins where it is: a resumed run is not fast"
    assert begun.seen("train", 4, 50.0).text(24, 50.0) == "10.0 s each, about 3 min left"


def test_a_sparkline_goes_from_the_lowest_to_the_highest_value():
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█" and sparkline([2.0, 2.0]) == "▁▁" and sparkline([]) == ""
    assert sparkline([float("nan"), 1.0, 0.0]) == "█▁"
    long = sparkline([i / 100 for i in range(100)])
    assert len(long) == 16 and long[0] == "▁" and long[-1] == "█"


def step(path: Path, number: int, reward: float | None, entropy: float) -> None:
    (path / "parts").mkdir(parents=True, exist_ok=True)
    metrics = {"reward_mean": reward, "entropy": entropy}
    (path / "parts" / f"{number:06d}.steps.json").write_text(json.dumps({"step": number, "metrics": metrics}))


def test_a_run_at_work_shows_its_reward_and_entropy(tmp_path):
    history = History(tmp_path)
    assert history.text() == ""
    step(tmp_path, 1, 0.0, 0.3)
    assert history.text() == ""
    step(tmp_path, 2, 0.5, 0.1)
    assert history.text() == "reward 0.50 ▁█  entropy 0.10 █▁"
    (tmp_path / "parts" / "000003.steps.json").write_text("{")  # half-written
    assert history.text() == "reward 0.50 ▁█  entropy 0.10 █▁"
    step(tmp_path, 3, None, 0.2)
    assert len(history.read()["reward"]) == 3


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_says_stage_rate_and_log(tmp_path, monkeypatch, terminal):
    clock = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: clock[0])
    row = RunStatus(job(), tmp_path / "grpo" / "0", RUNNING)
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=200, highlight=False, markup=False, soft_wrap=True)
    with Display([row], 1, console) as shown:
        for number, seconds in ((0, 0.0), (1, 40.0)):
            row.path.mkdir(parents=True, exist_ok=True)
            value = {"stage": "train", "step": number, "total_steps": 3, "seconds": seconds}
            (row.path / "progress.json").write_text(json.dumps(value))
            step(row.path, number + 1, 0.1 * number, 0.3)
            clock[0] += 40.0
            shown.update()
    text = out.getvalue()
    assert "train 1/3" in text and "40.0 s each, about 80 s left" in text
    if terminal:
        assert "log.txt" in text and "reward 0.10 ▁█" in text
