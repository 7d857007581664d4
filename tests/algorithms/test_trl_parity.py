"""Our loss and its gradient equal those of TRL's stock GRPOTrainer on the same model and batch."""

from dataclasses import dataclass

import pytest
import torch
from datasets import Dataset
from method_batch import SigmoidGate
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from reproduce.algorithms import for_run, load
from reproduce.environment import set_precision

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


@pytest.fixture(autouse=True)
def _float32():
    set_precision("float32")  # stock TRL asks a variable for its precision


def stock_trainer(model, tokenizer, directory, kind=GRPOTrainer, config=GRPOConfig, **settings):
    """A real GRPOTrainer (or RLOOTrainer) whose window is one micro-batch unless `settings` say otherwise."""
    arguments = config(
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
    trainer = kind(
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
    distribution = log_distribution(model, inputs)
    return distribution.gather(-1, inputs["completion_ids"][..., None]).squeeze(-1)


def entropies(model, inputs):
    """Entropies in nats at the completion's tokens."""
    distribution = log_distribution(model, inputs)
    return -(distribution.exp() * distribution).sum(-1)


def log_distribution(model, inputs):
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention_mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    return model(input_ids=ids, attention_mask=attention_mask).logits[:, PROMPT - 1 : -1].log_softmax(-1)


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def our_loss(algorithm, model, batch, **sizes):
    inputs = batch.inputs
    algorithm = for_run(algorithm, max_completion_tokens=COMPLETION, updates_per_rollout=2)
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


DAPO_CLIP = {"epsilon": 0.2, "epsilon_high": 0.28}
# method, overrides, TRL's settings, which sides have to be out of range for the test to mean something
CASES = [
    ("grpo", {}, {"loss_type": "grpo", "epsilon": 0.2}, {"low", "high"}),
    ("grpo", {"dual_clip": 1.5}, {"loss_type": "grpo", "epsilon": 0.2, "delta": 1.5}, {"low", "high"}),
    ("dr-grpo", {}, {"loss_type": "dr_grpo", "epsilon": 0.2}, {"low", "high"}),
    ("arpo", {}, {"loss_type": "grpo", "epsilon": 0.2}, {"low", "high"}),
    ("dapo", {}, {"loss_type": "dapo", **DAPO_CLIP}, {"low", "high"}),
    ("dapo", {}, {"loss_type": "bnpo", **DAPO_CLIP}, {"low", "high"}),
    ("aepo", {"gradient_keeping_clip": False}, {"loss_type": "dapo", "epsilon": 0.2}, {"low", "high"}),
    (
        "gspo",
        {},
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        {"low", "high"},
    ),
    ("cispo", {}, {"loss_type": "cispo", "epsilon_high": 5.0}, set()),
    ("cispo", {"clip_high": 0.28}, {"loss_type": "cispo", "epsilon_high": 1.28}, {"high"}),  # TRL's is the cap itself
    ("reinforce++", {}, {"loss_type": "dapo", "epsilon": 0.2}, {"low", "high"}),
    ("grpo", {"surrogate": SigmoidGate()}, {"loss_type": "sapo"}, set()),  # TRL's temperatures are the paper's
]


@pytest.mark.parametrize(("name", "overrides", "stock", "sides"), CASES)
def test_loss_and_gradient_equal_trl(model, tokenizer, tmp_path, name, overrides, stock, sides):
    trainer = stock_trainer(model, tokenizer, tmp_path, **stock)
    batch = Batch.make(trainer.model, seed=2)
    batch.inputs["num_items_in_batch"] = batch.mask_BT.sum()
    ours, metrics = our_loss(load(name, **overrides), trainer.model, batch)
    for side in sides:
        assert metrics[f"clip_fraction_{side}"] > 0.05
    assert_same(trainer.model, trainer._compute_loss(trainer.model, batch.inputs), ours)


def test_the_top_entropy_mask_with_all_tokens_as_denominator_equals_trl(model, tokenizer, tmp_path):
    trainer = stock_trainer(model, tokenizer, tmp_path, loss_type="dapo", top_entropy_quantile=0.2, **DAPO_CLIP)
    batch = Batch.make(trainer.model, seed=6)
    batch.inputs["num_items_in_batch"] = batch.mask_BT.sum()
    theirs = trainer._compute_loss(trainer.model, batch.inputs)
    entropies_BT = entropies(trainer.model, batch.inputs)
    algorithm = load("dapo", token_weight="top_entropy", top_entropy_denominator="all")
    ours, _ = our_loss(algorithm, trainer.model, batch, entropies_BT=entropies_BT)
    assert_same(trainer.model, theirs, ours)
    kept, _ = our_loss(load("dapo", token_weight="top_entropy"), trainer.model, batch, entropies_BT=entropies_BT)
    assert kept.item() / theirs.item() == pytest.approx(28 / 6, rel=1e-4)  # 6 of the 28 tokens


def test_rloo_has_the_gradient_of_trl_on_policy(model, tokenizer, tmp_path):
    trainer = stock_trainer(model, tokenizer, tmp_path, kind=RLOOTrainer, config=RLOOConfig)
    batch = Batch.make(trainer.model, seed=7)
    batch.mask_BT = batch.inputs["completion_mask"].bool()  # its trainer knows no tools
    with torch.no_grad():
        batch.inputs["old_per_token_logps"] = log_probs(trainer.model, batch.inputs)
    batch.inputs["old_logps"] = (batch.inputs["old_per_token_logps"] * batch.mask_BT).sum(1)
    theirs = gradients(trainer.model, trainer._compute_loss(trainer.model, batch.inputs))
    ours = gradients(trainer.model, our_loss(load("rloo"), trainer.model, batch)[0])
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "loss_type", "high"),
    [
        ("grpo", "grpo", {}),
        ("dr-grpo", "dr_grpo", {}),
        ("dapo", "dapo", {"epsilon_high": 0.28}),
        ("cispo", "cispo", {"epsilon_high": 5.0}),
    ],
)
def test_accumulated_micro_batches_equal_trl(model, tokenizer, tmp_path, name, loss_type, high):
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


@pytest.mark.parametrize("name", ["aepo", "gppo"])
def test_the_gradient_keeping_clip_differs_from_trl_where_it_should(model, tokenizer, tmp_path, name):
    trainer = stock_trainer(model, tokenizer, tmp_path, loss_type="dapo")
    batch = Batch.make(trainer.model, seed=5)
    batch.inputs["num_items_in_batch"] = batch.mask_BT.sum()
    theirs = trainer._compute_loss(trainer.model, batch.inputs)
    ours, metrics = our_loss(load(name, clip_high=0.2), trainer.model, batch)  # TRL's range
    assert metrics["kept_gradient_fraction"] > 0.05
    assert abs(theirs.item() - ours.item()) < 1e-6  # the value is PPO's, the gradient is not
    their_gradients, our_gradients = gradients(trainer.model, theirs), gradients(trainer.model, ours)
    assert any((our_gradients[name] - gradient).abs().max() > 1e-3 for name, gradient in their_gradients.items())
