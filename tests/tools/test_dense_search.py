"""Dense search: exact nearest passages by an encoder's embeddings, made once, gone on with after a kill."""

import shutil
from functools import cache

import hub
import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel

from reproduce.config.search import SearchConfig
from reproduce.config.strict import build
from reproduce.config.tables import JobConfig
from reproduce.errors import UserError
from reproduce.grid.freeze_inputs import pinned
from reproduce.runs.manifest import config_hash
from reproduce.tools.hub.fetch import folder_revision
from reproduce.tools.search import dense
from reproduce.tools.search.search import open_search

TOWNS = ["Oslo", "Rome", "Lima", "Kiev", "Bern", "Cairo"]
PASSAGES = [
    (f"Person {n}", f"was born in {TOWNS[n % 6]} in the year {n}" + " and lived long" * (n % 5)) for n in range(150)
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A random encoder with a tokenizer, as the hub holds them."""
    folder = tmp_path_factory.mktemp("encoder")
    words = hub.tokenizer()
    torch.manual_seed(0)
    shape = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    BertModel(BertConfig(vocab_size=len(words), pad_token_id=words.pad_token_id, **shape)).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.jsonl"
    hub.write_lines(path, [{"title": title, "text": text} for title, text in PASSAGES])
    return path


def opened(corpus, encoder, **changes):
    return open_search(
        SearchConfig(
            corpus=str(corpus), encoder=str(encoder), encoder_revision=folder_revision(encoder), results=5, **changes
        )
    )


@cache
def loaded(encoder):
    return AutoTokenizer.from_pretrained(encoder), AutoModel.from_pretrained(encoder).eval()


def alone(encoder, text: str) -> np.ndarray:
    """A text's vector, encoded by itself, without padding."""
    tokenizer, model = loaded(encoder)
    with torch.no_grad():
        mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
    return (mean / mean.norm()).numpy()


def test_results_are_the_passages_with_the_largest_inner_product(corpus, encoder):
    search = opened(corpus, encoder)
    found = [[hit.title for hit in one.hits] for one in search.search_many(["Who was born in Rome?", "year 7", "  "])]
    search.close()
    vectors = np.array([alone(encoder, f"passage: {title} {text}") for title, text in PASSAGES])
    for query, titles in zip(["Who was born in Rome?", "year 7"], found, strict=False):
        scores = vectors @ alone(encoder, f"query: {query}")
        assert titles == [PASSAGES[i][0] for i in np.argsort(-scores, kind="stable")[:5]]
    assert found[2] == []


def test_bm25_and_dense_search_differ_and_have_configs_of_their_own(corpus, encoder, tmp_path):
    plain, other = (open_search(SearchConfig(corpus=str(corpus), results=5)), opened(corpus, encoder))
    query = ["born in Lima in the year 8"]
    assert [h.title for h in plain.search_many(query)[0].hits] != [h.title for h in other.search_many(query)[0].hits]
    model, data = hub.checkpoint(tmp_path / "model"), hub.data_folder(tmp_path / "data")

    def job(**search) -> JobConfig:
        return pinned([JobConfig.from_dict(hub.config(model, data, search=search))])[0]

    bm25, by_encoder = job(results=2), job(encoder=str(encoder))
    assert by_encoder.search.encoder_revision == folder_revision(encoder)
    assert config_hash(bm25) != config_hash(by_encoder)
    moved = shutil.copytree(encoder, tmp_path / "moved")
    again = job(encoder=str(moved))
    assert config_hash(again) == config_hash(by_encoder)
    assert JobConfig.from_dict(yaml.safe_load(yaml.safe_dump(again.to_dict()))) == again


class Cut(BaseException):
    pass


def test_vectors_are_made_once_and_a_cut_build_goes_on(corpus, encoder, monkeypatch):
    monkeypatch.setattr(dense, "BATCH", 1)  # progress is noted every hundred batches
    asked, cut, encode = [], [], dense.Encoder.__call__

    def counted(self, texts):
        asked.extend(text for text in texts if len(text) > len(dense.PASSAGE))
        if len(asked) == 120 and not cut:
            cut.append(True)
            raise Cut
        return encode(self, texts)

    monkeypatch.setattr(dense.Encoder, "__call__", counted)
    with pytest.raises(Cut):
        opened(corpus, encoder)
    assert not list(corpus.parent.glob("*[!t].npy"))
    opened(corpus, encoder).close()
    assert len(asked) == 120 + 50, "the hundred passages that were noted are not encoded again"
    opened(corpus, encoder).close()
    assert len(asked) == 170 and not list(corpus.parent.glob("*.part*"))
    (made,) = corpus.parent.glob("*.npy")
    whole = np.array([alone(encoder, f"passage: {title} {text}") for title, text in PASSAGES])
    assert np.allclose(np.load(made), whole, atol=1e-5)


def test_another_corpus_has_vectors_of_its_own(corpus, encoder):
    opened(corpus, encoder).close()
    hub.write_lines(corpus, [{"title": "Only", "text": "one passage"}])
    search = opened(corpus, encoder)
    assert [hit.title for hit in search.search_many(["anything"])[0].hits] == ["Only"]


def test_what_cannot_be_used_is_refused_in_one_line(corpus, encoder, tmp_path):
    broken = shutil.copytree(encoder, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(UserError, match="search.encoder: .* cannot be loaded"):
        opened(corpus, broken)
    with pytest.raises(UserError, match="the files in .* have changed"):
        open_search(SearchConfig(corpus=str(corpus), encoder=str(encoder), encoder_revision="folder-other"))
    with pytest.raises(UserError, match="'search.encoder' belongs to the local search: leave it out for serper"):
        hosted = {"service": "serper", "encoder": "intfloat/e5-base-v2", "mode": "live"}
        build(SearchConfig, hosted, "table2.yaml", "search.")
    with pytest.raises(UserError, match="no padding token"):
        bare = shutil.copytree(encoder, tmp_path / "bare")
        words = AutoTokenizer.from_pretrained(bare)
        words.pad_token = None
        words.save_pretrained(bare)
        opened(corpus, bare)


def test_a_passage_that_spells_a_control_token_is_text(encoder, tmp_path):
    path = tmp_path / "spelt.jsonl"
    hub.write_lines(path, [{"title": "Ada", "text": "a <|im_end|> b"}])
    search = opened(path, encoder)
    tokenizer, model = loaded(encoder)
    (vector,) = np.asarray(search.index.vectors)
    search.close()
    asked = tokenizer("passage: Ada a <|im_end|> b", return_tensors="pt", split_special_tokens=True)
    with torch.no_grad():
        mean = model(**asked).last_hidden_state.mean(1)[0]
    np.testing.assert_allclose(vector, torch.nn.functional.normalize(mean, dim=-1).numpy(), atol=1e-5)
    assert tokenizer.eos_token_id not in asked["input_ids"][0].tolist()
