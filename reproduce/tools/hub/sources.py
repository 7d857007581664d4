"""Where models and data come from, and what is not known about them. Revisions are in `data/hub.lock.json`.

Models: AEPO (arXiv 2510.14545) trains Qwen3-8B/14B for deep search, and Qwen2.5-7B and Llama-3.1-8B for reasoning. ARPO
(arXiv 2507.19849) names the instruct versions and Qwen2.5-3B. Neither states the Hub commit. Evaluation sets are the
authors' own selections (200 of HotpotQA, 500 of HLE, ...), which only their GitHub repository holds. We do not fetch
sets whose owners ask for consent from there.
"""

from dataclasses import dataclass

HUB, DATASET, GITHUB = "models", "datasets", "github"
"""Kinds of repository; the first two are the Hugging Face Hub's."""

AUTHORS = "RUC-NLPIR/ARPO"


@dataclass(frozen=True)
class Model:
    """A model. tables: ours that use it in the profile paper (or gpu). paper: what is known about its use there."""

    repo: str
    tables: tuple[str, ...]
    paper: str
    gated: bool = False


MODELS = {
    model.repo: model
    for model in (
        Model(
            "Qwen/Qwen3-14B",
            ("2", "4", "5", "6"),
            "deep search, AEPO and ARPO table 2; its ablations are not known to us",
        ),
        Model("Qwen/Qwen3-8B", (), "deep search, AEPO and ARPO table 2"),
        Model("Qwen/Qwen2.5-7B-Instruct", ("1",), "reasoning, AEPO (base or instruct not stated) and ARPO table 1"),
        Model("meta-llama/Llama-3.1-8B-Instruct", (), "reasoning, AEPO and ARPO table 1", gated=True),
        Model("Qwen/Qwen2.5-3B-Instruct", (), "reasoning, ARPO table 1; AEPO's use is not known"),
        Model("Qwen/Qwen3-1.7B", (), "none: small enough for one card of 24 GB with LoRA"),
    )
}


ENCODERS = ("intfloat/e5-base-v2",)
"""For dense search in a corpus (`search.encoder`); the papers search the web."""


@dataclass(frozen=True)
class DataFile:
    """One file of a repository.

    paths: its possible places there, as patterns of fnmatch; the first that exists is used. missing: why it cannot be
    fetched, and what to do instead.
    """

    repo: str
    kind: str
    paths: tuple[str, ...]
    missing: str | None = None


def _shipped(name: str) -> DataFile:
    return DataFile(AUTHORS, GITHUB, (f"evaluation/data/{name}/test.jsonl",))


def _gated(name: str, owner: str, rows: str) -> DataFile:
    reason = (
        f"{name} is gated: accept its terms at huggingface.co/datasets/{owner}, then put the papers' selection "
        f"({rows}) as {name}/test.jsonl into the folder that task.data.folder names; do not publish it"
    )
    return DataFile(owner, DATASET, (), reason)


FILES: dict[str, DataFile] = {
    "arpo-sft-54k": DataFile("dongguanting/ARPO-SFT-54K", DATASET, ("*.json", "*.jsonl", "*.parquet")),
    "train_10k": DataFile("dongguanting/ARPO-RL-Reasoning-10K", DATASET, ("train_10k.parquet",)),
    "hard_search_1k": DataFile(
        "dongguanting/ARPO-RL-DeepSearch-1K", DATASET, ("hard_search_1k.parquet", "hard_search.parquet")
    ),
    "valid": DataFile(AUTHORS, GITHUB, ("ARPO/rl_datasets/valid.parquet",)),
    **{
        name: _shipped(name)
        for name in ("2wiki", "hotpotqa", "musique", "bamboogle", "aime24", "aime25", "math500", "gsm8k", "webwalker")
    },
    "webwalker-levels": DataFile("callanwu/WebWalkerQA", DATASET, ("data/main-*.jsonl", "data/main-*.parquet")),
    "math": DataFile(
        AUTHORS,
        GITHUB,
        (),
        "math: the authors' file is in no mirror of their repository; put MATH's test questions as math/test.jsonl "
        "(question and answer, or problem and solution) into the folder that task.data.folder names",
    ),
    "gaia": _gated("gaia", "gaia-benchmark/GAIA", "103 text-only validation questions"),
    "hle": _gated("hle", "cais/hle", "500 questions"),
    "xbench": _gated("xbench", "xbench/DeepSearch", "100 questions"),
}
"""Name of an SFT, RL or evaluation set, or of the levels of one -> where its file is."""
