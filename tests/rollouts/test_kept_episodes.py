"""Finished episodes survive a kill where the environment cannot repeat them."""

import json
from dataclasses import replace

import pytest
import torch
from house import collector, config, model, setup_of

from reproduce.rollouts.episode import Episode
from reproduce.rollouts.kept_episodes import KeptEpisodes, fingerprint
from reproduce.runs.directory import RunDirectory
from reproduce.training.job import run_job
from reproduce.training.prepare import prepare_warm_start


class Killed(BaseException):
    """Stands for the end of the process."""


def keeper(folder, lm=None):
    """A collector that plays three episodes at a time and keeps the finished ones in `folder`."""
    made = collector(lm, job=config(episodes={"at_a_time": 3}))
    made.kept = KeptEpisodes(folder)
    return made


def sampled(made):
    """Two tasks, four episodes each: (group, row) -> tokens and log-probs of every turn, and the rollout."""
    groups, rollout = made.sample(made.task.train_questions(2, 1), 4, ("train", 1))
    return {
        (e.group, e.row): [(p.tokens, p.logps, p.entropies, p.turns, p.finish) for p in e.paths]
        for group in groups
        for e in group.trajectories
    }, rollout


def cut_after(monkeypatch, starts):
    """The process ends when episode number `starts` + 1 begins."""
    begun, start = [], Episode.start

    def counted(episode):
        begun.append((episode.group, episode.row))
        if len(begun) > starts:
            raise Killed
        start(episode)

    monkeypatch.setattr(Episode, "start", counted)
    return begun


def interrupted(tmp_path, monkeypatch, starts=6):
    """A folder that a call left which was killed after `starts` episodes had begun."""
    with monkeypatch.context() as patch:
        cut_after(patch, starts)
        with pytest.raises(Killed):
            sampled(keeper(tmp_path / "kept"))
    (path,) = (tmp_path / "kept").glob("*.jsonl")
    return path


def test_an_interrupted_call_takes_over_what_was_finished_and_plays_only_the_others(tmp_path, monkeypatch):
    whole, _ = sampled(collector(job=config(episodes={"at_a_time": 3})))
    interrupted(tmp_path, monkeypatch)
    begun = cut_after(monkeypatch, 100)
    found, rollout = sampled(keeper(tmp_path / "kept"))
    done = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]  # the two parts of three that were over
    assert sorted(begun) == [(1, 2), (1, 3)]
    assert {key: found[key] for key in done} == {key: whole[key] for key in done}
    assert rollout.sampled_tokens == sum(e.length for g in rollout.groups for e in g)
    assert rollout.tool_calls == sum(e.calls for g in rollout.groups for e in g) == 8 * 4
    begun.clear()
    assert sampled(keeper(tmp_path / "kept"))[0] == found and not begun, "a third call has nothing left to play"


def test_what_was_kept_is_scored_and_recorded_as_if_just_played(tmp_path):
    made = keeper(tmp_path / "kept")
    first = made.sample(made.task.train_questions(2, 1), 4, ("train", 1))[0]
    again = made.sample(made.task.train_questions(2, 1), 4, ("train", 1))[0]
    for a, b in zip(first, again, strict=True):
        assert a.texts == b.texts and a.rewards == b.rewards
        assert [e.actions for e in a.trajectories] == [e.actions for e in b.trajectories]
        assert [e.observations for e in a.trajectories] == [e.observations for e in b.trajectories]


def test_the_others_are_sampled_from_a_stream_of_their_own(tmp_path, monkeypatch):
    whole, _ = sampled(collector(job=config(episodes={"at_a_time": 3})))
    interrupted(tmp_path, monkeypatch, starts=3)
    found, _ = sampled(keeper(tmp_path / "kept"))
    first = [[tokens for tokens, *_ in run[key]] for run in (whole, found) for key in [(0, 0), (0, 3)]]
    assert first[0] == first[2], "kept"
    assert first[1] != first[3] and first[3] != first[2], "neither what was lost nor what was kept comes again"


