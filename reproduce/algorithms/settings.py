"""Override the parts and settings of an algorithm by name. Every mistake is one line that names the setting."""

import math
from dataclasses import fields, is_dataclass, replace
from types import NoneType
from typing import get_args, get_type_hints

from reproduce.algorithms.parts import PARTS, part_name
from reproduce.errors import UserError, closest

FROM_0, ABOVE_0, FROM_1 = (0.0, math.inf, True), (0.0, math.inf, False), (1, math.inf, True)
SHARE, SHARE_ABOVE_0 = (0.0, 1.0, True), (0.0, 1.0, False)
_RANGES = {
    FROM_0: "entropy_weight beta beta_1 beta_2 step_weight entropy_coefficient clip_high kl_coefficient "
    "overlong_factor entropy_bonus decay_start decay_end decay_rate smoothing_weight corridor_low corridor_high "
    "phase_decay phase_weight turn_gate",
    ABOVE_0: "critic_learning_rate value_clip value_loss_weight critic_max_grad_norm kl_bound",
    FROM_1: "entropy_tokens micro_batch_sequences statistics_sequences micro_batch_limit statistics_limit "
    "length_constant max_generation_batches",
    SHARE: "alpha threshold step_discount penalty_slope clip_low gae_lambda",
    SHARE_ABOVE_0: "initial_fraction std_epsilon whitening_epsilon top_entropy_fraction overlong_buffer discount",
    (0.0, 80.0, False): "log_ratio_bound",
    (1.0, math.inf, False): "dual_clip",
    (2, math.inf, True): "schedule_epochs",
}
RANGES = {name: limits for limits, names in _RANGES.items() for name in names.split()}
"""Setting -> (lowest, highest, whether the lowest itself is allowed). Any other number may take any finite value.

A part that belongs to one method has such a dict of its own, `ranges`.
"""
_SMOOTHING = (
    "smoothing_weight corridor_low corridor_high smoothing_reference phase_schedule phase_decay phase_weight "
    "penalty_form include_current_step left_padded_history turn_gate schedule_epochs"
).split()
_FACTOR = ("entropy_coefficient", "statistics_sequences", "statistics_limit")
_DECAY = ("decay_by", "decay_start", "decay_end", "decay_rate")
# (switch, value): settings that nothing reads then, so changing them would be a silent no-op
UNREAD = {
    ("entropy_advantage", False): (*_FACTOR, "factor_silently_off"),
    ("factor_silently_off", True): _FACTOR,
    ("statistics_sequences", None): ("statistics_limit",),
    ("micro_batch_sequences", None): ("micro_batch_limit",),
    ("dynamic_budget", False): ("beta", "budget_floor_plus_one", "pilot_mean_all_segments"),
    ("dynamic_budget", True): ("initial_fraction",),
    ("branch_penalty", False): ("penalty_slope", "penalised_draw", "penalty_per_prompt"),
    ("normalisation", "mean"): ("std_epsilon",),
    ("step_weight", 0.0): ("step_discount",),
    ("decision", "bernoulli"): ("threshold",),
    ("dynamic_sampling", False): ("max_generation_batches",),
    ("overlong_penalty", False): ("overlong_buffer", "overlong_factor"),
    ("whiten", False): ("whitening_epsilon",),
    ("entropy_bonus", 0.0): ("entropy_aggregation", "smoothing", *_SMOOTHING, *_DECAY),
    ("smoothing", False): _SMOOTHING,
    ("phase_schedule", "paper"): ("phase_weight", "schedule_epochs"),
    ("phase_schedule", "constant"): ("phase_decay", "schedule_epochs"),
    ("phase_schedule", "released"): ("phase_weight", "phase_decay"),
    ("smoothing_reference", "step"): ("left_padded_history",),
}


def flat_settings(parts: dict[str, tuple]) -> dict[str, tuple[str, int, object]]:
    """List the settings of all parts under their own names.

    Args:
        parts: slot -> the parts in it.

    Returns:
        setting -> (slot, index in the slot, value).

    Raises:
        UserError: two parts have a setting of the same name.
    """
    found = {}
    for slot, members in parts.items():
        for index, part in enumerate(members):
            for field in fields(part) if is_dataclass(part) else ():
                if field.name in found or field.name in PARTS:
                    raise UserError(
                        f"setting {field.name!r} of part {part_name(slot, part)!r} is named twice; rename it"
                    )
                found[field.name] = (slot, index, getattr(part, field.name))
    return found


