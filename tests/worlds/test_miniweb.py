"""MiniWeb: committed files are what the generator writes, splits are by entity, the world is hard on purpose."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import environment, tokenizer, world

from reproduce.commands.write_worlds import write_worlds
from reproduce.errors import UserError
from reproduce.worlds.miniweb.demonstrations import demonstrate
from reproduce.worlds.miniweb.generator import KINDS, SPLITS, STALE, WorldSettings, generate_world, load_world
from reproduce.worlds.miniweb.questions import FAMILIES, LEVELS, load_panel, make_questions, panel_path
from reproduce.worlds.miniweb.task import WORLDS, MiniTask
from reproduce.worlds.rewards import reward
from reproduce.worlds.tool_server import Call


def panels():
    return {(f, s): load_panel(panel_path(WORLDS, f, s)) for f in FAMILIES for s in ("validation", "test")}


def test_the_committed_world_and_panels_are_what_the_generator_writes(tmp_path):
    for path in write_worlds(tmp_path):
        assert path.read_bytes() == (WORLDS / path.relative_to(tmp_path)).read_bytes(), path.name


def test_another_seed_is_another_world_of_the_same_words():
    other = generate_world(7)
    assert {e.name for e in other.entities} == {e.name for e in world().entities}
    assert set(other.words()) <= set(world().words()) | set(KINDS) | {str(n) for n in range(100)}
    assert [p.body for p in other.pages] != [p.body for p in world().pages]


def test_relations_never_leave_a_split_and_names_do():
    for entity in world().entities:
        for target in entity.relations.values():
            assert world().entities[target].split == entity.split
    splits_of = {}
    for entity in world().entities:
        splits_of.setdefault(entity.name, set()).add(entity.split)
    assert sum(len(splits) > 1 for splits in splits_of.values()) > len(splits_of) / 2


def test_no_question_of_one_split_touches_an_entity_or_expression_of_another():
    for family in FAMILIES:
        seen = {}
        for split in SPLITS:
            for q in make_questions(world(), family, split, 200, 3):
                for key in [*q.path, q.expression or q.id]:
                    assert seen.setdefault(key, split) == split


def test_panels_have_every_level_and_gold_answers_that_follow_from_the_world():
    for (family, split), questions in panels().items():
        assert {q.level for q in questions} == set(LEVELS) and len({q.id for q in questions}) == len(questions)
        for q in questions:
            assert q.family == family and q.split == split
            if family == "mini-math":
                assert q.gold == str(eval(q.expression.replace(" ", "")))
            else:
                values = [world().entities[q.path[-1]].attributes[a] for a in q.attributes]
                assert q.gold == str({"read": values[0], "sum": sum(values), "max": max(values)}[q.operation])


def test_deep_search_needs_four_to_seven_calls():
    calls = {
        q.level: {x.minimum_calls for x in panels()[("mini-deepsearch", "test")] if x.level == q.level}
        for q in panels()[("mini-deepsearch", "test")]
    }
    assert calls == {1: {4}, 2: {5}, 3: {6, 7}}


def test_a_careful_solver_solves_almost_all_and_a_careless_one_does_not():
    env, rng = environment(), np.random.default_rng(0)
    for family, questions in [(f, panels()[(f, "test")][:150]) for f in ("mini-knowledge", "mini-deepsearch")]:
        careful = np.mean([d.answer == d.question.gold for d in demonstrate(env, questions, 0.0, 12, rng)])
        careless = np.mean([d.answer == d.question.gold for d in demonstrate(env, questions, 0.8, 12, rng)])
        assert careful > 0.9 > 0.6 > careless, family


def test_demonstrations_are_well_formed_and_cover_their_own_text():
    env, rng = environment(), np.random.default_rng(1)
    questions = panels()[("mini-deepsearch", "validation")][:60]
    for q, made in zip(questions, demonstrate(env, questions, 0.4, 8, rng), strict=True):
        assert reward(made.text, [q.gold]).format_ok and made.calls <= 8
        assert reward(made.text, [q.gold]).correct == (made.answer == q.gold)
        ids = tokenizer().encode(made.text, add_special_tokens=False)
        unknown = [made.text.split()[i] for i, t in enumerate(ids) if t == tokenizer().unk_token_id]
        assert all(word in ("SyntaxError:", "invalid", "syntax") for word in unknown)


def test_ambiguity_stale_pages_and_failing_searches_are_there():
    stale = [p for p in world().pages if p.stale]
    assert 0.1 < len(stale) / len(world().pages) < 0.4 and all(STALE in p.body for p in stale)
    differ = [
        p for p in stale if any(p.facts != o.facts for o in world().pages if o.entity == p.entity and not o.stale)
    ]
    assert len(differ) > 0.8 * len(stale)
    env = environment()
    ambiguous = timeouts = total = 0
    for q in panels()[("mini-deepsearch", "test")]:
        session = env.start(q)
        label = " ".join(q.text.split()[:2])
        result = env.run([Call(session, "search", label)])[0]
        total += 1
        timeouts += result.action == "timeout"
        name = label.split()[0]
        ambiguous += sum(world().pages[page].title.split()[0] == name for page in session.hits) > 1
    assert 0.03 < timeouts / total < 0.2
    assert ambiguous / total > 0.5


def test_results_depend_on_question_session_and_call_alone():
    q = panels()[("mini-deepsearch", "test")][0]
    calls = ["gold", q.text.split()[0], "page 1", "page 9", "page x", "zzz", q.text.split()[0]]

    def replay():
        env = environment()
        session = env.start(q)
        return [env.run([Call(session, "search", c)])[0] for c in calls]

    assert replay() == replay()
    results = replay()
    assert results[3].text == results[4].text == "none" and not results[5].ok
    env = environment()
    session = env.start(q)
    env.run([Call(session, "search", q.text.split()[0])])
    env.run([Call(session, "search", q.text.split()[0])])
    fork = session.fork()
    env.run([Call(fork, "search", "other words entirely year")])
    assert session.asked != fork.asked


def test_a_panel_is_levels_in_turn_and_refuses_to_be_too_short():
    task = MiniTask("mini-deepsearch", environment(), -1.0, 0.1)
    assert [q.level for q in task.panel("test", 6)] == [1, 2, 3, 1, 2, 3]
    with pytest.raises(UserError, match="holds 240 questions, 999 asked"):
        task.panel("test", 999)


@pytest.mark.parametrize("line", ["{", json.dumps({"id": "x"}), json.dumps({"nonsense": 1}), "[]", json.dumps("text")])
def test_a_malformed_question_row_names_file_and_line(tmp_path, line):
    source = panel_path(WORLDS, "mini-math", "test").read_text().splitlines()
    path = tmp_path / "panel.jsonl"
    path.write_text("\n".join([source[0], line, source[1]]))
    with pytest.raises(UserError, match=r"panel\.jsonl:2: "):
        load_panel(path)


def test_a_question_with_an_impossible_level_is_refused(tmp_path):
    row = json.loads(panel_path(WORLDS, "mini-math", "test").read_text().splitlines()[0])
    path = tmp_path / "panel.jsonl"
    path.write_text(json.dumps({**row, "level": 9}))
    with pytest.raises(UserError, match="level"):
        load_panel(path)


@pytest.mark.parametrize("text, message", [("", "holds no world"), ("{}\n", ":1: not a row"), (None, "cannot read")])
def test_a_broken_world_file_is_one_clear_error(tmp_path, text, message):
    path = tmp_path / "w.jsonl"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_world(path)


def test_unknown_families_and_impossible_counts_are_refused():
    with pytest.raises(UserError, match="mini-chess"):
        make_questions(world(), "mini-chess", "train", 1, 0)
    with pytest.raises(UserError, match="distinct questions"):
        make_questions(world(), "mini-knowledge", "validation", 160, 0, levels=(1,))  # it has 154
    with pytest.raises(UserError, match="raise `names`"):
        generate_world(0, replace(WorldSettings(), names=5))
