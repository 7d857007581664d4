"""Loss parts of the code released for ARPO and AEPO; its rollout switches are in `released.rollouts`."""

from dataclasses import dataclass

import torch

from reproduce.algorithms.parts.released import packing


@dataclass(frozen=True)
class MicroBatchTokenMean:
    """Aggregation: a token mean of every micro-batch, weighted by its share of rows; ignores `normalizer`.

    Released code: `verl/workers/actor/dp_actor.py`, `update_policy` (with `core_algos.agg_loss`). To turn it off, set
    aggregation to "token_mean" (AEPO's paper) or "sequence_mean" (ARPO's eq. 6).

    micro_batch_sequences: token budget of a micro-batch, in rows of `micro_batch_limit` tokens. The launchers allow 2
    (P + R) tokens, P and R the limits on prompt and response. A loss sees no prompts, so lengths here are those of
    completions. None: the tensors given are one micro-batch, for callers that split them. micro_batch_limit: the run's
    limit on completions, in tokens. None: the longest one of the update batch, which makes micro-batches smaller than
    the released ones.
    """

    micro_batch_sequences: float | None = 2.0
    micro_batch_limit: int | None = None
    needs = ()

    def __call__(self, values_BT, mask_BT, normalizer, rows):
        pack_B = packing.micro_batches(mask_BT, self.micro_batch_sequences, self.micro_batch_limit)
        return packing.micro_batch_token_mean(values_BT, mask_BT, pack_B, rows)


@dataclass(frozen=True)
class CurrentEntropyFactor:
    """Token weight: AEPO's factor 1 + entropy_coefficient * z(H) as the released code has it, inside the loss.

    H is the current policy's, without gradient, and z is taken over a micro-batch, so it depends on the packing.
    Released code: `verl/trainer/ppo/core_algos.py`, `compute_policy_loss_entropy_balanced_clipping`. There the factor
    multiplies the advantage before the clip reads its sign. As a weight it multiplies the clipped term, which is the
    same unless the factor is negative (z < -1 / entropy_coefficient). A micro-batch of one token, whose unbiased
    standard deviation is NaN there, has the factor 1.

    factor_silently_off: the released `dp_actor.update_policy` computes entropies only if `entropy_coeff` is not 0. Both
    launchers leave it at 0, so the flag `enable_entropy_balanced_advantage` does nothing. False: the factor acts. The
    paper's form: token_weight="none", advantage="entropy_aware". statistics_sequences, statistics_limit: as
    `micro_batch_sequences` and `micro_batch_limit`; keep them equal.
    """

    entropy_advantage: bool = True
    factor_silently_off: bool = True
    entropy_coefficient: float = 0.2
    statistics_sequences: float | None = 2.0
    statistics_limit: int | None = None

    @property
    def acts(self) -> bool:
        return self.entropy_advantage and not self.factor_silently_off and self.entropy_coefficient != 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("entropies_BT",) if self.acts else ()

    def __call__(self, tensors, mask_BT):
        if not self.acts:
            return torch.ones_like(tensors["logps_BT"], requires_grad=False)
        pack_B = packing.micro_batches(mask_BT, self.statistics_sequences, self.statistics_limit)
        z_BT = packing.micro_batch_entropy_zscore(tensors["entropies_BT"], mask_BT, pack_B)
        return 1.0 + self.entropy_coefficient * z_BT
