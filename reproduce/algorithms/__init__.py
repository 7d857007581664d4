"""Load algorithms by name: `load("aepo")` is the published setting, `load("aepo", clip_high=0.28)` is your change to
it.
"""

from importlib import import_module

from reproduce.algorithms.base import Algorithm
from reproduce.algorithms.run import check_group_size, for_run, inert_at_one_update
from reproduce.errors import UserError, closest

# name -> module:constant below this package; one line registers a method
_METHODS = {
    "grpo": "grpo:GRPO",
    "dr-grpo": "dr_grpo:DR_GRPO",
    "rloo": "rloo:RLOO",
    "gspo": "gspo:GSPO",
    "reinforce++": "reinforce_plus_plus:REINFORCE_PLUS_PLUS",
    "reinforce++-baseline": "reinforce_plus_plus:REINFORCE_PLUS_PLUS_BASELINE",
    "dapo": "dapo:DAPO",
    "gppo": "gppo:GPPO",
    "ce-gppo": "ce_gppo:CE_GPPO",
    "cispo": "cispo:CISPO",
    "opo": "opo:OPO",
    "kl-cov": "kl_cov:KL_COV",
    "clip-cov": "clip_cov:CLIP_COV",
    "erc": "erc:ERC",
    "erc-gppo": "erc:ERC_GPPO",
    "stapo": "stapo:STAPO",
    "minirl": "minirl:MINIRL",
    "minpro": "minpro:MINPRO",
    "dapo-8020": "dapo_8020:DAPO_8020",
    "bapo": "bapo:BAPO",
    "bapo-paper": "bapo:BAPO_PAPER",
    "rest": "rest:REST",
    "arbitrary-entropy": "arbitrary_entropy:ARBITRARY_ENTROPY",
    "dcpo": "arbitrary_entropy:DCPO",
    "warp": "warp:WARP",
    "spear": "spear:SPEAR",
    "majority-vote": "majority_vote:MAJORITY_VOTE",
    "m-grpo": "m_grpo:M_GRPO",
    "sibling-grpo": "sibling_grpo:SIBLING_GRPO",
    "ppo-br": "ppo_br:PPO_BR",
    "linear-entropy-gate": "linear_entropy_gate:LINEAR_ENTROPY_GATE",
    "difficulty-entropy": "difficulty_entropy:DIFFICULTY_ENTROPY",
    "ppo": "ppo:PPO",
    "ppo+epo": "epo:PPO_EPO",
    "grpo+epo": "epo:GRPO_EPO",
    "epo-base": "epo:EPO_BASE",
    "epo-decay": "epo:EPO_DECAY",
    "epo-no-dw": "epo:EPO_NO_DW",
    "epo-released": "epo_released:EPO_RELEASED",
    "ppo+epo-released": "epo_released:PPO_EPO_RELEASED",
    "grpo-released": "epo_released:GRPO_RELEASED",
    "gigpo": "gigpo:GIGPO",
    "arpo": "arpo:ARPO",
    "arpo-hard": "arpo_hard:ARPO_HARD",
    "arpo-released": "arpo_released:ARPO_RELEASED",
    "aepo": "aepo:AEPO",
    "aepo-released": "aepo_released:AEPO_RELEASED",
}

REFUSED = {
    "haepo": "HAEPO (arXiv 2508.18884) weights an episode by the softmax, over episodes, of its summed "
    "log-probability. Sums of long rows differ by tens of nats, so one weight is 1, and the gradient "
    "-w_k (R_k - sum w R) of every row vanishes; how the paper keeps rows comparable is not public",
    "aer": "AER's (arXiv 2510.10959) equations are not public; difficulty-entropy is our stand-in",
    "egspo": "EGSPO's (arXiv 2602.03309) threshold and attenuation are not public; linear-entropy-gate is the form "
    "that was released as its baseline",
    "seea-r1": "SEEA-R1's (arXiv 2506.21669) constants are not public; sibling-grpo is the part that is",
    "tree-grpo": "Tree-GRPO (arXiv 2509.21240) is not here; sibling-grpo is another method on trees",
}
"""Methods of papers that people may ask for -> why they are not here."""

__all__ = ["Algorithm", "check_group_size", "for_run", "inert_at_one_update", "load", "module_of", "names"]


def names() -> tuple[str, ...]:
    """List the methods that `load` knows."""
    return tuple(_METHODS)


def module_of(name: str) -> str:
    """Name the module of a method in this package, such as "dr_grpo"."""
    return _METHODS[name].split(":")[0]


def load(name: str, **overrides) -> Algorithm:
    """Load a method, with parts (`aggregation="token_mean"`) or settings (`clip_high=0.28`) overridden.

    Args:
        name: one of `names()`.
        **overrides: slot -> part, or setting -> value.

    Returns:
        The algorithm.

    Raises:
        UserError: a name, part or setting is unknown (the message suggests the nearest one), or a value is bad.
    """
    if str(name).lower() in REFUSED:
        raise UserError(f"method {name!r} is refused: {REFUSED[name.lower()]}")
    if name not in _METHODS:
        known = ", ".join(names())
        raise UserError(f"unknown method {name!r}; did you mean {closest(name, _METHODS)!r}? known: {known}")
    module, constant = _METHODS[name].split(":")
    algorithm = getattr(import_module(f"reproduce.algorithms.{module}"), constant)
    return algorithm.with_overrides(**overrides)
