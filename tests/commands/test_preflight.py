"""`make preflight`: what fails is one line that says what to do, against real servers and real files."""

import json
import re
import shutil
import time

import hub
import pytest
import torch
from local_server import Answer, LocalServer

from reproduce.cli import main
from reproduce.commands.preflight import machine
from reproduce.commands.preflight.check import FAIL, NOT_NEEDED, OK, checked
from reproduce.commands.preflight.clock import check_clock
from reproduce.commands.preflight.inputs import check_data, check_world
from reproduce.config.judge import JudgeConfig
from reproduce.config.search import ChatConfig, SearchConfig
from reproduce.config.tables import JobConfig, TableConfig
from reproduce.errors import UserError
from reproduce.grid import runner
from reproduce.grid.machine import Start
from reproduce.grid.services import check_judge, check_search, same_model
from reproduce.tools.hub import at_hand
from reproduce.tools.hub.sources import DATASET, FILES, GITHUB, HUB

COMMIT = "a" * 40
KEY = "k" * 32
NOWHERE = "http://127.0.0.1:9"
JUDGE = "Qwen/Qwen2.5-72B-Instruct"
ZONE = "BRIGHTDATA_ZONE"


def services(model=JUDGE, status=200, results=2):
    """A server that is Bright Data and the judge at once."""

    def answer(asked):
        if status != 200:
            return Answer(status, {"error": f"no {asked.headers.get('authorization')}"})
        if asked.path.endswith("/chat/completions"):
            said = {"message": {"role": "assistant", "content": "Yes"}, "index": 0, "finish_reason": "stop"}
            return Answer(200, {"id": "1", "object": "chat.completion", "model": model, "choices": [said]})
        found = [{"title": "t", "link": "http://x/", "description": f"d{i}"} for i in range(results)]
        return Answer(200, {"organic": found})

    return answer


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(model folder, data folder)"""
    root = tmp_path_factory.mktemp("paper")
    return hub.checkpoint(root / "model"), hub.data_folder(root / "data")


# -- keys and endpoints ------------------------------------------------------------------------------------------------


def search(url: str) -> SearchConfig:
    return SearchConfig(service="brightdata", cache_dir="nowhere", zone="z", endpoint=f"{url}/request")


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (services(status=401), "refuses the key in BRIGHTDATA_API_KEY .*401"),
        (services(status=500), r"does not answer \(server error 500\)"),
        (services(status=200, results=0), "finds nothing .* zone"),
    ],
)
def test_a_search_that_would_fail_is_found_by_one_request(server, message, monkeypatch, tmp_path):
    monkeypatch.setenv("BRIGHTDATA_API_KEY", KEY)
    monkeypatch.chdir(tmp_path)
    with LocalServer(server) as made:
        with pytest.raises(UserError, match=message) as error:
            check_search(search(made.url))
        assert len(made.asked) == 1 and KEY not in str(error.value)
    assert not list(tmp_path.iterdir()), "nothing is recorded"


def test_a_search_that_answers_says_so_and_a_missing_key_is_named(monkeypatch):
    monkeypatch.setenv("BRIGHTDATA_API_KEY", KEY)
    with LocalServer(services()) as made:
        assert "2 results" in check_search(search(made.url))
        assert made.asked[0].headers["authorization"] == f"Bearer {KEY}"
    monkeypatch.delenv("BRIGHTDATA_API_KEY")
    with pytest.raises(UserError, match="set the environment variable BRIGHTDATA_API_KEY"):
        check_search(search(NOWHERE))


def judge(url: str, **changes) -> JudgeConfig:
    return JudgeConfig(chat=ChatConfig(base_url=f"{url}/v1", model=JUDGE, **changes), mode="record", cache_dir="none")


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (services(model="Qwen/Qwen3-0.6B"), "answers as the model 'Qwen/Qwen3-0.6B', not as Qwen/Qwen2.5-72B-Instruct"),
        (services(status=404), "knows no model Qwen/Qwen2.5-72B-Instruct"),
        (services(status=401), "refuses the key in JUDGE_KEY"),
        (services(model=None), "does not answer .malformed reply"),
    ],
)
def test_a_judge_that_is_another_model_or_refuses_is_an_error(server, message, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with LocalServer(server) as made:
        with pytest.raises(UserError, match=message) as error:
            check_judge(judge(made.url, key_variable="JUDGE_KEY"))
        assert KEY not in str(error.value) and len(made.asked) == 1


def test_a_judge_that_answers_is_asked_for_one_token_and_one_that_is_not_there_is_named():
    with LocalServer(services()) as made:
        assert JUDGE in check_judge(judge(made.url))
        assert made.asked[0].body["max_tokens"] == 1 and made.asked[0].body["model"] == JUDGE
    with pytest.raises(UserError, match=f"judge.chat.base_url {NOWHERE}/v1 does not answer .no connection"):
        check_judge(judge(NOWHERE))


def test_the_dated_snapshot_behind_an_alias_is_the_same_model_and_a_larger_one_is_not():
    assert same_model("gpt-4o", "gpt-4o-2024-08-06") and same_model("gpt-4-turbo", "gpt-4-turbo-0613")
    assert not same_model("gpt-4o", "gpt-4o-mini") and not same_model("gpt-4", "gpt-4o-2024-08-06")


def test_a_table_does_not_start_with_another_judge(files, tmp_path, monkeypatch):
    """Before the first weight is loaded, and before a run directory is made."""
    monkeypatch.setenv("BRIGHTDATA_API_KEY", KEY)
    kept = [f"{name}.cache_dir={tmp_path / name}" for name in ("search", "judge")]
    with LocalServer(services(model="other")) as made, pytest.raises(UserError, match="answers as the model 'other'"):
        settings = [*_paper(*files, made.url), *kept]
        runner.train("2", "paper", ["grpo"], [0], runs_root=tmp_path / "runs", settings=settings)
    assert not (tmp_path / "runs").exists()


# -- models and data ---------------------------------------------------------------------------------------------------

REPO = "Qwen/Qwen3-14B"


@pytest.fixture
def lock_file(tmp_path):
    path = tmp_path / "lock.json"
    rl, webwalker = FILES["hard_search_1k"], FILES["webwalker"]
    entries = {
        HUB: {REPO: {"revision": COMMIT}},
        DATASET: {rl.repo: {"revision": COMMIT, "files": [rl.paths[0]]}},
        GITHUB: {webwalker.repo: {"revision": COMMIT, "files": [webwalker.paths[0]]}},
    }
    path.write_text(json.dumps(entries))
    return path


def found(asked) -> Answer:
    head = {"ETag": '"e"', "X-Repo-Commit": COMMIT, "Content-Type": "text/plain"}
    return Answer(200, b"{}", head) if COMMIT in asked.path else Answer(404, b"", {"X-Error-Code": "EntryNotFound"})


def test_what_the_hub_has_at_the_pin_is_asked_for_by_its_head_alone(own_cache, lock_file):
    with LocalServer(found) as made:
        assert at_hand.model_at_hand(REPO, lock=lock_file, endpoint=made.url) == (COMMIT, at_hand.FETCHED_LATER)
        assert at_hand.file_at_hand("hard_search_1k", lock=lock_file, endpoint=made.url)[1] == at_hand.FETCHED_LATER
        assert at_hand.file_at_hand("webwalker", lock=lock_file, endpoint=made.url)[1] == at_hand.FETCHED_LATER
        assert {asked.method for asked in made.asked} == {"HEAD"} and len(made.asked) == 3


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, "RevisionNotFound", "make pin-hub UPDATE=1"),
        (404, "RepoNotFound", "or it is private"),
        (403, "GatedRepo", "accept its terms"),
        (503, "", "answers 503"),
    ],
)
def test_a_model_that_the_hub_does_not_give_out_is_named(own_cache, lock_file, status, code, message):
    with LocalServer(lambda asked: Answer(status, b"", {"X-Error-Code": code} if code else {})) as made:
        with pytest.raises(UserError, match=message):
            at_hand.model_at_hand(REPO, lock=lock_file, endpoint=made.url)


def test_a_model_without_a_pin_and_a_hub_that_is_not_there_are_named(own_cache, lock_file):
    with pytest.raises(UserError, match="make pin-hub MODEL=a/b"):
        at_hand.model_at_hand("a/b", lock=lock_file)
    with pytest.raises(UserError, match="cannot be reached from here"):
        at_hand.model_at_hand(REPO, lock=lock_file, endpoint=NOWHERE)
    with pytest.raises(UserError, match="gaia is gated"):
        at_hand.file_at_hand("gaia", lock=lock_file)


def test_a_cached_model_needs_no_network_and_half_of_one_does(own_cache, lock_file, files):
    snapshot = own_cache / "hub" / f"models--{REPO.replace('/', '--')}" / "snapshots" / COMMIT
    shutil.copytree(files[0], snapshot)
    assert at_hand.model_at_hand(REPO, lock=lock_file, endpoint=NOWHERE) == (COMMIT, at_hand.CACHED)
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(UserError, match="cannot be reached"):
        at_hand.model_at_hand(REPO, lock=lock_file, endpoint=NOWHERE)


def test_every_data_set_that_is_missing_is_in_one_line(files, tmp_path):
    model, data = files
    job = JobConfig.from_dict(hub.config(model, data))
    assert "train_10k" in check_data(job) and "hotpotqa" in check_world(job)
    few = shutil.copytree(data, tmp_path / "few")
    (few / "train_10k.parquet").unlink()
    (few / "eval" / "webwalker.jsonl").unlink()
    job = JobConfig.from_dict(hub.config(model, few))
    with pytest.raises(UserError, match="(?s)train_10k.*webwalker"):
        check_data(job)
    shutil.copy(data / "train_10k.parquet", few)
    (few / "eval" / "webwalker.jsonl").write_text('{"question": "no answer"}\n')
    with pytest.raises(UserError, match="webwalker.jsonl.*'answer'"):
        check_world(job)


# -- the machine -------------------------------------------------------------------------------------------------------


def test_versions_that_differ_or_are_missing_are_named(tmp_path):
    jobs = TableConfig.load(2).jobs("smoke")
    assert machine.differing(machine.pins(machine.ROOT / "requirements.txt")) == []
    (tmp_path / "requirements.txt").write_text("# pins\ntorch==1.0.0\nno-such-package[extra]==2.0  # why\nnumpy\n")
    with pytest.raises(UserError, match="torch is .*, not 1.0.0, no-such-package is missing .2.0.: pip install"):
        machine.check_versions(jobs, tmp_path)
    paper = TableConfig.load(2).jobs("paper")[0]
    assert machine.requirements(paper) == "requirements-gpu.txt"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_cards_and_their_memory(tmp_path):
    jobs = TableConfig.load(2).jobs("paper")
    assert machine.launched(Start("accelerate", "fsdp"), tmp_path, "cuda") == (8, True)
    assert machine.launched(Start("accelerate", "fsdp", 4), tmp_path, "cuda") == (4, True)
    with pytest.raises(UserError, match="visible here: 0; .* 8"):
        machine.check_cards(jobs[0], 8)
    with pytest.raises(UserError, match="name its size"):
        machine.check_memory(jobs, 8, True, None, None)
    with pytest.raises(UserError, match="29.5 GB, more than the 8 cards of 1.0 GB"):
        machine.check_memory(jobs, 8, True, 80.0, 1.0)
    assert "of 100000 GB" in machine.check_memory(jobs, 8, True, 80.0, 1e5)
    assert "of 80 GB" in machine.check_memory(jobs, 8, True, 80.0, None), "what the profile states"


def test_a_disk_that_is_too_small_is_named(tmp_path, monkeypatch):
    jobs = TableConfig.load(2).jobs("mini", ["grpo"], [0])
    assert "GB needed" in machine.check_disk(jobs, tmp_path / "not" / "yet")
    monkeypatch.setattr(machine, "SPARE", 1e9)
    with pytest.raises(UserError, match="GB free, and about .* are needed"):
        machine.check_disk(jobs, tmp_path)


def test_the_clock_is_held_to_the_date_of_an_answer():
    with LocalServer(lambda asked: Answer(404)) as made:
        assert re.fullmatch(r"\d s from that of 127.0.0.1", check_clock([NOWHERE, made.url]))
        for shift, word in ((3600, "3600 s ahead of"), (-3600, "3[56]..? s behind")):
            with pytest.raises(UserError, match=word.replace("3600", "3[56]\\d\\d")):
                check_clock([made.url], lambda shift=shift: time.time() + shift)
    with pytest.raises(UserError, match="no Date came from 127.0.0.1"):
        check_clock([NOWHERE])


def test_a_check_is_one_line_whatever_it_says():
    def breaks():
        raise UserError("two\nlines")

    def full():
        raise PermissionError(13, "denied", "/x")

    assert str(checked("disk", breaks)) == "FAIL        disk        two lines"
    assert checked("disk", full).state == FAIL and checked("disk", lambda: "fine").state == OK


# -- the command -------------------------------------------------------------------------------------------------------


def _paper(model, data, url) -> list[str]:
    """The profile paper of table 2 on a CPU, with all that it reads on this machine."""
    settings = {
        "model.name_or_path": model,
        "task.data.folder": data,
        "task.data.train": "train_10k",
        "task.data.check_rows": "false",
        "task.families": "hotpotqa,webwalker",
        "training.device": "cpu",
        "engine.name": "transformers",
        "engine.max_context": "null",
        "judge.chat.base_url": f"{url}/v1",
        "search.endpoint": f"{url}/request",
        "search.zone": "z",
    }
    return [f"{key}={value}" for key, value in settings.items()]


def test_the_whole_list_passes_or_fails_with_an_exit_code(files, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("BRIGHTDATA_API_KEY", KEY)
    words = ["preflight", "--table", "2", "--profile", "paper", "--methods", "grpo", "--runs-root", str(tmp_path)]
    with LocalServer(services()) as made:
        assert main([*words, "--set", *_paper(*files, made.url)]) == 0
        said = capsys.readouterr().out
        states = {line[12:24].strip(): line[:10].strip() for line in said.splitlines()[:-1]}
        assert states.pop("versions") == OK and set(states.values()) == {OK, NOT_NEEDED}
        assert states["judge"] == states["search"] == states["data"] == states["files"] == states["disk"] == OK
        assert states["cards"] == states["clock"] == NOT_NEEDED
        assert main([*words, "--set", *_paper(*files, made.url), "judge.chat.model=other"]) == 1
    said = capsys.readouterr().out
    assert "FAIL        judge" in said and "1 of the checks failed" in said and KEY not in said
    assert not list(tmp_path.iterdir()), "nothing is started"


def test_bad_words_are_one_line(capsys):
    for words, message in (
        (["--table", "9"], "there is no table '9'"),
        (["--profile", "papr"], "there is no profile 'papr'"),
        (["--card", "-3"], "--card -3"),
        (["--launcher", "ray"], "invalid choice: 'ray'"),
        (["--set", "training.group_sise=1"], "group_size"),
    ):
        assert main(["preflight", *words]) == 2
        said = capsys.readouterr()
        assert message in said.err and said.err.count("\n") == 1 and not said.out


def test_a_launcher_s_config_that_is_not_there_fails_alone(capsys):
    assert main(["preflight", "--launcher", "accelerate", "--launch-config", "fdsp", "--table", "2"]) == 1
    said = capsys.readouterr().out
    assert "FAIL        launcher    there is no accelerate config 'fdsp'" in said and "ok          disk" in said
