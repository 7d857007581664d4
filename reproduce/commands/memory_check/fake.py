"""The training step at full size on fake tensors: FSDP 2 over eight cards that are not there, memory by part.

Tensors have shapes and no contents (`FakeTensorMode`), the process group answers at once (`FakeStore`), and PyTorch's
`FSDPMemTracker` adds up the storages of one card. Model, division of weights, gradient checkpointing, scored head and
optimiser are those of a run. The second step is measured: in the first, DTensor works
out shapes of whole tensors in the same mode, which the tracker counts as the optimiser's and no card would hold.
"""

from dataclasses import dataclass

import torch

from reproduce.training import token_logps
from reproduce.training.flops import Model

CARDS = 8
ADAMW = {"fused": {"fused": True}, "single": {"foreach": False}, "foreach": {"foreach": True}}


@dataclass(frozen=True)
class Step:
    """rows x width: tokens of a pass, of which all beyond `prompt` are completions; every second token is scored.
    critic: a scalar head in the place of the output head. adamw: of `ADAMW`."""

    model: Model
    rows: int
    width: int
    prompt: int
    adamw: str = "fused"
    critic: bool = False

    @property
    def scored(self) -> int:
        """Tokens that pass the output head."""
        return 0 if self.critic else self.rows * ((self.width - self.prompt + 1) // 2)


def architecture(model: Model):
    """A causal LM of the model's family and shape with random weights, float32; fake where a fake mode is open."""
    import transformers

    family = "Qwen3" if "Qwen3" in model.name else "Llama" if "llama" in model.name.lower() else "Qwen2"
    config = getattr(transformers, f"{family}Config")(
        vocab_size=model.vocabulary,
        hidden_size=model.hidden,
        intermediate_size=model.intermediate,
        num_hidden_layers=model.layers,
        num_attention_heads=model.heads,
        num_key_value_heads=model.kv_heads,
        head_dim=model.head_size,
        tie_word_embeddings=model.tied,
        attn_implementation="sdpa",
    )
    return getattr(transformers, f"{family}ForCausalLM")(config)


def measured(step: Step) -> dict[str, float]:
    """Bytes on one card in the second step: resting, gradients, the peak of its second pass (forward, backward) and of
    AdamW's temporaries, both beside resting and gradients; and the tracker's own parts at the peak of that pass.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("fake", rank=0, world_size=CARDS, store=FakeStore())
    mesh = init_device_mesh("cpu", (CARDS,), mesh_dim_names=("dp_shard",))
    mask_BT = (torch.arange(step.width - step.prompt) % 2 == 0).expand(step.rows, -1)
    places = mask_BT.nonzero(as_tuple=True)  # which fake tensors cannot tell
    with FakeTensorMode() as mode:
        model = _divided(_network(step), mesh)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, **ADAMW[step.adamw])
        row, token = map(mode.from_tensor, places)
        ids = torch.zeros(step.rows, step.width, dtype=torch.long)
        tracker = FSDPMemTracker(model, optimizer)
        with tracker:
            for micro_batches in (1, 2):
                resting = _now(tracker)
                for _ in range(micro_batches):
                    tracker.reset_mod_stats()
                    _fresh_peak(tracker)
                    _pass(step, model, ids, row, token + step.prompt).mean().backward()
                passes, parts = _peak(tracker)
                after = _now(tracker)
                _fresh_peak(tracker)
                optimizer.step()
                stepped, _ = _peak(tracker)
                optimizer.zero_grad()
    gradients = after - resting
    found = {"resting": resting, "gradients": gradients, "passes": passes - after, "step": stepped - after}
    return found | {f"peak: {name}": value for name, value in parts.items() if name != "Total"}


def _network(step: Step) -> torch.nn.Module:
    model = architecture(step.model).train()
    if step.critic:
        model.config.tie_word_embeddings = False
        model.set_output_embeddings(torch.nn.Linear(step.model.hidden, 1))
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model


def _divided(model, mesh):
    """The model in parts: layers, embeddings, and the rest with the head; passes in bfloat16, sums in float32."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    kinds, inputs = set(model._no_split_modules), model.get_input_embeddings()
    layers = [module for module in model.modules() if type(module).__name__ in kinds]
    embeddings = [inputs] if inputs.weight is not model.get_output_embeddings().weight else []
    for unit in [*layers, *embeddings, model]:
        fully_shard(unit, mesh=mesh, mp_policy=MixedPrecisionPolicy(torch.bfloat16, torch.float32))
    return model


def _pass(step: Step, model, ids, row, position) -> torch.Tensor:
    """The part of a pass of `token_logps` or `Critic` that follows once its rows are known."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        if step.critic:
            return model(input_ids=ids, use_cache=False).logits[row, position - 1].float()
        head = model.get_output_embeddings()
        with token_logps._scoring(head, row, position - 1, ids[row, position], 1.0, True):
            return model(input_ids=ids, use_cache=False).logits


def _now(tracker) -> float:
    return float(sum(parts["Total"] for parts in tracker.get_tracker_snapshot("current").values()))


def _peak(tracker) -> tuple[float, dict[str, float]]:
    found: dict[str, float] = {}
    for parts in tracker.get_tracker_snapshot("peak").values():
        for name, value in parts.items():
            name = getattr(name, "value", name)
            found[name] = found.get(name, 0.0) + value
    return found["Total"], found


def _fresh_peak(tracker) -> None:
    """The tracker's peak begins anew."""
    tracker._peak_mem_snap = tracker.get_tracker_snapshot()
    tracker._peak_mem = {device: parts["Total"] for device, parts in tracker._peak_mem_snap.items()}
