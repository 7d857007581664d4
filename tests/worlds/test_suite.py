"""A task of several families: questions in turn, a panel of each, demonstrations of all."""

import pytest
from tiny import LocalPrinter, model, tokenizer

from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.training import warm_start
from reproduce.worlds.miniweb import task as suite
from reproduce.worlds.miniweb.questions import make_questions
from reproduce.worlds.miniweb.task import open_task

FAMILIES = ("mini-math", "mini-knowledge")


def task(*families):
    return open_task(families, "miniweb", LocalPrinter(), -1.0, 0.1)


def test_families_take_turns_and_each_keeps_its_own_stream():
    both = task(*FAMILIES).train_questions(11, 5)
    assert [q.family for q in both] == [FAMILIES[i % 2] for i in range(11)]
    for i, family in enumerate(FAMILIES):
        alone = task(family).train_questions(6 - i, 5)
        assert [q.id for q in both if q.family == family] == [q.id for q in alone]
    assert [q.id for q in task(*FAMILIES).train_questions(6, 5)] == [q.id for q in both[:6]]
    assert task("mini-math").families == open_task("mini-math", "miniweb", LocalPrinter(), -1.0, 0.1).families


def test_the_panel_holds_as_many_questions_of_every_family():
    panel = task(*FAMILIES).panel("test", 6)
    assert len(panel) == 12 and [q.family for q in panel[:4]] == [*FAMILIES, *FAMILIES]
    for family in FAMILIES:
        assert [q.id for q in panel if q.family == family] == [q.id for q in task(family).panel("test", 6)]
        assert [q.level for q in panel if q.family == family] == [1, 2, 3, 1, 2, 3]
    with pytest.raises(UserError, match="mini-math-test .* 240 .* 241"):
        task(*FAMILIES).panel("test", 241)


def test_training_goes_round_again_where_the_world_has_no_more_questions(monkeypatch):
    world = task("mini-knowledge").environment.world
    monkeypatch.setattr(suite, "PASS", 50)
    questions = task("mini-knowledge").train_questions(120, 0)
    first, second, third = (tuple(q.id for q in questions[i : i + 50]) for i in (0, 50, 100))
    assert len(set(first)) == len(set(second)) == 50 and len(set(third)) == 20 and first != second
    assert first == tuple(q.id for q in make_questions(world, "mini-knowledge", "train", 50, 0))


def test_demonstrations_are_of_all_families():
    shown = list(task(*FAMILIES).demonstrations(8, 0.2, 4, 0))
    assert [d.question.family for d in shown] == [FAMILIES[i % 2] for i in range(8)]
    assert any("<python>" in d.text for d in shown) and any("<search>" in d.text for d in shown)


def test_the_warm_start_is_checked_on_all_families(monkeypatch):
    class Asked(Exception):
        pass

    def sample(self, questions, samples, names):
        raise Asked([question.family for question in questions])

    monkeypatch.setattr(Collector, "sample", sample)
    collector = Collector(task(*FAMILIES), model(), Grammar(tokenizer()), Limits(4, 64), 1.0, 0)
    with pytest.raises(Asked) as asked:
        warm_start._StopInRange(collector, 1, 0.2, None).measure(1)
    (families,) = asked.value.args
    assert len(families) == warm_start.CHECK_QUESTIONS and set(families) == set(FAMILIES)


def test_an_unknown_family_is_named():
    with pytest.raises(UserError, match="task.families: .*'mini-chess'"):
        task("mini-math", "mini-chess")
