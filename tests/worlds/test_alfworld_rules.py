"""Reading PDDL and TextWorld grammar: what is understood, and that everything else is refused."""

import pytest

from reproduce.errors import UserError
from reproduce.worlds.alfworld.stepper.compile import compile_rules, task_sentence
from reproduce.worlds.alfworld.stepper.grammar import Production, read_query, read_symbols
from reproduce.worlds.alfworld.stepper.join import FactIndex, Join
from reproduce.worlds.alfworld.stepper.pddl import Literal, normal_form, read, read_domain, read_problem
from reproduce.worlds.alfworld.stepper.text import Writer, answers

DOMAIN = """
(define (domain d) (:types agent place box)
 (:predicates (at ?a - agent ?p - place) (inside ?b - box ?p - place) (has ?a - agent ?b - box) (lit ?b - box))
 (:action walk :parameters (?a - agent ?p - place ?q - place) :precondition (and (at ?a ?p))
  :effect (and (not (at ?a ?p)) (at ?a ?q) (increase (total-cost) 1)))
 (:action grab :parameters (?a - agent ?p - place ?b - box)
  :precondition (and (at ?a ?p) (inside ?b ?p)) :effect (and (has ?a ?b) (not (inside ?b ?p)))))
"""
GRAMMAR = '''
grammar :: """{"intro": [{"rhs": "Hi. #task#"}], "task": [{"rhs": "Your task is to: win."}],
 "walk.feedback": [{"condition": "inside(b:box, q:place)", "rhs": "You see [{b.name | inside(b:box, q:place)}]."},
                   {"rhs": "Empty."}],
 "list_empty": [{"rhs": "none"}], "list_separator": [{"rhs": ", "}], "list_last_separator": [{"rhs": ", and "}]}""";
action walk { template :: "walk to {q}"; feedback :: "#walk.feedback#"; }
action grab { template :: "grab {b}"; feedback :: "Got {b.indefinite + ' ' + b.name}."; } # the end
'''


def test_disjunctive_normal_form_of_a_nested_condition():
    found = normal_form(read("(and (p ?x) (or (q ?x) (exists (?y - t) (and (r ?x ?y) (not (p ?y))))))"))
    assert [disjunct.literals for disjunct in found] == [
        (Literal("p", ("?x",)), Literal("q", ("?x",))),
        (Literal("p", ("?x",)), Literal("r", ("?x", "?y")), Literal("p", ("?y",), False)),
    ]
    assert found[1].extra == (("?y", "t"),)
    assert [disjunct.literals for disjunct in normal_form([])] == [()]


@pytest.mark.parametrize(
    "text",
    [
        "(forall (?x - t) (p ?x))",
        "(not (and (p) (q)))",
        "(imply (p) (q))",
        "(exists (?x - t) (exists (?x - t) (p ?x)))",
    ],
)
def test_conditions_that_are_not_understood_are_refused(text):
    with pytest.raises(UserError, match="PDDL"):
        found = normal_form(read(text if "exists" not in text else f"(and {text} {text})"))
        assert not found


@pytest.mark.parametrize("text", ["(a (b)", "(a))", "", "a b"])
def test_brackets_that_do_not_match_are_refused(text):
    with pytest.raises(UserError, match="bracket"):
        read(text)


def test_comments_and_case_and_costs_do_not_matter():
    problem = read_problem(
        "(define (problem P) (:domain d) (:objects A1 - agent) ; comment (\n"
        "(:init (= (total-cost) 0) (At A1 X)) (:goal (At A1 Y)))"
    )
    assert problem.objects == {"a1": "agent"} and problem.init == (Literal("at", ("a1", "x")),)
    with pytest.raises(UserError, match=":goal is missing"):
        read_problem("(define (problem p) (:objects) (:init))")


