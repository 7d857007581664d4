"""Score tokens that another implementation of the policy sampled, and weight them."""

from collections.abc import Callable

import torch
from torch import Tensor

from reproduce.algorithms import Algorithm
from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.token_path import TokenPath
from reproduce.training.sampler_weights import sampler_weights


class SamplerGap:
    """Scores a rollout batch with the trainer's own forward pass, and corrects for the difference to the sampler.

    Exact entropies replace those of the sampler in the paths. With a correction, the trainer's log-probabilities become
    the old ones and each token gets a weight; without, the sampler's stay.

    Args:
        config: of the engine: entropy, correction and its bounds, max_gap.
        algorithm: the method.
        reads_entropies: beyond what the algorithm's advantages read, its states read them.

    Raises:
        UserError: entropies at rollout are read, and only truncated ones are to be had.
    """

    def __init__(self, config: EngineConfig, algorithm: Algorithm, reads_entropies: bool):
        self.config = config
        self.exact = config.entropy == "exact"
        self.passes = self.exact or config.correction != "none"
        if not self.exact and (reads_entropies or "entropies_BT" in algorithm.advantage_needs):
            raise UserError(
                f"engine.entropy: {algorithm.name} reads entropies of the full softmax, and topk gives truncated ones; "
                "set it to exact"
            )

    def close(
        self, output: dict, mask_BT: Tensor, paths: list[TokenPath], rows: int, score: Callable[[dict, bool], tuple]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Score the batch, and measure the gap between sampler and trainer.

        Args:
            output: TRL's tensors of the paths, a row each, with the sampler's `old_per_token_logps`.
            mask_BT: the loss mask.
            paths: get exact entropies, where they are asked for.
            rows: that are scored at a time.
            score: (inputs, entropy) -> (logps_BT, entropies_BT or None) of some rows, in nats.

        Returns:
            (tensors that replace or join those of `output`, metrics of `training.sampler_weights`).

        Raises:
            UserError: the gap exceeds `engine.max_gap`.
        """
        if not self.passes:
            return {}, {}
        logps_BT, entropies_BT = self._scored(output, len(paths), rows, score)
        if self.exact:
            for path, entropies in zip(paths, entropies_BT.tolist(), strict=True):
                path.entropies = [e if s else 0.0 for e, s in zip(entropies, path.sampled, strict=False)]
        c, sampler_BT = self.config, output["old_per_token_logps"]
        corrected = c.correction != "none"
        weights_BT, metrics = sampler_weights(
            logps_BT,
            sampler_BT,
            mask_BT,
            c.correction if corrected else "token_truncate",
            c.correction_low if corrected else None,
            c.correction_high if corrected else None,
        )
        if metrics["sampler_gap_mean"] > c.max_gap:
            raise UserError(
                f"engine.max_gap: log-probabilities of sampler and trainer differ by {metrics['sampler_gap_mean']:.3f} "
                f"nats per token, more than {c.max_gap}: they do not hold the same weights, or one is too coarse (set "
                "training.dtype to float32, or raise engine.max_gap if the difference is meant)"
            )
        if not corrected:
            return {}, metrics
        return {"old_per_token_logps": logps_BT, "sampler_weights_BT": weights_BT}, metrics

    @torch.no_grad()
    def _scored(self, output: dict, count: int, rows: int, score) -> tuple[Tensor, Tensor | None]:
        found = []
        for start in range(0, count, rows):
            part = {k: v[start : start + rows] for k, v in output.items() if torch.is_tensor(v) and v.dim() == 2}
            found.append(score(part, self.exact))
        logps, entropies = zip(*found, strict=True)
        return torch.cat(logps), torch.cat(entropies) if self.exact else None
