"""Pinned revisions and downloads through the hub's own client, against a server on this machine that speaks for it."""

import hashlib
import json
import shutil

import hub
import pytest
import tiny
import torch
from local_server import Answer, LocalServer
from transformers import AutoModelForCausalLM

from reproduce.cli import main
from reproduce.config.sections import ModelConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines.transformers import TransformersEngine
from reproduce.rollouts.grammar import Grammar, SpeltGrammar
from reproduce.rollouts.token_path import TokenPath
from reproduce.seeding import torch_stream
from reproduce.tools.hub import fetch, lock, sources
from reproduce.tools.hub.fetch import folder_revision, model_folder
from reproduce.tools.hub.lock import locked, pin, read_lock
from reproduce.tools.hub.sources import DATASET, FILES, GITHUB, HUB, MODELS
from reproduce.training.flops import model_of
from reproduce.training.hub_model import load_folder, load_hub_model
from reproduce.worlds.benchmarks.files import data_file

COMMIT = "a" * 40
NOWHERE = "http://127.0.0.1:9"  # the discard port: nothing listens there
SFT, RL = FILES["arpo-sft-54k"].repo, FILES["train_10k"].repo


class Hub:
    """Answers as huggingface.co and GitHub do; `files`: (repository, path) -> bytes."""

    def __init__(self, files, gated=()):
        self.files, self.gated = files, gated

    def __call__(self, asked):
        path = asked.path.split("?")[0].lstrip("/").removeprefix("api/")
        repo = next((repo for repo, _ in self.files if f"{repo}/" in f"{path}/"), None)
        if repo is None:
            return Answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        if repo in self.gated and "/resolve/" in path:
            return Answer(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
        names = [name for other, name in self.files if other == repo]
        if path.endswith("/commits/HEAD"):
            return Answer(200, {"sha": COMMIT})
        if "/git/trees/" in path:
            return Answer(200, {"tree": [{"path": name, "type": "blob"} for name in names]})
        if "/tree/" in path:
            return Answer(
                200, [{"type": "file", "path": n, "size": len(self.files[repo, n]), "oid": "0"} for n in names]
            )
        data = next((self.files[repo, name] for name in names if path.endswith(f"/{name}")), None)
        if data is None:
            return Answer(200, {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        return Answer(200, data, {"ETag": etag, "X-Repo-Commit": COMMIT, "Content-Type": "application/octet-stream"})


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The hub's cache, in a folder of the test."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path


@pytest.fixture
def lock_file(tmp_path):
    path = tmp_path / "lock.json"
    entries = {repo: {"revision": COMMIT, "files": ["train_10k.parquet", "README.md", "d.json"]} for repo in (SFT, RL)}
    path.write_text(json.dumps({DATASET: entries}))
    return path


# -- the lock ----------------------------------------------------------------------------------------------------------


def test_the_committed_lock_holds_a_commit_for_every_model():
    committed = read_lock()
    assert set(committed[HUB]) >= set(MODELS)  # a user's own may stand beside them
    assert len({committed[HUB][repo]["revision"] for repo in MODELS}) == len(MODELS)


def test_a_revision_is_asked_for_once_and_written_down(tmp_path, capsys):
    path = tmp_path / "lock.json"
    with LocalServer(Hub({("Qwen/Qwen3-8B", "config.json"): b"{}", (SFT, "sft.json"): b"[]"})) as server:
        ends = dict.fromkeys((HUB, DATASET, GITHUB), server.url)
        assert lock.main(["Qwen/Qwen3-8B", SFT], path, ends) == 0
        assert read_lock(path) == {
            HUB: {"Qwen/Qwen3-8B": {"revision": COMMIT, "files": ["config.json"]}},
            DATASET: {SFT: {"revision": COMMIT, "files": ["sft.json"]}},
        }
        asked = len(server.asked)
        assert lock.main(["Qwen/Qwen3-8B"], path, ends) == 0 and len(server.asked) == asked
        assert lock.main(["Qwen/Qwen3-8B", "--update"], path, ends) == 0 and len(server.asked) > asked
        assert lock.main(["Qwen/Qwen3-14B"], path, ends) == 1
    assert "there is no huggingface.co/Qwen/Qwen3-14B, or it is private" in capsys.readouterr().out
    for name in ("x", "../../etc/passwd", "a/b/c", "--", "a b/c", "/root/model"):
        with pytest.raises(UserError, match="owner/name"):
            lock.main(["--", name], path)


@pytest.mark.parametrize("typed", ["someone/Own.Model-1", "https://huggingface.co/someone/Own.Model-1/"])
def test_any_model_of_the_hub_can_be_pinned_and_used(own_cache, tmp_path, monkeypatch, typed, capsys):
    repo, path = "someone/Own.Model-1", tmp_path / "lock.json"
    folder = hub.checkpoint(tmp_path / "model")
    with pytest.raises(UserError, match=f"make pin-hub MODEL={repo}"):
        locked(HUB, repo, path)
    with LocalServer(Hub({(repo, file.name): file.read_bytes() for file in folder.iterdir()})) as server:
        assert lock.main([typed], path, {HUB: server.url}) == 0
        entry = locked(HUB, repo, path)
        assert entry["revision"] == COMMIT
        assert lock.main([repo], path, {HUB: NOWHERE}) == 0 and "already" in capsys.readouterr().out
        section = ModelConfig(name_or_path=repo, revision=entry["revision"])
        with pytest.raises(UserError, match=f"the shape of {repo}"):
            model_of(section, 0)
        found = model_folder(repo, entry["revision"], endpoint=server.url)
    assert (model_of(section, 0).name, model_of(section, 0).layers) == (repo, 2)
    assert load_folder(found, repo, "cpu", "float32")[1].chat_template == hub.TEMPLATE


def test_pinning_without_a_network_is_one_line(tmp_path, monkeypatch, capsys):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert lock.main(["someone/model"], tmp_path / "lock.json") == 1
    said = capsys.readouterr().out
    assert said.startswith("someone/model: huggingface.co cannot be reached from here: run the command where")
    assert said.count("\n") == 1
    assert not (tmp_path / "lock.json").exists()


def test_a_bad_network_environment_is_named_before_the_hub_is_asked(tmp_path, monkeypatch, lock_file, own_cache):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    for ask in (
        lambda: pin(HUB, "a/b"),
        lambda: pin(GITHUB, "a/b"),
        lambda: data_file("train_10k", lock=lock_file),
        lambda: model_folder("a/b", COMMIT),
    ):
        with pytest.raises(UserError, match="ALL_PROXY names a SOCKS proxy"):
            ask()


def test_an_answer_that_is_not_the_hubs_is_one_line(tmp_path):
    with LocalServer(lambda asked: Answer(200, b"<html>log in to the wireless network</html>")) as server:
        for kind in (HUB, DATASET, GITHUB):
            with pytest.raises(UserError, match="a/b: "):
                pin(kind, "a/b", endpoint=server.url)


@pytest.mark.parametrize("text", ["[]", '{"models": []}', '{"models": {"a/b": "main"}}', "\xff", "[" * 100_000])
def test_a_damaged_lock_is_named(tmp_path, text):
    (tmp_path / "lock.json").write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match="lock.json: "):
        read_lock(tmp_path / "lock.json")


def test_a_github_repository_is_pinned_with_its_files():
    with LocalServer(Hub({(sources.AUTHORS, "evaluation/data/musique/test.jsonl"): b""})) as server:
        entry = pin(GITHUB, sources.AUTHORS, endpoint=server.url)
    assert entry == {"revision": COMMIT, "files": ["evaluation/data/musique/test.jsonl"]}


def test_a_repository_without_a_revision_is_refused_with_the_command(tmp_path):
    with pytest.raises(UserError, match=f"{SFT} .*make pin-hub"):
        locked(DATASET, SFT, tmp_path / "lock.json")
    with pytest.raises(UserError, match="make pin-hub MODEL=Qwen/Qwen3-8B"):
        model_folder("Qwen/Qwen3-8B", None)
    (tmp_path / "lock.json").write_text(json.dumps({HUB: {"a/b": {"revision": "main"}}}))
    with pytest.raises(UserError, match="models a/b: 'revision'"):
        read_lock(tmp_path / "lock.json")
    (tmp_path / "lock.json").write_text("{")
    with pytest.raises(UserError, match="lock.json: not valid JSON"):
        read_lock(tmp_path / "lock.json")


# -- files -------------------------------------------------------------------------------------------------------------


def test_a_data_file_comes_from_its_revision_and_then_from_the_cache(own_cache, lock_file):
    with LocalServer(Hub({(RL, "train_10k.parquet"): b"rows", (SFT, "d.json"): b"[1]"})) as server:
        path = data_file("train_10k", lock=lock_file, endpoint=server.url)
        assert path.read_bytes() == b"rows" and path.is_relative_to(own_cache)
        assert all(f"/resolve/{COMMIT}/" in asked.path for asked in server.asked)
        assert data_file("arpo-sft-54k", lock=lock_file, endpoint=server.url).read_bytes() == b"[1]"
    assert data_file("train_10k", lock=lock_file, endpoint=NOWHERE).read_bytes() == b"rows"


def test_the_authors_selections_come_from_their_repository(own_cache, tmp_path):
    place = "evaluation/data/musique/test.jsonl"
    path = tmp_path / "github.json"
    path.write_text(json.dumps({GITHUB: {sources.AUTHORS: {"revision": COMMIT, "files": [place]}}}))
    with LocalServer(Hub({(sources.AUTHORS, place): b"{}\n"})) as server:
        assert data_file("musique", lock=path, endpoint=server.url).read_bytes() == b"{}\n"
        assert server.asked[0].path == f"/{sources.AUTHORS}/{COMMIT}/{place}"
    assert data_file("musique", lock=path, endpoint=NOWHERE).read_bytes() == b"{}\n"
    with pytest.raises(UserError, match=r"hotpotqa: RUC-NLPIR/ARPO at aaaaaaaaaaaa holds no evaluation/data/hotpotqa"):
        data_file("hotpotqa", lock=path)


def test_what_cannot_be_fetched_is_one_clear_line(own_cache, lock_file, tmp_path):
    with LocalServer(Hub({(RL, "train_10k.parquet"): b""}, gated=[RL])) as server:
        with pytest.raises(UserError, match=f"{RL} is gated: .*datasets/{RL}"):
            data_file("train_10k", lock=lock_file, endpoint=server.url)
    for name, words in (("gaia", "103 text-only"), ("hle", "500 questions"), ("xbench", "100 questions")):
        with pytest.raises(UserError, match=f"{name} is gated.*{words}.*{name}/test.jsonl.*task.data.folder"):
            data_file(name, lock=lock_file)
    with pytest.raises(UserError, match="math: .*mirror"):
        data_file("math", lock=lock_file)
    with pytest.raises(UserError, match="there is no data set 'x'"):
        data_file("x", lock=lock_file)
    with pytest.raises(UserError, match="task.data.folder: there is no folder"):
        data_file("gaia", tmp_path / "absent")
    two = json.loads(lock_file.read_text())
    two[DATASET][SFT]["files"] = ["a.json", "b.json"]
    lock_file.write_text(json.dumps(two))
    with pytest.raises(UserError, match="a.json, b.json"):
        data_file("arpo-sft-54k", lock=lock_file)


@pytest.mark.slow  # the hub's client tries again and again
def test_a_hub_that_cannot_be_reached_is_one_clear_line(own_cache, lock_file):
    with pytest.raises(UserError, match="cannot be reached from here.*HF_HOME.*task.data.folder"):
        data_file("train_10k", lock=lock_file, endpoint=NOWHERE)
    with pytest.raises(UserError, match="cannot be reached from here.*HF_HOME.*model.name_or_path"):
        model_folder("tiny/model", COMMIT, endpoint=NOWHERE)


def test_a_model_comes_from_its_revision(own_cache, tmp_path):
    folder = hub.checkpoint(tmp_path / "model")
    files = {("tiny/model", path.name): path.read_bytes() for path in folder.iterdir()}
    files["tiny/model", "pytorch_model.bin"] = b"other weights"
    with LocalServer(Hub(files)) as server:
        found = model_folder("tiny/model", COMMIT, endpoint=server.url)
    assert {path.name for path in found.iterdir()} == {path.name for path in folder.iterdir()}
    model, tokenizer = load_folder(found, "tiny/model", "cpu", "float32")
    assert model.num_parameters() > 0 and tokenizer.chat_template == hub.TEMPLATE


# -- models of a folder ------------------------------------------------------------------------------------------------


def test_a_folder_is_known_by_its_contents(tmp_path):
    folder = hub.checkpoint(tmp_path / "model")
    revision = folder_revision(folder)
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert folder_revision(copy) == revision and revision.startswith("folder-")
    (copy / "config.json").write_text((copy / "config.json").read_text() + " ")
    with pytest.raises(UserError, match="the files in .* have changed"):
        model_folder(str(copy), revision)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no .safetensors file"):
        folder_revision(tmp_path / "empty")
    with pytest.raises(UserError, match="there is no folder ./nowhere"):
        model_folder("./nowhere", None)


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", True), ("llama", False)])
def test_a_checkpoint_keeps_its_weights_and_its_words_and_spells_the_tags(tmp_path, kind, tied):
    folder = hub.checkpoint(tmp_path / "model", kind, tied=tied)
    before = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    model, tokenizer = load_hub_model(str(folder), None, "cpu", "float32")
    assert tokenizer.get_vocab() == hub.tokenizer().get_vocab()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with pytest.raises(UserError, match="<search> is not a single token"):
        Grammar(tokenizer)
    grammar = SpeltGrammar(tokenizer)
    text = "<think> a </think> <search> Ada </search>"
    ids = grammar.encode(text)
    assert len(ids) > 12 and grammar.decode(ids) == text
    assert grammar.call(ids) == ("search", "Ada") and ids[-1] in grammar.stop_ids


def test_checkpoints_that_cannot_be_used_are_refused(tmp_path):
    with pytest.raises(UserError, match="chat template"):
        load_hub_model(str(hub.checkpoint(tmp_path / "base", chat_template=None)), None, "cpu", "float32")
    folder = hub.checkpoint(tmp_path / "broken")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="model.name_or_path: "):
        load_hub_model(str(folder), None, "cpu", "float32")
    own = hub.checkpoint(tmp_path / "own")
    config = json.loads((own / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (own / "config.json").write_text(json.dumps(config))
    (own / "own.py").write_text("raise SystemExit('code of a repository was run')")
    with pytest.raises(UserError, match="model.name_or_path: "):
        load_hub_model(str(own), None, "cpu", "float32")
    no_pad = hub.checkpoint(tmp_path / "no_pad", pad_token=None)
    assert load_hub_model(str(no_pad), None, "cpu", "float32")[1].pad_token == "<|im_end|>"


def test_the_commands_are_there(capsys, tmp_path):
    assert main(["pin-hub", "nothing"]) == 2
    assert "'nothing' is no repository" in capsys.readouterr().err
    assert main(["overlap", "--data", str(tmp_path / "absent")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert fetch.RAW.startswith("https://")


@pytest.mark.parametrize(("kind", "tied"), [("qwen3", False), ("qwen2", True), ("llama", False)])
def test_checkpoints_of_every_kind_sample_what_a_full_forward_pass_says(tmp_path, kind, tied):
    model, tokenizer = load_hub_model(str(hub.checkpoint(tmp_path / "model", kind, tied=tied)), None, "cpu", "float32")
    grammar = SpeltGrammar(tokenizer)
    prompts = [grammar.encode(text) for text in ("Where was Ada born?", "Bea")]  # of two lengths
    paths = [TokenPath.root(prompt) for prompt in prompts]
    for path in paths:
        path.budget = 12
    TransformersEngine(model, [], grammar.eos_id, 1.0, torch_stream(0, "test")).run(paths, lambda done: [])
    for prompt, path in zip(prompts, paths, strict=True):
        logps, entropies = tiny.full_forward(model, prompt, path.completion)
        assert torch.allclose(torch.tensor(path.logps), logps, atol=1e-4)
        assert torch.allclose(torch.tensor(path.entropies), entropies, atol=1e-4)
