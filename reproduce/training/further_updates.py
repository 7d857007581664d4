"""The optimiser steps that states of a method ask for beside a step's own (`FurtherUpdate`)."""

from reproduce.algorithms.parts.state import FurtherUpdate
from reproduce.training.passes import loss_mask


def further_updates(trainer) -> dict[str, float]:
    """Make the optimiser steps that follow the last update of an RL step. Every process must call it.

    Args:
        trainer: an `AgenticTrainer` after that update.

    Returns:
        Metrics that the states report of them, means over the optimiser steps.
    """
    found: dict[str, list[float]] = {}
    for update in (update for state in trainer.states for update in state.further_updates()):
        metrics = _further_update(trainer, update)
        for name, of_loss in update.reported.items():
            found.setdefault(name, []).append(metrics[of_loss])
    if found:
        trainer.host.weights_changed()
    return {name: sum(values) / len(values) for name, values in found.items()}


def _further_update(trainer, update: FurtherUpdate) -> dict[str, float]:
    """Make one optimiser step. Returns the metrics of its loss."""
    inputs = {name: value.to(trainer.args.device) for name, value in update.rows.items()}
    mask_BT, metrics, model = loss_mask(inputs), {}, trainer.model_wrapped
    algorithm = trainer.algorithm.with_overrides(**update.changes)

    def loss(logps_BT, entropies_BT):
        old_BT, advantages_BT = inputs["old_per_token_logps"], inputs["advantages"]
        sizes = {"normalizer": mask_BT.sum().float().clamp(min=1), "rows": len(mask_BT)}
        loss, found = algorithm.loss(logps_BT, old_BT, advantages_BT, mask_BT, **sizes, **update.numbers)
        metrics.update(found, loss=float(loss.detach()))
        return update.weight * trainer.of_process(loss)

    def backward() -> None:
        with trainer.passes.attending(model):
            with trainer.compute_loss_context_manager():
                whole = trainer.passes.loss(model, inputs, loss, entropy=False)
            trainer.accelerator.sync_gradients = True
            trainer.accelerator.backward(whole)

    model.train()
    trainer.exchanged(model, backward)
    if trainer.args.max_grad_norm:
        trainer.accelerator.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    return metrics
