"""Pages of recorded groups: which record is taken, what a turn says, and that text never becomes markup."""

import dataclasses
import gzip
import json
import math
import re

import pytest
from records import HOSTILE, committed, hostile, saved

from reproduce.commands.trees import cli
from reproduce.commands.trees.page import embedded, page
from reproduce.commands.trees.view import facts, label, lanes, sentence, side
from reproduce.errors import UserError
from reproduce.runs import token_records
from reproduce.runs.token_records import BranchTest


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


@pytest.mark.parametrize("name", cli.names())
def test_every_committed_record_is_drawn_whole(name):
    run = cli.find(name)
    for step in token_records.steps_of(run):
        record = committed(name, step)
        for group in record.groups:
            drawn = side(record, group)
            assert sorted(drawn["lanes"]) == [t.row for t in group.trajectories]
            for row, t in zip(drawn["rows"], group.trajectories, strict=True):
                own = [piece for path in t.paths for piece, ok in zip(path.pieces, path.sampled, strict=True) if ok]
                assert [piece for turn in row["turns"] for piece in turn["tokens"]["text"]] == own
                assert (row["parent"], row["reward"]) == (t.parent, t.reward)
                assert row["parent"] < 0 or row["why"].startswith("Branch test: h ")


def test_records_are_those_of_the_core_methods_and_small():
    assert {"grpo", "dapo", "arpo", "aepo"} <= set(cli.names())
    assert sum(path.stat().st_size for path in cli.COMMITTED.rglob("*") if path.is_file()) < 300_000
    assert {committed(name).groups[0].question_id for name in ("grpo", "dapo", "arpo", "aepo")} == {
        committed().groups[0].question_id
    }


def test_forks_of_a_parent_stand_below_it_and_later_ones_first():
    def row(number, parent, turn):
        return dataclasses.replace(committed().groups[0].trajectories[0], row=number, parent=parent, branch_turn=turn)

    rows = [row(0, -1, -1), row(1, -1, -1), row(2, 0, 1), row(3, 0, 2), row(4, 2, 3)]
    assert lanes(rows) == [0, 3, 2, 4, 1]


def test_the_reason_names_what_the_policy_compared():
    test = BranchTest(
        turn=2, token=9, baseline=0.1, entropy_change=0.25, consecutive=1, probability=0.52, draw=0.7, forked=True
    )
    said = sentence(test, {"decision": "threshold", "threshold": 0.5})
    assert "h 0.350 after the result, 0.100 in the first turn, so dH +0.250; l 1 forks" in said
    assert "P 0.520 > threshold 0.500: fork (draw 0.700)" in said
    refused = dataclasses.replace(test, forked=False)
    assert "P 0.520 ≤ draw 0.700: no fork" in sentence(refused, {"decision": "bernoulli", "threshold": 0.5})


def test_facts_say_where_the_budget_went():
    record = committed("aepo")
    said = " | ".join(facts(record, record.groups[0]))
    assert "8 whole at the start (m), 8 forks, 0 whole at the end (late); m from the pilot: H_root 0.008, " in said
    assert "forks: 8 after call 1" in said and "alpha 0.5" in said
    assert len(facts(committed("grpo"), committed("grpo").groups[0])) == 1, "independent rollouts have no budget"


@pytest.mark.parametrize(
    ("text", "action", "expected"),
    [
        ("<think> a </think> <search> page 1 </search>", "open", "open: page 1"),
        (" <think> b </think> <answer> \\boxed{ 7 } </answer>", "", "answer: 7"),
        ("no tag at all", "", "no tag at all"),
        ("</x> </", "", "</x> </"),
        ("<a>" * 3000 + "</b>" * 3000, "", None),
    ],
)
def test_a_turn_is_named_by_its_call(text, action, expected):
    assert label(text, action) == expected or expected is None


