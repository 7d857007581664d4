"""Columns and types of every parquet file that a run writes.

A change here raises `SCHEMA_VERSION`, except for another one of the `EPISODE_METRICS` (a file without it is read as
NaN) or of the `OPTIONAL` columns. A metric of a new part needs no change: see `PART_METRIC`.
"""

import re
from collections.abc import Iterable

import pyarrow as pa

SCHEMA_VERSION = 1
TURNS = 10  # entropy_turn_0 .. entropy_turn_9
POSITIONS = 10  # entropy_pos_0 .. entropy_pos_9, by position after a tool result

METHOD_METRICS = tuple(
    (
        "regulariser_loss kept_gradient_fraction token_level_advantage_fraction advantage_modified_fraction "
        "advantage_sign_flip_fraction advantage_factor_min advantage_factor_max value_loss value_clip_fraction "
        "value_grad_norm value_explained_variance epo_reference_entropy epo_phase_weight epo_share_below "
        "epo_share_above epo_factor_below epo_factor_above epo_smoothing_loss"
    ).split()
)
"""Metrics of a method's parts for which every steps.parquet has a column; NaN for methods without such a part.

The list is closed: published files have these columns. Any other metric of a part is a `PART_METRIC`.
"""

PART_METRIC = re.compile(r"[a-z0-9_]+/[a-z0-9_]+")
"""Names of other metrics that a part declares (its `metrics`), such as `covariance/tokens`.

They are float64 columns of steps.parquet behind all others, only in runs of methods that have the part.
"""

EPISODE_METRICS = ("entropy_early", "entropy_late", "check_success_iid", "check_success_ood")
"""Metrics of worlds of episodes; NaN in other worlds.

Entropy in the first and last third of the turns, and success in the small evaluations during training
(`evaluation.checks`), NaN in steps without one.
"""

STEP_METRICS = (
    *"reward_mean success_mean format_ok_mean tool_calls_mean completion_tokens_mean sampled_tokens".split(),
    *"trained_tokens tool_calls trajectories groups_sampled groups_degenerate tree_initial_mean".split(),
    *"tree_branches_mean entropy entropy_after_result entropy_mid_segment".split(),
    *(f"entropy_turn_{i}" for i in range(TURNS)),
    *(f"entropy_pos_{i}" for i in range(POSITIONS)),
    *"outside_clip_fraction clip_fraction_low clip_fraction_high entropy_outside entropy_inside".split(),
    *"outside_top20_share high_entropy_follow high_entropy_base kl_warm_start grad_norm loss".split(),
    "advantage_abs_mean",
    *METHOD_METRICS,
    *EPISODE_METRICS,
)
"""float64 columns of steps.parquet beside `step`; NaN where undefined. Entropies in nats."""

TIMINGS = ("seconds_rollout", "seconds_train")
"""Wall seconds of a step. They are in timings.parquet: no clock enters a file that must be byte-identical."""

TOTALS = ("sampled_tokens", "trained_tokens", "tool_calls", "trajectories")
"""Step metrics that add up over a run and fill the manifest's cost."""

STEPS_SCHEMA = pa.schema([("step", pa.int64()), *((name, pa.float64()) for name in STEP_METRICS)])
TIMINGS_SCHEMA = pa.schema([("step", pa.int64()), *((name, pa.float64()) for name in TIMINGS)])

ROLLOUTS_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("group", pa.int64()),
        ("row", pa.int64()),
        ("question_id", pa.string()),
        ("family", pa.string()),
        ("level", pa.int64()),
        ("parent", pa.int64()),  # row inside the group, -1 for a root
        ("branch_token", pa.int64()),  # index in the completion where the fork happened, or -1
        ("branch_turn", pa.int64()),
        ("reward", pa.float64()),
        ("correct", pa.bool_()),
        ("format_ok", pa.bool_()),
        ("tool_calls", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("sampled_tokens", pa.int64()),  # new tokens of this row, the shared prefix excluded
        ("trained_tokens", pa.int64()),
        ("actions", pa.string()),  # one word per action, joined by ' > '
        ("turn_entropies", pa.list_(pa.float32())),  # nats, mean of each turn
        ("answer", pa.string()),
        ("text", pa.string()),
    ]
)