def checked(method: str, part, key: str, value):
    """Check a value against the annotation and the range of a part's setting.

    Args:
        method: the method's name, for the error.
        part: the part; its field `key` is the setting.
        key: the setting.
        value: the new value.

    Returns:
        The value, as a float where the setting is a number with a range and no integer.

    Raises:
        UserError: the value has the wrong type or is out of range.
    """
    hint = get_type_hints(type(part))[key]
    kinds = get_args(hint) or (hint,)
    if value is None and NoneType in kinds:
        return value
    limits = (RANGES | getattr(part, "ranges", {})).get(key)
    if bool in kinds or str in kinds:
        kind, wanted = (bool, "true or false") if bool in kinds else (str, "a string")
        if not isinstance(value, kind):
            raise UserError(f"{method}: {key} must be {wanted}, not {value!r}")
    elif int in kinds or float in kinds:
        whole = float not in kinds
        low, high, inclusive = limits or (-math.inf, math.inf, True)
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not (number and math.isfinite(value) and (low <= value if inclusive else low < value) and value <= high):
            within = f" {'from' if inclusive else 'above'} {low:g}" + (f" to {high:g}" if high < math.inf else " up")
            kind = "an integer" if whole else "a number"
            raise UserError(f"{method}: {key} must be {kind}{within if limits else ''}, not {value!r}")
        return float(value) if limits and not whole else value
    return value


def chosen_part(method: str, slot: str, choice, current: tuple = ()):
    """Find a part by its name in `PARTS`, or take the object that is given.

    Args:
        method: the method's name, for the error.
        slot: a key of `PARTS`.
        choice: a name or a part; None and "none" empty a slot that may be empty.
        current: the parts that are in the slot now. A part that no registry lists can be named only while it is in use.

    Returns:
        The part, or None for an empty slot.

    Raises:
        UserError: the name is unknown, or the object cannot be called.
    """
    if choice is None:
        choice = "none"
    if not isinstance(choice, str):
        if not (hasattr(choice, "initial") if slot == "rollout" else callable(choice)):
            raise UserError(f"{method}: {slot} must be a name ({', '.join(PARTS[slot])}) or a part, not {choice!r}")
        return choice
    if choice not in PARTS[slot]:
        own = next((part for part in current if part_name(slot, part) == choice), None)
        if own is not None:
            return own
        known = ", ".join(sorted(PARTS[slot]))
        raise UserError(
            f"{method}: unknown {slot} {choice!r}; did you mean {closest(choice, PARTS[slot])!r}? known: {known}"
        )
    kind = PARTS[slot][choice]
    return None if kind is None else kind()


def override(algorithm, overrides: dict):
    """Replace parts (keys that are slots), then single settings (all other keys).

    A replaced part starts from its own defaults.

    Args:
        algorithm: the `Algorithm` to change.
        overrides: slot or setting -> new value.

    Returns:
        A changed copy.

    Raises:
        UserError: a key is unknown, a value is out of range or of the wrong type, or a switch of the result leaves a
            changed setting unread.
    """
    method = algorithm.name
    parts = algorithm.parts()
    for slot in PARTS.keys() & overrides.keys():
        choice = overrides[slot]
        several = slot == "regularisers" and isinstance(choice, (list, tuple))
        chosen = [chosen_part(method, slot, each, parts[slot]) for each in (choice if several else [choice])]
        parts[slot] = tuple(part for part in chosen if part is not None)
    known = flat_settings(parts)
    for key, value in overrides.items():
        if key in PARTS:
            continue
        if key not in known:
            raise UserError(f"{method}: unknown setting {key!r}; did you mean {closest(key, [*known, *PARTS])!r}?")
        slot, index, _ = known[key]
        members = list(parts[slot])
        members[index] = replace(members[index], **{key: checked(method, members[index], key, value)})
        parts[slot] = tuple(members)
    slots = {slot: members if slot == "regularisers" else next(iter(members), None) for slot, members in parts.items()}
    changed = replace(algorithm, **slots)
    refuse_unread(changed, known, overrides)
    return changed


def refuse_unread(algorithm, before: dict, overrides: dict):
    """Refuse an override that changes a setting which the resulting algorithm never reads.

    Args:
        algorithm: the algorithm after the change.
        before: its settings before, as `flat_settings` gives them.
        overrides: setting -> new value.

    Raises:
        UserError: a switch leaves a changed setting unread.
    """
    settings = algorithm.settings
    for (switch, state), keys in UNREAD.items():
        for key in keys:
            if settings.get(switch) == state and key in overrides and overrides[key] != before[key][2]:
                raise UserError(
                    f"{algorithm.name}: {key} has no effect with {switch}={state}; remove it or change {switch}"
                )
