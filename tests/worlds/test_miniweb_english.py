"""MiniWeb in English says what MiniWeb in words says: the same facts, questions, hits, failures and rewards."""

import re
from functools import cache

import pytest
from tiny import LocalPrinter, world

from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.seeding import stream
from reproduce.tools.sandbox import PythonSandbox
from reproduce.worlds.miniweb import english
from reproduce.worlds.miniweb.demonstrations import demonstrate
from reproduce.worlds.miniweb.english_tools import EnglishTools
from reproduce.worlds.miniweb.generator import ATTRIBUTES, RELATIONS
from reproduce.worlds.miniweb.questions import FAMILIES, LEVELS, load_panel, panel_path
from reproduce.worlds.miniweb.task import WORLDS, EnglishTask, MiniTask
from reproduce.worlds.miniweb.tools import MiniWebTools
from reproduce.worlds.tool_server import Call

CALLS = 8


def questions(family):
    return load_panel(panel_path(WORLDS, family, "validation"))


@cache
def tools(kind):
    return kind(world(), LocalPrinter())


@cache
def demonstrations(family):
    """Of every second validation question, in words."""
    return demonstrate(tools(MiniWebTools), questions(family)[::2], 0.2, CALLS, stream(0, "test", family))


def test_a_page_in_english_states_the_facts_of_the_page():
    for page in world().pages:
        text = english.page(page.body)
        name, kind, *rest = page.body.split()
        cls = english.CLASSES[kind]
        assert re.match(f"{name.capitalize()} is an? {kind}\\. ", text) and text.count(". ") == 2 + page.stale
        assert ("This page is archived." in text) == page.stale == (rest[0] == "archived")
        found = {r: re.search(f"The {r} is|the {r} is", text) for r in RELATIONS[cls]}
        facts = {r: re.match(r" the (\w+) (\w+)", text[at.end() :]).groups() for r, at in found.items()}
        numbers = re.search(r"in the year (\d+) and \w+ (\d+) \w+\.$", text).groups()
        facts = {r: f"{other.lower()} {of}" for r, (of, other) in facts.items()} | dict(
            zip(ATTRIBUTES, numbers, strict=True)
        )
        assert facts == page.facts
    assert "Isle is an isle" not in text
    assert english.page("tokal union head kelon pilot treasure senes book year 10 count 11").startswith(
        "Tokal is a union"
    )


def test_a_question_in_english_asks_for_what_the_question_asks_for():
    verbs = {
        **dict.fromkeys(english.ASKED_YEAR.values(), "year"),
        **dict.fromkeys(english.ASKED_COUNT.values(), "count"),
    }
    for family in FAMILIES[1:]:
        seen = set()
        for asked in questions(family):
            text = EnglishTask.prompt(asked)
            seen.add(text)
            if asked.operation == "read":
                form = next(f for f in verbs if re.fullmatch(re.escape(f).replace(r"\{\}", "(.*)"), text))
                assert (verbs[form],) == asked.attributes
                of = re.fullmatch(re.escape(form).replace(r"\{\}", "(.*)"), text)[1]
            else:
                assert ("sum" in text) == (asked.operation == "sum")
                of = re.search(r" of (the (?!number).*?)[?]", text)[1]
                of = re.sub(r"^.*?number of \w+ of ", "", of)
            *relations, label = of.split(" of ")
            kind, name = label.removeprefix("the ").split()
            told = [name.lower(), kind, *reversed([r.removeprefix("the ") for r in relations])]
            assert asked.text.split()[: len(told)] == told and len(relations) == len(asked.relations)
        assert len(seen) == len(questions(family))
    for asked in questions("mini-math"):
        text = EnglishTask.prompt(asked)
        operands, meant = re.findall(r"[\d+-]+", text), re.findall(r"[\d+-]+", asked.text)
        assert operands == meant and ("larger" in text) == asked.expression.startswith("max")


