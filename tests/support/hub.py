"""What tests of the profile paper's code path share: a tiny checkpoint as the hub holds them, data of its shapes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SYSTEM = "Think, search, answer in \x08oxed{...}."
PEOPLE = {"Ada": "Oslo", "Bea": "Rome", "Cy": "Lima", "Dan": "Kiev", "Eve": "Bern", "Fay": "Cairo"}


def question(name: str) -> str:
    return f"Where was {name} born?"


def answered(name: str, town: str) -> str:
    """A trajectory as the SFT set writes it."""
    return (
        f"<think> find it </think> <search> {name} </search> <result> Page 1: {name} was born in {town} </result> "
        f"<think> found </think> <answer> \\boxed{{{town}}} </answer>"
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE in which every tag is spelt with several tokens, with a chat template."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [f"{question(name)} {answered(name, town)}" for name, town in PEOPLE.items()]
    made.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def checkpoint(folder: Path, kind: str = "qwen3", rows: int | None = None, tied: bool = True, **changes) -> Path:
    """A random checkpoint and its tokenizer, saved as the hub has them. rows: of the embeddings (default: padded)."""
    words = tokenizer()
    for name, value in changes.items():
        setattr(words, name, value)
    shape = dict(
        vocab_size=rows or len(words) + 16,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        tie_word_embeddings=tied,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    model = {
        "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(head_dim=8, **shape)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**shape)),
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
    }[kind]()
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def rl_row(name: str, town: str, system: str = SYSTEM) -> dict:
    return {
        "data_source": "test",
        "prompt": [{"content": system, "role": "system"}, {"content": question(name), "role": "user"}],
        "ability": "qa",
        "reward_model": {"ground_truth": town, "style": "rule"},
        "extra_info": {"index": 0, "question": question(name), "split": "train"},
        "metadata": None,
    }


def data_folder(folder: Path) -> Path:
    """Training, validation, evaluation, SFT and corpus files, with a few invented rows each."""
    (folder / "eval").mkdir(parents=True)
    people = list(PEOPLE.items())
    for name, some in (("train_10k", people[:4]), ("valid", people[4:])):
        pq.write_table(pa.Table.from_pylist([rl_row(*pair) for pair in some]), folder / f"{name}.parquet")
    write_lines(folder / "eval" / "hotpotqa.jsonl", [{"question": question(n), "answer": [t]} for n, t in people[3:]])
    write_lines(folder / "eval" / "webwalker.jsonl", [{"question": question(n), "answer": t} for n, t in people[4:]])
    said = [
        {
            "system": SYSTEM,
            "conversations": [
                {"from": "human", "value": question(name)},
                {"from": "gpt", "value": answered(name, town)},
            ],
        }
        for name, town in people[:4]
    ]
    (folder / "arpo-sft-54k.json").write_text(json.dumps(said * 4))
    write_lines(folder / "corpus.jsonl", [{"title": n, "text": f"{n} was born in {t}"} for n, t in people])
    return folder


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def config(model: Path, data: Path, /, **changes) -> dict:
    """A job of the world web at tiny size; changes: section -> settings to change, or the section's new value."""
    made = {
        "profile": "paper",
        "experiment": "table2",
        "method": "grpo",
        "seed": 0,
        "task": {
            "world": "web",
            "families": ["hotpotqa", "webwalker"],
            "max_tool_calls": 2,
            "max_completion_tokens": 160,
            "data": {"train": "train_10k", "folder": str(data), "check_rows": False},
        },
        "model": {"name_or_path": str(model)},
        "warm_start": {
            "demonstrations": 16,
            "noise": 0.0,
            "max_epochs": 12,
            "learning_rate": 1e-2,
            "batch_size": 2,
            "success_low": 0.0,
            "success_high": 1.0,
            "data": {"max_tokens": 400},
        },
        "training": {
            "steps": 2,
            "prompts_per_step": 2,
            "group_size": 4,
            "epochs": 1,
            "minibatches": 2,
            "learning_rate": 1e-3,
        },
        "evaluation": {"questions": 2, "samples": 2},
        "search": {"service": "local", "corpus": str(data / "corpus.jsonl"), "results": 2},
    }
    for section, change in changes.items():
        made[section] = made[section] | change if isinstance(made.get(section), dict) and change else change
    return made
