"""Our loss and its gradient equal those of TRL's stock GRPOTrainer on the same model and batch."""

from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer

from reproduce.algorithms import load

VOCABULARY, PROMPT, COMPLETION, ROWS = 64, 4, 11, 6


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=False,
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=1,
    )
    return Qwen3ForCausalLM(config)


@pytest.fixture(scope="module")
def tokenizer():
    words = {"<pad>": 0, "<eos>": 1} | {f"w{index}": index for index in range(2, VOCABULARY)}
    backend = Tokenizer(WordLevel(words, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def stock_trainer(model, tokenizer, directory, **settings):
    """A real GRPOTrainer whose window is one micro-batch unless `settings` say otherwise."""
    arguments = GRPOConfig(
        output_dir=str(directory),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to="none",
        per_device_train_batch_size=ROWS,
        num_generations=2,
        max_completion_length=COMPLETION,
        temperature=1.0,
        beta=0.0,
        **settings,
    )
    prompts = Dataset.from_dict({"prompt": ["w2 w3"] * 2 * ROWS})
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=arguments,
        train_dataset=prompts,
        processing_class=tokenizer,
    )
    trainer.current_gradient_accumulation_steps = arguments.gradient_accumulation_steps
    trainer.model.train()
    return trainer


@dataclass
class Batch:
    """A hand-made batch with padding, tool tokens, an unequal number of loss-mask tokens and moved ratios."""

    inputs: dict
    mask_BT: torch.Tensor

    @classmethod
    def make(cls, model, seed):
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(2, VOCABULARY, (ROWS, PROMPT + COMPLETION), generator=generator)
        prompt_mask = torch.ones(ROWS, PROMPT, dtype=torch.long)
        prompt_mask[::2, :2] = 0
        lengths = torch.tensor([COMPLETION, 3, 7, 1, 9, 5])
        completion_mask = (torch.arange(COMPLETION) < lengths[:, None]).long()
        tool_mask = torch.ones_like(completion_mask)
        tool_mask[0, 2:5] = 0
        tool_mask[4, 1:6] = 0
        inputs = {
            "prompt_ids": ids[:, :PROMPT],
            "prompt_mask": prompt_mask,
            "completion_ids": ids[:, PROMPT:],
            "completion_mask": completion_mask,
            "tool_mask": tool_mask,
            "advantages": torch.tensor([1.2, -0.8, 0.3, -1.5, 0.9, -0.1]),
        }
        with torch.no_grad():
            logps = log_probs(model, inputs)
        noise = torch.randn(logps.shape, generator=generator)
        inputs["old_per_token_logps"] = logps + 0.5 * noise
        return cls(inputs, (completion_mask * tool_mask).bool())


def log_probs(model, inputs):
    """Completion log-probabilities of one full forward pass at temperature 1."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention_mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    logits = model(input_ids=ids, attention_mask=attention_mask).logits[:, PROMPT - 1 : -1]
    return logits.log_softmax(-1).gather(-1, ids[:, PROMPT:, None]).squeeze(-1)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def our_loss(algorithm, model, batch, **sizes):
    inputs = batch.inputs
    return algorithm.loss(
        log_probs(model, inputs), inputs["old_per_token_logps"], inputs["advantages"], batch.mask_BT, **sizes
    )


def assert_same(model, theirs, ours):
    assert abs(theirs.item() - ours.item()) < 1e-6
    their_gradients, our_gradients = gradients(model, theirs), gradients(model, ours)
    assert max(gradient.abs().max().item() for gradient in their_gradients.values()) > 1e-2  # something to compare
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(
            our_gradients[name], gradient, atol=1e-6, rtol=0, msg=lambda text, n=name: f"{n}: {text}"
        )


CASES = [
    ("grpo", {}, {"loss_type": "grpo", "epsilon": 0.2}),
    ("arpo", {}, {"loss_type": "grpo", "epsilon": 0.2}),
    ("dapo", {}, {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}),
    ("dapo", {}, {"loss_type": "bnpo", "epsilon": 0.2, "epsilon_high": 0.28}),
    ("grpo", {"dual_clip": 1.5}, {"loss_type": "grpo", "epsilon": 0.2, "delta": 1.5}),
    ("aepo", {"gradient_keeping_clip": False}, {"loss_type": "dapo", "epsilon": 0.2}),
    (
        "grpo",
        {"aggregation": "token_sum_const", "length_constant": COMPLETION},
        {"loss_type": "dr_grpo", "epsilon": 0.2},
    ),
]


@pytest.mark.parametrize(("name", "overrides", "stock"), CASES)
def test_loss_and_gradient_equal_trl(model, tokenizer, tmp_path, name, overrides, stock):
    trainer = stock_trainer(model, tokenizer, tmp_path, **stock)
    batch = Batch.make(trainer.model, seed=1)
    batch.inputs["num_items_in_batch"] = batch.mask_BT.sum()
    ours, metrics = our_loss(load(name, **overrides), trainer.model, batch)
    assert metrics["clip_fraction_low"] > 0.05 and metrics["clip_fraction_high"] > 0.05
    assert_same(trainer.model, trainer._compute_loss(trainer.model, batch.inputs), ours)


@pytest.mark.parametrize(("name", "loss_type"), [("grpo", "grpo"), ("dapo", "dapo")])
def test_accumulated_micro_batches_equal_trl(model, tokenizer, tmp_path, name, loss_type):
    high = {"epsilon_high": 0.28} if name == "dapo" else {}
    trainer = stock_trainer(model, tokenizer, tmp_path, loss_type=loss_type, gradient_accumulation_steps=2, **high)
    batches = [Batch.make(trainer.model, seed) for seed in (2, 3)]
    batches[1].inputs["completion_mask"][:, 2:] = 0  # far fewer tokens in the second micro-batch
    batches[1].mask_BT &= batches[1].inputs["completion_mask"].bool()
    tokens = sum(batch.mask_BT.sum() for batch in batches)
    for batch in batches:
        batch.inputs["num_items_in_batch"] = tokens
    theirs = sum(trainer._compute_loss(trainer.model, batch.inputs) for batch in batches)
    ours = sum(our_loss(load(name), trainer.model, batch, normalizer=tokens, rows=2 * ROWS)[0] for batch in batches)
    assert_same(trainer.model, theirs, ours)


def test_kl_penalty_equals_trl(model, tokenizer, tmp_path):
    trainer = stock_trainer(model, tokenizer, tmp_path, loss_type="grpo", use_bias_correction_kl=False)
    batch = Batch.make(trainer.model, seed=4)
    batch.inputs["ref_per_token_logps"] = batch.inputs["old_per_token_logps"] + 0.1
    trainer.beta = 0.04  # set after construction: only the loss is wanted, not a reference model
    ours, _ = our_loss(
        load("grpo", kl_coefficient=0.04), trainer.model, batch, ref_logps_BT=batch.inputs["ref_per_token_logps"]
    )
    assert_same(trainer.model, trainer._compute_loss(trainer.model, batch.inputs), ours)


def test_the_gradient_keeping_clip_differs_from_trl_where_it_should(model, tokenizer, tmp_path):
    trainer = stock_trainer(model, tokenizer, tmp_path, loss_type="dapo")
    batch = Batch.make(trainer.model, seed=5)
    batch.inputs["num_items_in_batch"] = batch.mask_BT.sum()
    theirs = trainer._compute_loss(trainer.model, batch.inputs)
    ours, metrics = our_loss(load("aepo"), trainer.model, batch)
    assert metrics["kept_gradient_fraction"] > 0.05
    assert abs(theirs.item() - ours.item()) < 1e-6  # the value is PPO's, the gradient is not
    their_gradients, our_gradients = gradients(trainer.model, theirs), gradients(trainer.model, ours)
    assert any((our_gradients[name] - gradient).abs().max() > 1e-3 for name, gradient in their_gradients.items())
