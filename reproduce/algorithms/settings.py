"""Overriding parts and settings of an algorithm by name, with every mistake refused in one line."""

import math
from dataclasses import fields, is_dataclass, replace

from reproduce.algorithms.parts import PARTS, part_name
from reproduce.errors import UserError, closest

# setting: (lowest, highest, whether the lowest itself is allowed); a number not listed may be any finite one. A part of
# a method's own has such a dict itself, as `ranges`
RANGES = {
    "initial_fraction": (0.0, 1.0, False),
    "alpha": (0.0, 1.0, True),
    "entropy_weight": (0.0, math.inf, True),
    "threshold": (0.0, 1.0, True),
    "entropy_tokens": (1, math.inf, True),
    "beta": (0.0, math.inf, True),
    "step_weight": (0.0, math.inf, True),
    "step_discount": (0.0, 1.0, True),
    "micro_batch_sequences": (1.0, math.inf, True),
    "statistics_sequences": (1.0, math.inf, True),
    "micro_batch_limit": (1, math.inf, True),
    "statistics_limit": (1, math.inf, True),
    "penalty_slope": (0.0, 1.0, True),
    "std_epsilon": (0.0, 1.0, False),
    "whitening_epsilon": (0.0, 1.0, False),
    "entropy_coefficient": (0.0, math.inf, True),
    "log_ratio_bound": (0.0, 80.0, False),
    "clip_low": (0.0, 1.0, True),
    "clip_high": (0.0, math.inf, True),
    "dual_clip": (1.0, math.inf, False),
    "beta_1": (0.0, math.inf, True),
    "beta_2": (0.0, math.inf, True),
    "top_entropy_fraction": (0.0, 1.0, False),
    "kl_coefficient": (0.0, math.inf, True),
    "length_constant": (1, math.inf, True),
    "max_generation_batches": (1, math.inf, True),
    "overlong_buffer": (0.0, 1.0, False),
    "overlong_factor": (0.0, math.inf, True),
    "discount": (0.0, 1.0, False),
    "gae_lambda": (0.0, 1.0, True),
    "critic_learning_rate": (0.0, math.inf, False),
    "value_clip": (0.0, math.inf, False),
    "value_loss_weight": (0.0, math.inf, False),
    "critic_max_grad_norm": (0.0, math.inf, False),
    "kl_bound": (0.0, math.inf, False),
    "entropy_bonus": (0.0, math.inf, True),
    "decay_start": (0.0, math.inf, True),
    "decay_end": (0.0, math.inf, True),
    "decay_rate": (0.0, math.inf, True),
    "smoothing_weight": (0.0, math.inf, True),
    "corridor_low": (0.0, math.inf, True),
    "corridor_high": (0.0, math.inf, True),
    "phase_decay": (0.0, math.inf, True),
    "phase_weight": (0.0, math.inf, True),
    "turn_gate": (0, math.inf, True),
    "schedule_epochs": (2, math.inf, True),
}
INTEGERS = {
    "entropy_tokens",
    "length_constant",
    "max_generation_batches",
    "turn_gate",
    "schedule_epochs",
    "micro_batch_limit",
    "statistics_limit",
}
OPTIONAL = {
    "dual_clip",
    "length_constant",
    "critic_learning_rate",
    "value_clip",
    "turn_gate",
    "micro_batch_sequences",
    "statistics_sequences",
    "micro_batch_limit",
    "statistics_limit",
}
_SMOOTHING = (
    "smoothing_weight",
    "corridor_low",
    "corridor_high",
    "smoothing_reference",
    "phase_schedule",
    "phase_decay",
    "phase_weight",
    "penalty_form",
    "include_current_step",
    "left_padded_history",
    "turn_gate",
    "schedule_epochs",
)
_DECAY = ("decay_by", "decay_start", "decay_end", "decay_rate")
# (switch, value): settings that nothing reads then, so changing them would be a silent no-op
UNREAD = {
    ("entropy_advantage", False): (
        "entropy_coefficient",
        "factor_silently_off",
        "statistics_sequences",
        "statistics_limit",
    ),
    ("factor_silently_off", True): ("entropy_coefficient", "statistics_sequences", "statistics_limit"),
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
    """setting name -> (slot, index in the slot, value), for `parts` as slot -> tuple of part objects."""
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


def ranges_of(part) -> dict[str, tuple]:
    """The ranges of a part's settings, in the form of `RANGES`: the part's own `ranges` come before the list here."""
    return RANGES | getattr(part, "ranges", {})


def checked(method: str, key: str, value, current, ranges: dict[str, tuple] = RANGES):
    """`value` in the type of the setting, or UserError saying what it must be.

    current: the value it replaces. ranges: as of `ranges_of`.
    """
    if key not in ranges:
        if isinstance(current, bool) and not isinstance(value, bool):
            raise UserError(f"{method}: {key} must be true or false, not {value!r}")
        if isinstance(current, str) and not isinstance(value, str):
            raise UserError(f"{method}: {key} must be a string, not {value!r}")
        if isinstance(current, (int, float)) and not isinstance(current, bool):
            finite = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not finite:
                raise UserError(f"{method}: {key} must be a number, not {value!r}")
        return value
    if value is None and key in OPTIONAL:
        return value
    low, high, inclusive = ranges[key]
    kind = "an integer" if key in INTEGERS else "a number"
    number = isinstance(value, int if key in INTEGERS else (int, float)) and not isinstance(value, bool)
    inside = number and math.isfinite(value) and value <= high and (value >= low if inclusive else value > low)
    if not inside:
        limits = f"{'from' if inclusive else 'above'} {low:g}" + (f" to {high:g}" if high < math.inf else " up")
        raise UserError(f"{method}: {key} must be {kind} {limits}, not {value!r}")
    return value if key in INTEGERS else float(value)


def chosen_part(method: str, slot: str, choice, current: tuple = ()):
    """A part from its name in `PARTS`, or the object itself; None and "none" empty a slot that may be empty.

    `current`: the parts now in the slot. A part that is in no registry can be named only where it already stands.
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
    """`algorithm` with parts replaced (keys that are slots) and then single settings (all other keys).

    A replaced part starts from its own defaults. Raises UserError on an unknown key (naming the nearest valid one), a
    value out of range or of the wrong type, and a setting that a switch of the result leaves unread.
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
        slot, index, current = known[key]
        members = list(parts[slot])
        value = checked(method, key, value, current, ranges_of(members[index]))
        members[index] = replace(members[index], **{key: value})
        parts[slot] = tuple(members)
    slots = {slot: members if slot == "regularisers" else next(iter(members), None) for slot, members in parts.items()}
    changed = replace(algorithm, **slots)
    refuse_unread(changed, known, overrides)
    return changed


def refuse_unread(algorithm, before: dict, overrides: dict):
    """UserError if an override changed a setting that the resulting algorithm never reads."""
    settings = algorithm.settings
    for (switch, state), keys in UNREAD.items():
        for key in keys:
            if settings.get(switch) == state and key in overrides and overrides[key] != before[key][2]:
                raise UserError(
                    f"{algorithm.name}: {key} has no effect with {switch}={state}; remove it or change {switch}"
                )
