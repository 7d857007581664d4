"""The warm start: what is trained on, when it stops, and the model it starts from."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from tiny import LocalPrinter, encode, model, tokenizer, world

from reproduce.config.tables import TableConfig
from reproduce.errors import UserError
from reproduce.rollouts.agent import Grammar, Limits
from reproduce.rollouts.collector import Collector
from reproduce.training import warm_start
from reproduce.training.tiny_model import build_model, build_tokenizer
from reproduce.worlds.miniweb.demonstrations import demonstrate
from reproduce.worlds.miniweb.task import fresh_world, open_task


def collector(lm=None):
    task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
    return Collector(task, lm or model(), Grammar(tokenizer()), Limits(8, 256), 1.0, 0)


def config(**changes):
    settings = TableConfig.load(2).jobs("smoke", ["grpo"], [0])[0].warm_start
    return dataclasses.replace(settings, **{"demonstrations": 64, "batch_size": 16, "max_epochs": 1, **changes})


def train(made, settings, folder):
    rows = warm_start.tool_rows(made, settings, 8)
    return warm_start.train_warm_start(made.model, made, settings, rows, folder, lambda *a: None)


def test_the_mini_model_is_small_untied_and_a_function_of_its_seed():
    shape = dataclasses.asdict(TableConfig.load(2).jobs("mini", ["grpo"], [0])[0].model)
    for name in ("name_or_path", "revision"):
        shape.pop(name)
    made = [build_model(len(tokenizer()), s, **shape, pad_id=0, bos_id=1, eos_id=2) for s in (0, 0, 1)]
    assert 100_000 <= sum(p.numel() for p in made[0].parameters()) <= 500_000
    assert made[0].lm_head.weight.data_ptr() != made[0].model.embed_tokens.weight.data_ptr()
    same = [torch.equal(a, b) for a, b in zip(made[0].parameters(), made[1].parameters(), strict=True)]
    other = [torch.equal(a, b) for a, b in zip(made[0].parameters(), made[2].parameters(), strict=True)]
    assert all(same) and not all(other)
    assert made[0].config.model_type == "qwen3"


def test_building_a_model_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    model(3)
    assert torch.equal(torch.rand(1), expected)


def test_every_word_of_the_world_is_one_known_token():
    t = build_tokenizer(world())
    words = [*world().words(), "<search>", "</python>", "\\boxed{", "}", "0", "200"]
    ids = t.encode(" ".join(words), add_special_tokens=False)
    assert len(ids) == len(words) and t.unk_token_id not in ids
    assert t.decode(ids, skip_special_tokens=True) == " ".join(words)


def test_only_what_the_model_would_say_is_trained_on():
    made = collector()
    questions = made.task.panel("validation", 30)
    for demonstration in demonstrate(made.task.environment, questions, 0.3, 8, np.random.default_rng(0)):
        row = warm_start.tokenised(made, demonstration, 512)
        prompt = len(made.prompt_ids(demonstration.question))
        ids, labels = row["input_ids"], row["labels"]
        assert labels[:prompt] == [-100] * prompt and labels[-1] == ids[-1] == tokenizer().eos_token_id
        trained = [i for i, label in zip(ids, labels, strict=True) if label != -100]
        sampled = [text for text, was_sampled in demonstration.pieces if was_sampled]
        assert tokenizer().decode(trained, skip_special_tokens=True) == " ".join(sampled)
        assert all(label in (-100, i) for i, label in zip(ids, labels, strict=True))
        assert ids == [*encode(made.task.prompt(demonstration.question)), *encode(demonstration.text)[1:], ids[-1]]
        assert warm_start.tokenised(made, demonstration, 10) is None, "too long to be rolled out, so not shown"


def test_demonstrations_come_from_other_worlds():
    made = collector()
    shown = list(made.task.demonstrations(20, 0.0, 8, 0))
    here = {page.body for page in world().pages}
    seen = {text for d in shown for text, sampled in d.pieces if not sampled}
    pages = {text.removeprefix("<result> ").removesuffix(" </result>") for text in seen}
    assert any("year" in page for page in pages) and not pages & here
    again = list(made.task.demonstrations(20, 0.0, 8, 0))
    assert [d.text for d in shown] == [d.text for d in again]
    assert fresh_world(1, made.task.environment).printed is made.task.environment.printed


def test_outside_the_wanted_range_it_fails_and_saves_nothing(tmp_path):
    made = collector()
    folder = tmp_path / "warm"
    with pytest.raises(UserError, match="validation success is 0.00, outside"):
        train(made, config(success_low=0.1), folder)
    assert not folder.exists()


def test_it_stops_once_the_success_is_reached_and_saves_what_it_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(warm_start, "CHECK_EVERY", 2)
    values = iter([0.05, 0.3, 0.9])

    def measure(self, step):
        self.success = next(values)
        self.history.append({"step": step, "success": self.success, "format_ok": 1.0})

    monkeypatch.setattr(warm_start._StopInRange, "measure", measure)
    made = collector()
    folder = tmp_path / "warm"
    history = train(made, config(success_low=0.1, success_high=0.4, max_epochs=3), folder)
    assert [h["step"] for h in history] == [2, 4]
    loaded, grammar = warm_start.load_warm_start(folder, "cpu", "float32")
    for name, value in made.model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name]), name
    assert len(grammar.tokenizer) == len(tokenizer())


def test_a_broken_warm_start_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="cannot load the warm start"):
        warm_start.load_warm_start(tmp_path, "cpu", "float32")


def test_a_set_that_is_too_small_for_its_warm_up_says_so(capsys):
    settings = config(batch_size=16, max_epochs=2, learning_rate=1e-3)
    warm_start.check_size(16 * 11 - 1, settings)  # 2 epochs of 10 whole batches: update 20 has 19/20 of the rate
    line = capsys.readouterr().out
    assert line.startswith("warning: the warm start has 20 updates and its learning rate rises over 20: it reaches ")
    assert "0.00095 of 0.001; raise warm_start.demonstrations or max_epochs" in line
    warm_start.check_size(16 * 11, settings)
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="warm_start.demonstrations"):
        warm_start.check_size(15, settings)


def test_a_small_set_warns_where_it_is_trained(capsys, tmp_path):
    train(collector(), config(success_low=0.0, success_high=1.0), tmp_path / "made")
    assert "warning: the warm start has 4 updates" in capsys.readouterr().out


def test_a_copy_of_a_warm_started_model_computes_with_its_own_weights(tmp_path):
    made = collector()
    train(made, config(success_low=0.0, success_high=1.0, demonstrations=32, check_questions=2), tmp_path / "w")
    copied = copy.deepcopy(made.model)
    with torch.no_grad():
        for weight in copied.parameters():
            weight.mul_(2.0)
        ids = torch.tensor([encode("arlo painter")])
        assert not torch.allclose(copied(input_ids=ids).logits, made.model(input_ids=ids).logits)
