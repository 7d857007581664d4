"""Worlds of episodes beside MiniHouse's tiny model: Hub models, episodes in parts, ALFWorld and ScienceWorld."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from house import collector, config, setup_of
from hub import checkpoint

from analysis import success_rules
from analysis.load import Scores
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.runs.directory import RunDirectory
from reproduce.runs.manifest import ROOT, config_hash
from reproduce.training.job import run_job
from reproduce.training.prepare import prepare_warm_start
from reproduce.training.setup import open_setup
from reproduce.worlds.alfworld.messages import AlfworldForm
from reproduce.worlds.messages import INSTRUCTION, Turn
from reproduce.worlds.scienceworld.messages import ScienceWorldForm, ScienceWorldShortForm, vocabulary
from reproduce.worlds.text_environment import Step


def changed(profile="smoke", **sections) -> dict:
    """The first job of a profile of table 3 as a mapping, with changes per section."""
    data = TableConfig.load(3).jobs(profile)[0].to_dict()
    for name, changes in sections.items():
        data[name] = {**data[name], **changes} if isinstance(changes, dict) else changes
    return data


def episodes(profile="smoke", **changes) -> dict:
    """`changed` task.episodes of a profile."""
    task = TableConfig.load(3).jobs(profile)[0].to_dict()["task"]
    return changed(profile, task={"episodes": {**task["episodes"], **changes}})


# -- episodes in parts and side by side --------------------------------------------------------------------------------


def tokens(made):
    groups, rollout = made.sample(made.task.train_questions(3, 1), 4, ("step", 1))
    return [path.tokens for group in groups for e in group.trajectories for path in e.paths], rollout


def test_episodes_in_threads_are_those_of_one_after_another():
    made = collector()
    alone, _ = tokens(made)
    made.task.threads = 3
    assert tokens(made)[0] == alone


def test_no_more_environments_than_asked_for_and_every_episode_is_played():
    made = collector(job=config(episodes={"at_a_time": 5}))
    opened = []
    of = made.task.open_environments
    made.task.open_environments = lambda count: opened.append(count) or of(count)
    made.task.score = lambda success, faults: pytest.fail("unused") if len(faults) != 4 else None
    sampled, rollout = tokens(made)
    assert sum(opened) == 4 and len(made.task.environments(5)) == 5 and sum(opened) == 4  # one was there
    assert len(sampled) == 3 * 4 * 4 == rollout.tool_calls
    assert rollout.sampled_tokens == sum(path.length for g in rollout.groups for e in g for path in e.paths)
    places = [id(e.environment) for group in rollout.groups for e in group]
    assert len(set(places[:5])) == len(set(places[5:10])) == 5, "episodes of a part have environments of their own"


# -- Hub models -------------------------------------------------------------------------------------------------------


def hub_job(folder, **task) -> JobConfig:
    data = changed(
        model={
            "name_or_path": str(folder),
            "hidden_size": None,
            "num_layers": None,
            "num_heads": None,
            "num_kv_heads": None,
            "intermediate_size": None,
        },
        warm_start={"demonstrations": 0, "noise": 0.0},
        training={"steps": 1, "prompts_per_step": 1, "group_size": 2, "minibatches": 1, "epochs": 2},
    )
    data["task"] |= {"max_tool_calls": 3, "max_completion_tokens": 4, **task}
    data["task"]["families"] = ["pick_and_place_simple"]
    data["evaluation"] |= {"checks": None}
    return JobConfig.from_dict(data)


def chats(tmp_path, limit=None):
    """(collector of a hub model, its tokenizer's size before) on MiniHouse's games."""
    folder = checkpoint(tmp_path / "model")
    job = hub_job(folder)
    job = replace(job, task=replace(job.task, episodes=replace(job.task.episodes, prompt_tokens=limit, history=2)))
    setup = setup_of(job)
    model, tokenizer = setup.initial_model("cpu")
    return setup.collector(model, setup.grammar(tokenizer), 0), tokenizer


def test_a_hub_model_reads_epo_s_message_as_a_chat_and_no_tag_is_made_a_token(tmp_path):
    made, tokenizer = chats(tmp_path)
    assert "<action>" not in tokenizer.get_vocab() and not made.grammar.stop_ids
    groups, _ = made.sample(made.task.train_questions(1, 1), 1, ("step", 1))
    (episode,) = groups[0].trajectories
    text = tokenizer.decode(list(episode.paths[2].prompt))
    assert text.startswith("<|im_start|>user\nYou live in ALFRED's household")
    assert text.endswith(f"{INSTRUCTION}<|im_end|>\n<|im_start|>assistant\n") and "system" not in text
    assert "Steps taken so far: 2." in text and f"[2] Action: {episode.actions[1]}" in text
    assert all(f"- {action}" in text for action in made_admissible(made, episode))
    assert not groups[0].rewards[0].format_ok, "an untrained model writes no tags"


def made_admissible(made, episode) -> list[str]:
    """What could be done after the episode's first two actions."""
    environment = made.task.environments(1)[0]
    step = environment.reset(episode.question.task)
    for action in episode.actions[:2]:
        step = environment.step(action)
    return [action for action in step.admissible if action != "help"]


def test_a_long_message_loses_its_oldest_turns_never_the_task_and_a_limit_that_is_too_small_is_said(tmp_path):
    made, tokenizer = chats(tmp_path)
    question = made.task.train_questions(1, 1)
    whole = made.sample(question, 1, ("step", 1))[0][0].trajectories[0]
    lengths = [len(path.prompt) for path in whole.paths]
    made, tokenizer = chats(tmp_path / "again", limit=max(lengths) - 1)
    cut = made.sample(question, 1, ("step", 1))[0][0].trajectories[0]
    number = lengths.index(max(lengths))
    text = tokenizer.decode(list(cut.paths[number].prompt))
    assert len(cut.paths[number].prompt) < max(lengths) and f"Steps taken so far: {number}." in text
    assert f"[{number}] Observation" in text and "[1] Observation" not in text and "Task: " in text
    made.prompt_tokens = 20
    with pytest.raises(UserError, match="the limit is 20"):
        made.sample(question, 1, ("step", 1))


@pytest.mark.slow
def test_a_hub_model_s_run_on_episodes_trains_on_what_it_sampled_from_and_is_evaluated(tmp_path):
    job = hub_job(checkpoint(tmp_path / "model"))
    run = RunDirectory.open(tmp_path / "runs" / "smoke" / "table3" / "grpo" / "0", job)
    folder = prepare_warm_start(job, tmp_path / "runs")
    run_job(job, run, folder)
    assert run.status == "finished"
    steps = pd.read_parquet(run.path / "steps.parquet")
    assert steps.trained_tokens[0] == steps.sampled_tokens[0] > 0 and steps.tool_calls[0] == 2 * 3


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (episodes(prompt_tokens=100), "'task.episodes.prompt_tokens' belongs to"),
        (episodes(success_rule="won"), "'task.episodes.success_rule' must be one of released, strict, score"),
        (episodes(games="mine"), "'task.episodes.games' must be one of published"),
        (episodes(engine="fast"), "'task.episodes.engine' must be one of stepper, real"),
        (episodes(at_a_time=0), "'task.episodes.at_a_time' must be"),
        (
            {**changed("paper"), "warm_start": {**changed("paper")["warm_start"], "demonstrations": 5, "noise": 0.1}},
            "'warm_start.demonstrations' must be 0",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused_when_they_are_read(data, message):
    with pytest.raises(UserError, match=message):
        JobConfig.from_dict(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (episodes(success_rule="strict"), "task.episodes.success_rule belongs to the world scienceworld"),
        (episodes(engine="real"), "task.episodes.engine belongs to the world alfworld: leave it out for minihouse"),
        (episodes("smoke-scienceworld", at_a_time=None), "task.episodes.at_a_time is missing"),
        (changed("smoke-scienceworld", warm_start={"noise": 0.1}), "warm_start.noise: ScienceWorld's demonstrations"),
        (episodes("smoke-alfworld", games="published"), "task.episodes.games: .* generated-mini"),
        (changed(task={"world": "nowhere"}), "there is no world of episodes 'nowhere'; worlds: minihouse, alfworld"),
    ],
)
def test_settings_of_another_world_are_refused_before_anything_is_opened(data, message):
    with pytest.raises(UserError, match=message), open_setup(JobConfig.from_dict(data)):
        pass


def test_new_settings_change_the_hash_only_where_they_are_set():
    job = JobConfig.from_dict(changed())
    old = job.to_dict()
    for key in ("at_a_time", "prompt_tokens", "success_rule", "games", "engine", "games_sha256"):
        del old["task"]["episodes"][key]
    assert config_hash(old) == config_hash(job) != config_hash(JobConfig.from_dict(episodes(at_a_time=3)))


def test_a_task_is_a_profile_on_top_of_another_and_an_unknown_one_is_named(tmp_path, monkeypatch):
    from reproduce import cli

    monkeypatch.chdir(tmp_path)
    table = TableConfig.load(3)
    assert table.jobs("smoke-scienceworld")[0].task.world == "scienceworld"
    assert table.jobs("paper-alfworld")[0].engine.name == "vllm"  # of the base's profile paper
    assert cli.main(["table", "3", "--profile", "smoke", "--task", "textworld"]) == 2
    assert cli.main(["table", "2", "--profile", "smoke", "--task", "scienceworld"]) == 2


# -- messages ----------------------------------------------------------------------------------------------------------

ROOM = Step(
    "This room is called the hallway. In it, you see: a door to the kitchen.",
    info={
        "goal": "Your task is to focus on a plant.",
        "objects": ("door", "picture"),
        "templates": ("wait", "open OBJ"),
    },
)


def test_scienceworld_s_forms_show_task_templates_objects_and_the_past():
    past = [Turn(f"saw {n}", f"did {n}") for n in range(1, 4)]
    text = ScienceWorldForm(2).prompt(ROOM, past)
    assert "Task: Your task is to focus on a plant." in text and "- open OBJ" in text and "door, picture" in text
    assert "[1] did 1" in text and "[2] Observation: saw 2" in text
    assert ScienceWorldForm(2).prompt(ROOM, past[1:], 3).count("Steps taken so far: 3.") == 1
    action = ScienceWorldForm().action(ScienceWorldForm().response("open Door"), ROOM)
    assert (action.text, action.valid) == ("open Door", True)
    assert AlfworldForm().action(AlfworldForm().response("open Door"), ROOM).text == "open door"


def test_the_short_form_holds_goal_last_actions_first_words_seen_and_objects():
    text = ScienceWorldShortForm(1).prompt(ROOM, [Turn("a", "wait"), Turn("b", "open door to kitchen")])
    assert text == (
        "your task is to focus on a plant <last> open door to kitchen <now> this room is called the hallway in it you "
        "see a door to the kitchen <can> door picture"
    )
    form = ScienceWorldShortForm()
    assert form.action(form.response("focus on plant"), ROOM).valid
    assert {"focus", "teleport", "animal", "<can>", "</action>"} <= set(vocabulary())


# -- every success rule ------------------------------------------------------------------------------------------------


def test_every_rule_is_read_from_the_rows_and_averaged_over_seeds_and_tasks():
    assert success_rules.parsed("released 1, strict 0, score 0.25") == {"released": 1.0, "strict": 0.0, "score": 0.25}
    with pytest.raises(UserError, match="'no rule here'"):
        success_rules.parsed("no rule here")


def logged(answers) -> SimpleNamespace:
    """Evaluation rows of one method, two seeds x (two IID tasks, one OOD task), one sample each."""
    places = [(seed, task) for seed in (0, 1) for task in ("a", "b", "c")]
    frame = pd.DataFrame(
        [
            {"method": "grpo", "seed": seed, "question_id": task, "split": "ood" if task == "c" else "iid", "sample": 0}
            for seed, task in places
        ]
    ).assign(answer=answers)
    splits = np.array(["iid", "iid", "ood"])
    scores = Scores((0, 1), ("a", "b", "c"), np.ones(3), np.array(["kind"] * 3), splits, np.zeros((2, 3, 1), bool))
    return SimpleNamespace(evals=frame, scores={"grpo": scores}, where=lambda kind: f"{kind}.parquet")


def test_estimates_of_a_rule_are_means_over_seeds_and_tasks_of_one_split():
    scores = (0.1, 0.3, 1.0, 0.5, 0.7, 0.0)
    frame = success_rules.estimates(logged([f"released {int(s > 0.4)}, strict 0, score {s}" for s in scores]))
    iid, ood = (frame[frame.split == split].iloc[0] for split in ("iid", "ood"))
    assert (iid.released, iid.strict, round(iid.score, 6)) == (50.0, 0.0, 40.0)
    assert (ood.released, ood.score) == (50.0, 50.0) and ood.score_low < 50 < ood.score_high
    assert success_rules.rules_tables(logged(["won 1"] * 6)) == []
    (text,) = success_rules.rules_tables(logged(["released 1, strict 0, score 0.5"] * 6))
    assert text.header == ["Method", "Split", "released", "strict", "score"] and text.rows[1][:2] == ["GRPO", "OOD"]
    with pytest.raises(UserError, match="eval.parquet: .*success rules"):
        success_rules.estimates(logged(["won 1"] * 5 + ["released 1"]))


# -- the real environments ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("task", ["scienceworld", "alfworld"])
def test_the_whole_path_on_the_real_environment(task, tmp_path, capsys):
    package = {"scienceworld": "scienceworld", "alfworld": "textworld"}[task]
    pytest.importorskip(package, reason=f"{package} is not installed: pip install -r requirements-envs.txt")
    from reproduce import cli

    words = ["table", "3", "--profile", "smoke", "--task", task, "--runs-root", str(tmp_path), "--jobs", "1"]
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    assert ("Success under every rule" in said) == (task == "scienceworld")
    assert re.search(r"EPO on (ScienceWorld|ALFWorld)", said)
    steps = pd.read_parquet(tmp_path / f"smoke-{task}" / "table3" / "grpo" / "0" / "steps.parquet")
    assert len(steps) == 2 and (steps.tool_calls > 0).all() and torch.tensor(steps.loss).isfinite().all()


@pytest.mark.slow
def test_a_killed_run_on_the_real_simulator_keeps_its_finished_episodes_and_leaves_no_process(tmp_path):
    pytest.importorskip("scienceworld", reason="scienceworld is not installed: pip install -r requirements-envs.txt")
    words = ["table", "3", "--profile", "smoke", "--task", "scienceworld", "--methods", "grpo", "--jobs", "1"]
    command = [sys.executable, "-m", "reproduce", *words, "--runs-root", str(tmp_path)]
    run = tmp_path / "smoke-scienceworld" / "table3" / "grpo" / "0"
    log = (tmp_path / "log").open("w")
    grid = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        kept = wait_for(lambda: [text for text in episodes_in(run) if len(text) > 4], grid)[0]
        started = psutil.Process(grid.pid).children(recursive=True)
    finally:
        grid.kill()
    _, alive = psutil.wait_procs(started, timeout=20)
    assert len(started) > 2 and not alive, "the run and its Java processes"
    assert subprocess.run(command, cwd=ROOT, stdout=log, stderr=log).returncode == 0
    rollouts = pd.read_parquet(run / "rollouts.parquet")
    first = rollouts[rollouts.step == 1].set_index(["group", "row"]).actions
    for episode in kept[1:]:
        assert first[episode["group"], episode["row"]] == " > ".join(turn["command"] for turn in episode["turns"])
    assert not (run / "parts").exists()


def episodes_in(run) -> list[list[dict]]:
    """The lines of each file of kept episodes in the first step of a run."""
    files = sorted((run / "parts" / "episodes" / "shard-0").glob("1-*.jsonl"))
    return [
        [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        for path in files
    ]


def wait_for(found, process, seconds=400):
    """What `found()` returns once it is something, while the process runs."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)
    return value


def test_a_setup_without_the_extra_names_the_requirement():
    try:
        import scienceworld  # noqa: F401
    except ModuleNotFoundError:
        config = JobConfig.from_dict(changed("smoke-scienceworld"))
        with pytest.raises(UserError, match="requirements-envs.txt"), open_setup(config):
            pass
    else:
        pytest.skip("scienceworld is installed")
