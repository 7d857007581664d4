"""Assumptions of a plan: data sheets, and every number with its unit and source (`--assume name=value` replaces it)."""

from dataclasses import dataclass, replace

from reproduce.config.strict import nearest
from reproduce.errors import UserError

ASSUMED, PAPER, SETTING = "assumed", "paper or released script", "setting of the profile"

GPUS = {
    "H800": (989e12, 3.35e12, 80e9),
    "H100": (989e12, 3.35e12, 80e9),
    "H200": (989e12, 4.8e12, 141e9),
    "A100": (312e12, 2.04e12, 80e9),
    "L40S": (362e12, 0.864e12, 48e9),
    "RTX4090": (165e12, 1.008e12, 24e9),
}
"""Data sheets: bf16 operations per second without sparsity, bytes per second and bytes of memory."""
CARDS = {"gpu": "RTX4090", "gpu-80gb": "H100", "gpu-scratch": "H100"}
"""Profiles that are made for one card."""
PRICES = {"local": 0.0, "serper": 1.0, "brave": 5.0, "brightdata": 1.5}
"""$ per 1000 searches of each service: list prices for small volumes, rounded; contracts differ."""
DEMONSTRATED = {
    "mini-math": (10.0, 20.8, 2.5, 0.83),
    "mini-knowledge": (7.0, 29.5, 63.2, 2.43),
    "mini-deepsearch": (8.35, 59.9, 75.8, 6.18),
    "minihouse": (312.6, 50.1, 0.0, 10.1),
}
"""Tokens of prompts, answers and tool results, and calls (turns), of 120 demonstrations of a family of MiniWeb, or of
MiniHouse, where a word is a token: the warm start's, with errors in one action of five."""
WORD_BYTES = 0.3
"""Bytes of a logged token where a word is a token: 0.31 and 0.45 in rollouts.parquet of tables 2 and 1, mini."""
MAY_BE_0 = ("searches_per_second", "search_price", "step_seconds", "run_seconds")


@dataclass(frozen=True)
class Assumption:
    """One number (or name) of the plan. source: ASSUMED, PAPER, SETTING, or the user."""

    value: float | str
    unit: str
    meaning: str
    source: str = ASSUMED

    def __str__(self) -> str:
        return f"{self.value if isinstance(self.value, str) else format(self.value, 'g')} {self.unit}".strip()


DEFAULTS = {
    "gpu": Assumption("H800", "", f"the GPU, of {', '.join(GPUS)}", PAPER),
    "gpus": Assumption(8, "GPUs", "that one run uses (released scripts: one node of eight)", PAPER),
    "cpu_flops": Assumption(8e10, "operations/s", "float32 peak of one CPU core with 256- or 512-bit vectors"),
    "cpu_bandwidth": Assumption(1e10, "B/s", "of memory for one CPU core"),
    "cpu_memory": Assumption(16e9, "B", "memory of the machine"),
    "train_use": Assumption(0.35, "of peak", "arithmetic that training reaches"),
    "read_use": Assumption(0.5, "of peak", "arithmetic that reading prompts and tool results reaches"),
    "decode_use": Assumption(0.6, "of bandwidth", "memory bandwidth that decoding reaches"),
    "rollout_memory": Assumption(0.6, "of memory", "that weights and key-value cache may take while sampling", PAPER),
    "longest": Assumption(2.0, "x the mean", "tokens of a step's longest trajectory, which the others wait for"),
    "step_seconds": Assumption(30, "s a step", "weight sync, optimiser, logging, checkpoints"),
    "run_seconds": Assumption(600, "s a run", "loading the model, starting the engine"),
    "calls": Assumption(0.5, "of the limit", "tool calls of a trajectory"),
    "turns": Assumption(0.8, "of the limit", "turns of an episode"),
    "failing": Assumption(0.5, "of episodes", "that last to the turn limit; the others end as demonstrations do"),
    "segment_tokens": Assumption(250, "tokens", "sampled before each tool call and before the answer"),
    "result_tokens": Assumption(500, "tokens", "of a tool result in the context (10 snippets, cut)"),
    "prompt_tokens": Assumption(300, "tokens", "of a question with its system prompt"),
    "turn_prompt_tokens": Assumption(1200, "tokens", "of an episode's message: task, history, admissible actions"),
    "resampling": Assumption(1.6, "x", "groups sampled for each one kept, where a method samples dynamically"),
    "shared_prefix": Assumption(0.9, "x", "sampled tokens of a tree against independent trajectories"),
    "search_share": Assumption(0.7, "of tool calls", "that are searches, none recorded before; the rest run Python"),
    "searches_per_second": Assumption(2, "a second", "rate limit of the search service (0: none)", PAPER),
    "tool_seconds": Assumption(3, "s a call", "latency of a tool call while its trajectory waits"),
    "search_price": Assumption(1.5, "$ per 1000", "of a hosted search (list prices are 1 to 5; a corpus of yours: 0)"),
    "warm_start_share": Assumption(0.7, "of the most", "demonstration passes before the warm start is good enough"),
    "sft_rows": Assumption(54000, "rows", "of the SFT set", PAPER),
    "sft_tokens": Assumption(1500, "tokens", "of a row of the SFT set"),
    "text_bytes": Assumption(1.3, "B a token", "of a logged trajectory, compressed"),
    "kept_checkpoints": Assumption(2, "a run", "that the trainer keeps", "setting of the trainer"),
}


class Assumptions:
    """The defaults with the job's and the user's changes. `a("gpus")` is a value; `used` remembers its name."""

    def __init__(self, job, changes: dict[str, str] | None = None):
        """Settle what the job's config says, then what the user says.

        Args:
            job: whose config settles some.
            changes: name -> value as text.

        Raises:
            UserError: an unknown name, or a value that is no number or is negative.
        """
        self._known, self._used = dict(DEFAULTS), set()
        if job.profile in CARDS:
            self._set(SETTING, gpu=CARDS[job.profile], gpus=1)
        if job.training.device == "cpu":
            self._set("assumed for a CPU", step_seconds=1, run_seconds=30)
        if job.model.name_or_path is None:
            self._set("measured, profile mini", text_bytes=WORD_BYTES)
        if job.search is not None:
            documented = job.search.requests_per_second is None
            source = "documented limit of the service" if documented else SETTING
            self._set(source, searches_per_second=job.search.rate)
            self._set(f"list price of {job.search.service}, rounded", search_price=PRICES[job.search.service])
        for name, text in (changes or {}).items():
            self._set("set by --assume", **{name: _value(name, text)})

    def _set(self, source: str, **values) -> None:
        for name, value in values.items():
            self._known[name] = replace(self._known[name], value=value, source=source)

    def __call__(self, name: str):
        """The value of an assumption."""
        self._used.add(name)
        return self._known[name].value

    def used(self) -> dict[str, Assumption]:
        """Assumptions that a plan has asked for so far, in the order of `DEFAULTS`."""
        return {name: assumption for name, assumption in self._known.items() if name in self._used}


def _value(name: str, text: str) -> float | str:
    if name not in DEFAULTS:
        raise UserError(f"plan --assume {name}: unknown{nearest(name, DEFAULTS)}")
    if name == "gpu":
        if text not in GPUS:
            raise UserError(f"plan --assume gpu={text}: there is no such GPU; GPUs: {', '.join(GPUS)}")
        return text
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"plan --assume {name}={text}: must be a number") from None
    if not 0 <= value < float("inf") or (value == 0 and name not in MAY_BE_0):
        raise UserError(f"plan --assume {name}={text}: must be {'0 or more' if name in MAY_BE_0 else 'above 0'}")
    return value
