"""`bench --model`: both sides take the same RL step on prescribed trajectories, and counts are those of the work."""

import csv

import pytest
import torch

from reproduce.commands.bench import lm, main
from reproduce.commands.bench.lm_setting import TAGS, WORDS, lm_setting
from reproduce.commands.bench.rollouts import CHAT_TEMPLATE
from reproduce.errors import UserError
from reproduce.training.tiny_model import build_model, word_tokenizer

SHAPE = lm.Shape(prompt=40, group=4, calls=2, segment=6, result=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model without tags in its vocabulary."""
    tokenizer = word_tokenizer(WORDS.split())
    ids = dict(pad_id=tokenizer.pad_token_id, bos_id=tokenizer.bos_token_id, eos_id=tokenizer.eos_token_id)
    sizes = dict(hidden_size=16, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=24)
    made = tmp_path_factory.mktemp("lm")
    build_model(len(tokenizer), 0, **sizes, **ids).save_pretrained(made)
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(made)
    return made


def test_both_sides_do_the_prescribed_work(folder, tmp_path):
    setting = lm_setting(str(folder))
    assert setting.model.get_input_embeddings().weight.shape[0] == len(setting.grammar.tokenizer)
    assert all(len(setting.grammar.encode(tag)) == 1 for tag in TAGS)
    ours, theirs = lm.our_step(setting, SHAPE, tmp_path), lm.trl_step(setting, SHAPE, tmp_path)
    rows, sampled = SHAPE.group, (SHAPE.calls + 1) * SHAPE.segment
    assert ours.sampled == theirs.sampled == rows * sampled
    results = SHAPE.calls * (SHAPE.result + 2)
    prompt = SHAPE.prompt + 1  # the token that begins a text
    last = 1  # the prompt's last token is fed with each row, and the last two tokens never
    assert ours.rollout_positions == prompt + rows * (sampled + results - last), "a prompt once, others once"
    assert theirs.rollout_positions > SHAPE.calls * rows * prompt, "TRL reads the beginning again after each call"
    assert theirs.train_positions > 1.9 * rows * (prompt + sampled + results), "every row twice"
    least, most = lm.MINIBATCHES * prompt, lm.MINIBATCHES * prompt + rows * (sampled + results)
    assert least < ours.train_positions <= most, "a prompt once in each mini-batch"
    for work in (ours, theirs):
        assert min(work.rollout, work.train, work.rollout_operations, work.train_operations) > 0


def test_a_tree_is_passed_once(folder, tmp_path):
    setting = lm_setting(str(folder))
    batch = lm.tree_batch(SHAPE, 300)
    rows = [tuple(row) for row in batch["completion_ids"].tolist()]
    forked = SHAPE.segment + SHAPE.result
    assert len({row[:forked] for row in rows}) == 2 and len({row[: forked + 1] for row in rows}) == SHAPE.group
    assert int(batch["tool_mask"].sum()) == SHAPE.group * (SHAPE.calls + 1) * SHAPE.segment
    done = {name: side() for name, side in lm.tree_passes(setting, SHAPE, tmp_path).items()}
    width = SHAPE.prompt + len(rows[0])
    assert done["TRL"]["positions"] == 2 * SHAPE.group * width
    assert done["ours"]["positions"] == lm.MINIBATCHES * SHAPE.prompt + SHAPE.group * len(rows[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "nowhere"], "bench --model: nowhere is no folder"),
        (["--model", ""], "bench --model: nothing is no folder"),
        (["--model", "x", "--only", "rollout"], "bench --only: does not go with --model"),
    ],
)
def test_bad_words_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        main([*words, "--quick"])


@pytest.mark.slow
def test_the_command_writes_its_table(folder, tmp_path, capsys):
    threads = torch.get_num_threads()
    assert main(["--model", str(folder), "--quick", "--out", str(tmp_path / "bench.csv")]) == 0
    assert torch.get_num_threads() == threads
    rows = list(csv.DictReader((tmp_path / "bench.csv").read_text().splitlines()))
    heads = {row["comparison"]: row["aim"] for row in rows if row["aim"]}
    assert heads == {"lm rollout": ">= 5", "lm pass": ">= 3", "lm tree": ">= 3", "lm step": ">= 3"}
    assert all(float(row["left"]) > 0 and float(row["right"]) > 0 for row in rows)
    assert str(tmp_path) not in (tmp_path / "bench.csv").read_text()