@pytest.mark.parametrize("cut", [1, 40])
def test_a_line_that_was_cut_short_is_played_again_and_lines_before_it_are_kept(tmp_path, monkeypatch, cut):
    path = interrupted(tmp_path, monkeypatch)
    path.write_bytes(path.read_bytes()[:-cut])
    begun = cut_after(monkeypatch, 100)
    sampled(keeper(tmp_path / "kept"))
    lost = [] if cut == 1 else [(1, 1)]  # only the line's end was missing
    assert sorted(begun) == [*lost, (1, 2), (1, 3)]
    assert len(path.read_text().splitlines()) == 1 + 8


def test_episodes_of_other_weights_another_seed_or_other_tasks_are_not_taken_over(tmp_path, monkeypatch):
    path = interrupted(tmp_path, monkeypatch)
    head, *lines = path.read_text().splitlines()
    begun = cut_after(monkeypatch, 100)
    for change in ({"seed": 5}, {"tasks": ["x"]}, {"k": 2}):
        path.write_text("\n".join([json.dumps(json.loads(head) | change), *lines]) + "\n")
        begun.clear()
        sampled(keeper(tmp_path / "kept"))
        assert len(begun) == 8, change
    begun.clear()
    sampled(keeper(tmp_path / "kept", model(seed=1)))
    assert len(begun) == 8


def test_an_update_moves_the_fingerprint_and_the_next_step_removes_what_older_weights_left(tmp_path):
    lm = model()
    made, before = keeper(tmp_path / "kept", lm), fingerprint(lm)
    sampled(made)
    lm.train()
    optimiser = torch.optim.AdamW(lm.parameters(), lr=1e-6)
    lm(input_ids=torch.tensor([[1, 2, 3]]), labels=torch.tensor([[1, 2, 3]])).loss.backward()
    optimiser.step()
    assert fingerprint(lm) != before == fingerprint(model())
    made.sample(made.task.train_questions(1, 1), 2, ("train", 2))
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["train-2.jsonl"]


@pytest.mark.slow
def test_a_killed_run_resumes_with_its_finished_episodes_in_training_and_evaluation(tmp_path, monkeypatch):
    job = config(steps=2, episodes={"at_a_time": 4})
    job = replace(job, evaluation=replace(job.evaluation, checks=None))
    for module in ("job", "prepare"):
        monkeypatch.setattr(f"reproduce.training.{module}.open_setup", _opened)
    start = prepare_warm_start(job, tmp_path)
    of_warm_start = set(tmp_path.rglob("*.jsonl"))
    assert not of_warm_start, "a finished run keeps none"
    run = RunDirectory.open(job.directory(tmp_path), job)
    kept = run.parts / "episodes"
    left = {}
    for place, starts in [("shard-0/2-0.jsonl", 12), ("evaluated-0/evaluation-test-0.jsonl", 8)]:
        with monkeypatch.context() as patch:
            begun = cut_after(patch, starts)
            with pytest.raises(Killed):
                run_job(job, RunDirectory.open(job.directory(tmp_path), job), start)
        left[place] = (kept / place).read_text().splitlines()
        assert len(begun) == starts + 1
    assert len(left["shard-0/2-0.jsonl"]) == 1 + 4 and len(left["evaluated-0/evaluation-test-0.jsonl"]) == 1 + 4
    begun = cut_after(monkeypatch, 100)
    run = RunDirectory.open(job.directory(tmp_path), job)
    run_job(job, run, start)
    assert len(begun) == 12 - 4, "of the evaluation's twelve episodes four were there"
    assert run.status == "finished" and not run.parts.exists()
    assert run.last_complete_step() == 2


def _opened(job):
    from contextlib import nullcontext

    made = setup_of(job)
    assert made.task.repeatable
    made.task.repeatable = False  # as of ScienceWorld
    return nullcontext(made)