EVAL_SCHEMA = pa.schema(
    [
        ("checkpoint", pa.string()),  # "warm_start", "last", or "as it is" (a model that is only evaluated)
        ("question_id", pa.string()),
        ("family", pa.string()),
        ("level", pa.int64()),
        ("split", pa.string()),
        ("sample", pa.int64()),
        ("reward", pa.float64()),
        ("correct", pa.bool_()),
        ("format_ok", pa.bool_()),
        ("answer", pa.string()),
        ("gold", pa.string()),
        ("tool_calls", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("sampled_tokens", pa.int64()),
        ("actions", pa.string()),
        ("turn_entropies", pa.list_(pa.float32())),
        ("text", pa.string()),
    ]
)

TRAINED = {"steps": STEPS_SCHEMA, "timings": TIMINGS_SCHEMA, "rollouts": ROLLOUTS_SCHEMA}
"""The tables of a trained run, by the names of their files. The warm start has none of them."""

NULLABLE = frozenset({"answer", "gold", "text"})
"""The only columns that may hold nulls: a trajectory without an answer, and text that is left out when publishing."""

LATER = frozenset(METHOD_METRICS + EPISODE_METRICS)
"""Columns that a file may lack; they are read as NaN."""

SEARCH_COSTS = tuple(
    f"{kind}_{count}"
    for kind in ("search", "page", "summary")
    for count in ("calls", "requests", "cache_hits", "errors", "misses")
)
"""Columns of steps.parquet where tools are real searches: the requests of each RL step's rollouts to the services.

Names and meaning: `reproduce.tools.search.search.COSTS`, `reproduce.tools.search.calls.Counts`.
"""

ENGINE_METRICS = tuple(
    (
        "engine_requests engine_prompt_tokens engine_cached_tokens entropy_topk_mean entropy_topk_hidden_mean "
        "entropy_topk_hidden_max sampler_ratio_mean sampler_ratio_max sampler_share_capped sampler_gap_mean "
        "sampler_gap_max"
    ).split()
)
"""Columns of steps.parquet where vLLM samples: its costs, and how its log-probabilities differ from the trainer's.

See `reproduce.rollouts.engines.vllm_engine.cost_of` and `reproduce.training.sampler_weights`.
"""

ENGINE_TIMINGS = ("seconds_weight_sync", "seconds_tool_wait")
"""Columns of timings.parquet where vLLM samples; both are part of seconds_rollout."""

VERDICTS = ("graded", "judged")
"""Columns of eval.parquet where a judge decides `correct`.

They hold the verdict of math-verify or exact match, and the judge's (1 right, 0 wrong, NaN undecided).
"""

SAMPLED_SUCCESS = "success_sampled_mean"
"""Column of steps.parquet where groups without a signal are replaced: the success of all sampled trajectories, dropped
groups included. `success_mean` is that of the trained ones, which is higher at the same skill."""

OPTIONAL = (*SEARCH_COSTS, *VERDICTS, *ENGINE_METRICS, *ENGINE_TIMINGS, SAMPLED_SUCCESS)
"""float64 columns that a file holds, behind all others, only if the job has such a thing."""


def extended(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """Extend `schema` by those of `names` that are `OPTIONAL` or, in steps, a `PART_METRIC`."""
    wanted = set(names)
    further = [name for name in OPTIONAL if name in wanted]
    if METHOD_METRICS[0] in schema.names:
        further += sorted(name for name in wanted - set(schema.names) if PART_METRIC.fullmatch(name))
    return pa.schema([*schema, *((name, pa.float64()) for name in further)])


ROLLOUTS_ORDER = ("step", "group", "row")
EVAL_ORDER = ("checkpoint", "question_id", "sample")


def labelled(schema: pa.Schema) -> pa.Schema:
    """Return the schema of a published file: the run's `method` and `seed` in front."""
    return pa.schema([("method", pa.string()), ("seed", pa.int64()), *schema])