@pytest.mark.parametrize("family", FAMILIES[1:])
def test_the_calls_of_a_demonstration_find_the_same_in_both_renderings(family):
    """The English calls, given to the English tools, have the results that the demonstrator saw, timeouts included."""
    for words in demonstrations(family):
        shown = english.demonstration(words)
        session = tools(EnglishTools).start(words.question)
        for (text, sampled), (result, _) in zip(shown.pieces, shown.pieces[1:], strict=False):
            if sampled:
                tool, content = re.search(r"<(search|python)> (.*) </\1>", text).groups()
                content = (
                    content if tool == "search" else re.search(r"<python> (.*) <", words_of(words, text, shown))[1]
                )
                (found,) = tools(EnglishTools).run([Call(session, tool, content)])
                assert result == f"<result> {found.text} </result>"
        assert shown.answer == words.answer and shown.calls == words.calls


def words_of(words, text, shown):
    return words.pieces[[t for t, _ in shown.pieces].index(text)][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_demonstration_earns_the_same_in_both_renderings(family):
    plain, spoken = (task(family, None, -1.0, 0.1) for task in (MiniTask, EnglishTask))
    for words in demonstrations(family):
        shown = english.demonstration(words)
        reward = spoken.score(words.question, "".join(text for text, _ in shown.pieces))
        assert reward == plain.score(words.question, words.text)._replace(answer=reward.answer)
        assert reward.format_ok and reward.answer == words.answer


def test_a_free_query_finds_what_its_words_find():
    asked = questions("mini-deepsearch")[0]
    name, kind, *_ = asked.text.split()

    def found(*contents):
        session = tools(EnglishTools).start(asked)
        return [tools(EnglishTools).run([Call(session, "search", content)])[0] for content in contents]

    ids = {
        tools(EnglishTools).index.search(english.query(f), 4)[0].id
        for f in (f"the {kind} {name.title()}", f"{name} {kind}")
    }
    assert len(ids) == 1
    hits, *pages = found(f" {name.title()}, {kind}? ", "page 1", "Open page 1.", "PAGE 1", "page 9", "page one")
    assert hits.text.startswith("1. ") and hits.action == "search"
    assert pages[0] == pages[1] == pages[2] and pages[0].action == "open" and pages[0].text[0].isupper()
    assert {page.text for page in pages[3:]} == {"There is no such page."}
    assert found("qqq")[0].text == "The search found nothing."


def test_a_program_in_english_prints_the_same():
    programs = ["print ( 3 + 4 - 2 )", "print ( max ( 3 + 4 , 5 + 6 ) )", "print ( max ( 12 , 7 ) )"]
    assert [english.program(p) for p in programs] == [
        "print(3 + 4 - 2)",
        "print(max(3 + 4, 5 + 6))",
        "print(max(12, 7))",
    ]
    with PythonSandbox(preload=False) as sandbox:
        outputs = [r.output for r in sandbox.run_many(programs + [f" {english.program(p)} " for p in programs])]
    assert outputs[:3] == outputs[3:] == ["5", "11", "12"]


def test_levels_are_all_that_training_and_panels_hold():
    task = EnglishTask(
        FAMILIES, tools(EnglishTools), -1.0, 0.1, levels={"mini-knowledge": [1, 2], "mini-deepsearch": [1]}
    )
    for asked in (task.train_questions(60, 3), task.panel("test", 60)):
        levels = {family: {q.level for q in asked if q.family == family} for family in FAMILIES}
        assert levels == {"mini-math": set(LEVELS), "mini-knowledge": {1, 2}, "mini-deepsearch": {1}}
    assert task.panel_size("test") == 80
    for levels, message in (
        ({"mini-maths": [1]}, "mini-maths"),
        ({"mini-math": [4]}, "mini-math"),
        ({"mini-math": []}, ""),
    ):
        with pytest.raises(UserError, match=f"task.levels.*{message}"):
            EnglishTask(FAMILIES, None, -1.0, 0.1, levels=levels)


def test_english_is_for_models_with_a_vocabulary_and_for_miniweb():
    job = TableConfig.load(2).jobs("lm", ["grpo"], [0])[0].to_dict()
    scratch = TableConfig.load(2).jobs("mini", ["grpo"], [0])[0].to_dict()
    build = type(TableConfig.load(2).jobs("lm", ["grpo"], [0])[0]).from_dict
    with pytest.raises(UserError, match="task.rendering.*vocabulary"):
        build({**scratch, "task": {**scratch["task"], "rendering": "english"}})
    with pytest.raises(UserError, match="task.rendering.*belongs to the world miniweb|'rendering' belongs"):
        build({**job, "task": {**job["task"], "world": "minihouse"}})
