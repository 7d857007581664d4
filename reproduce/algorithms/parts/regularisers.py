"""Regulariser parts: (tensors, mask_BT) -> value_BT, aggregated like the surrogate and added to the loss."""

from dataclasses import dataclass

from reproduce.objectives import regularisers


@dataclass(frozen=True)
class ReferenceKL:
    """kl_coefficient * k3 estimate of KL(pi || pi_ref); reads ref_logps_BT, and nothing at coefficient 0."""

    kl_coefficient: float = 0.0

    @property
    def active(self) -> bool:
        return self.kl_coefficient != 0

    @property
    def needs(self) -> tuple[str, ...]:
        return ("ref_logps_BT",) if self.active else ()

    def __call__(self, tensors, mask_BT):
        kl_BT = regularisers.reference_kl(tensors["logps_BT"], tensors["ref_logps_BT"], mask_BT)
        return self.kl_coefficient * kl_BT