def test_a_domain_and_its_grammar_compile():
    rules = compile_rules(DOMAIN, GRAMMAR)
    assert rules.place == "at" and rules.dynamic == {"at", "inside", "has"}
    assert rules.commands["grab"] == (("text", "grab "), ("value", ("get", "b", "name")))
    assert "task" not in rules.productions and task_sentence(GRAMMAR) == "Your task is to: win."
    with pytest.raises(UserError, match="not proven"):
        rules.check_proven()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("(:types agent place box)", "(:types agent place box - thing)", "type hierarchy"),
        ("(not (inside ?b ?p))", "(when (at ?a ?p) (not (inside ?b ?p)))", "conditional effect on inside"),
        ("(at ?a ?q) (inc", "(inc", "exactly one at"),
        ("(:action grab", "(:derived (x) (y)) (:action grab", "section :derived"),
    ],
)
def test_domains_that_the_stepper_cannot_reproduce_are_refused(old, new, message):
    assert old in DOMAIN
    with pytest.raises(UserError, match=message):
        compile_rules(DOMAIN.replace(old, new), GRAMMAR)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('feedback :: "#walk.feedback#";', "", "action walk has no template or no feedback"),
        ("#task#", "#nowhere#", "#nowhere# has no production"),
        ('{"rhs": "Empty."}', '{"condition": "lit(b:box)", "rhs": "Empty."}', "needs to hold always"),
        ("inside(b:box, q:place)", "inside(b:crate, q:place)", "has types"),
        ("inside(b:box, q:place)", "beside(b:box, q:place)", "predicate beside"),
        ("b.indefinite + ' '", "len(b.name)", "expression"),
        ("action grab", "acting grab", "cannot read"),
    ],
)
def test_grammars_that_are_not_understood_are_refused(old, new, message):
    assert old in GRAMMAR
    with pytest.raises(UserError, match=message):
        compile_rules(DOMAIN, GRAMMAR.replace(old, new))


def test_lists_are_written_in_the_order_of_the_facts():
    rules = compile_rules(DOMAIN, GRAMMAR)
    writer = Writer(rules.productions, {"b1": "red", "b2": "blue", "b3": "green", "p": "hall"}, "Your task is to: win.")
    texts = [
        writer.write(rules.feedback["walk"], {"q": "p"}, {"inside": {(box, "p") for box in boxes}})
        for boxes in ((), ("b2",), ("b2", "b1"), ("b3", "b1", "b2"))
    ]
    assert texts == ["Empty.", "You see blue.", "You see red, and blue.", "You see red, blue, and green."]
    assert writer.write((("rule", "intro"),), {}, {}) == "Hi. Your task is to: win."


def test_white_space_at_the_start_of_a_text_is_dropped_as_textworld_does():
    assert read_symbols("\n hello\n world") == (("text", "hello\n world"),)
    assert read_symbols("#a# b") == (("rule", "a"), ("text", " b"))
    for text in ("a | b", "a {x | p(y:t)}", "[{x}]", "a // b", 'say "x"'):
        with pytest.raises(UserError, match="grammar"):
            read_symbols(text)


def test_two_variables_never_stand_for_the_same_object():
    query = read_query("near(x:t, y:t) & near(y:t, z:t)")
    tables = {"near": {("a", "b"), ("b", "a"), ("b", "c"), ("c", "c")}}
    assert list(answers(query, {}, tables)) == [{"x": "a", "y": "b", "z": "c"}]
    assert list(answers(read_query("near(x:t, y:t)"), {"q": "a"}, tables)) == [{"q": "a", "x": "b", "y": "c"}]
    assert Production((), ()).condition == ()


def test_a_join_finds_what_a_search_over_all_objects_finds():
    objects = {"a": "t", "b": "t", "c": "t", "k": "u"}
    facts = {("p", "a", "b"), ("p", "b", "c"), ("p", "a", "k"), ("q", "b"), ("q", "k")}
    literals = [
        Literal("p", ("?x", "?y")),
        Literal("q", ("?y",)),
        Literal("q", ("?x",), False),
        Literal("=", ("?x", "?y"), False),
    ]
    join = Join(FactIndex(facts, objects), {"?x": "t", "?y": "t", "?z": "u"}, literals)
    assert list(join({})) == [{"?x": "a", "?y": "b", "?z": "k"}]
    assert list(join({"?x": "b"})) == []
    later = [Literal("p", ("?x", "c")), Literal("moves", ("d", "?x"))]
    assert list(Join(FactIndex(facts, objects), {"?x": "t"}, later, frozenset({"moves"}))({})) == [
        {"c": "c", "d": "d", "?x": "b"}
    ]
    predicates, _ = read_domain(DOMAIN)
    assert predicates["inside"] == ("box", "place")
