"""LoRA (arXiv 2106.09685) by the package peft: small matrices are trained beside the weights, which stay the same."""

import torch

from reproduce.errors import UserError
from reproduce.seeding import child_seed
from reproduce.training.installed import check_peft

ALL_LINEAR = "all-linear"


def with_adapters(model: torch.nn.Module, lora, seed: int) -> torch.nn.Module:
    """`model` with adapters in it, wrapped by peft.

    One factor of each adapter is zero, so the policy is unchanged; the other is drawn from the stream of `seed`.
    Adapters are float32 whatever the type of the model. Layers are replaced inside `model` itself, so an engine that
    samples from it samples from the adapted policy.

    Args:
        model: the causal LM; it is changed.
        lora: `LoraConfig` of the training settings.
        seed: of the factors that are drawn.

    Raises:
        UserError: a target is not in the model, or is its output head (whose logits are scored in parts), or peft is
            not installed.
    """
    check_peft()
    from peft import LoraConfig, get_peft_model

    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    if any(head.endswith(target) for target in lora.targets):
        raise UserError(f"training.lora.targets: {head} is the output head, which must not be adapted; leave it out")
    targets = ALL_LINEAR if lora.targets == [ALL_LINEAR] else list(lora.targets)
    names = [name for name, _ in model.named_modules()]
    for target in () if targets == ALL_LINEAR else targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            raise UserError(f"training.lora.targets: {type(model).__name__} has no module named {target}")
    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, target_modules=targets, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM"
    )
    with torch.random.fork_rng():  # peft draws from the global generators
        torch.manual_seed(child_seed(seed, "lora"))
        return get_peft_model(model, config)


def has_adapters(model: torch.nn.Module) -> bool:
    """Whether peft wraps the model."""
    return hasattr(model, "peft_config") and hasattr(model, "disable_adapter")