def test_the_ratio_is_that_of_the_last_update():
    record = committed("aepo")
    path = record.groups[0].trajectories[0].paths[0]
    token = next(i for i, ok in enumerate(path.sampled) if ok)
    shown = side(record, record.groups[0])["rows"][0]["turns"][0]["tokens"]
    assert shown["ratio"][0] == pytest.approx(math.exp(path.update_logps[-1][token] - path.logps[token]), abs=1e-4)
    assert shown["advantage"][0] == path.advantages[token]


def test_hostile_text_is_no_markup():
    record = hostile()
    text = page([side(record, record.groups[0])] * 2, f"make trees RUN='{HOSTILE[1]}'")
    assert text.count("<script") == 2 and text.count("</script>") == 2
    assert text.count("<img") == 0 and text.count("<title>") == 1
    assert re.findall(r"script-src '(sha256-[^']+)'", text) and "default-src 'none'" in text
    tokens = data_of(text)["sides"][1]["rows"][0]["turns"]
    assert [piece for turn in tokens for piece in turn["tokens"]["text"]][:8] == HOSTILE
    assert not re.search(r"https?://(?!www\.w3\.org)", text), "nothing is asked of a network"


@pytest.mark.parametrize("text", [*HOSTILE, "\ud800", "é€🙂"])
def test_embedded_text_comes_back_as_it_was(text):
    assert json.loads(embedded({text: [text]})) == {text: [text]}
    assert not set(embedded(text)) & set("<>&\u2028")


def test_the_page_goes_beside_the_runs(tmp_path, capsys):
    record = hostile()
    assert cli.main([str(saved(tmp_path / "run", record)), "--runs-root", str(tmp_path / "runs")]) == 0
    (made,) = (tmp_path / "runs" / "trees").iterdir()
    assert str(made) in capsys.readouterr().out
    assert re.fullmatch(r"[\w.+-]+\.html", made.name)


def test_a_second_side_takes_the_same_question_or_says_so(tmp_path, capsys):
    aepo = committed("aepo")
    first = saved(tmp_path / "a", aepo)
    other = saved(tmp_path / "b", dataclasses.replace(aepo, name="other", groups=aepo.groups[::-1]))
    out = tmp_path / "page.html"
    cli.main([str(first), "--question", "1", "--and", str(other), "--out", str(out)])
    one, two = data_of(out.read_text())["sides"]
    assert one["place"] == two["place"] and two["name"] == "other"
    assert "has no question" not in capsys.readouterr().out
    saved(first, dataclasses.replace(aepo, step=2, groups=[dataclasses.replace(aepo.groups[0], question_id="new")]))
    cli.main([str(first), "--step", "1", "--and", "2", "--out", str(out)])
    assert "aepo, step 2, has no question" in capsys.readouterr().out
    assert [one["title"][-11:] for one in data_of(out.read_text())["sides"]] == ["step 1 of 8", "step 2 of 8"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "make trees RUN=aepo"),
        (["aepoo"], "there is no run aepoo; did you mean 'aepo'?"),
        (["aepo", "--step", "3"], "no record of step 3; recorded steps: 1, 8"),
        (["aepo", "--step", "1", "--question", "9"], "has no question 9; it has mini-deepsearch-train-"),
        (["aepo", "--and", "nobody"], "there is no run nobody"),
        (["{empty}"], 'training.token_log.every=10"'),
        (["aepo", "--out", "{empty}"], "is a folder: name a file in it"),
    ],
)
def test_bad_words_are_one_line_that_says_what_to_do(words, message, tmp_path):
    with pytest.raises(UserError) as error:
        cli.main([word.format(empty=tmp_path) for word in words])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_record_whose_lists_do_not_fit_is_refused_by_name(tmp_path):
    source, path = (token_records.path_of(folder, 1) for folder in (cli.find("aepo"), tmp_path))
    data = json.loads(gzip.decompress(source.read_bytes()))
    data["groups"][0]["trajectories"][0]["paths"][0]["entropies"].pop()
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    with pytest.raises(UserError) as error:
        cli.main([str(tmp_path), "--out", str(tmp_path / "page.html")])
    assert f"{path}: 'groups[0].trajectories[0].paths[0].entropies' must have" in str(error.value)
