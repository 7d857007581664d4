"""Assumptions of a plan: every number with its unit and source, replaceable by `--assume name=value`."""

from dataclasses import dataclass, replace

from reproduce.config.strict import nearest
from reproduce.errors import UserError

ASSUMED, PAPER, SETTING = "assumed", "paper or released script", "setting of the profile"
ON_CPU = "assumed for a CPU"


@dataclass(frozen=True)
class Assumption:
    """One number (or name) of the plan. source: ASSUMED, PAPER, SETTING, or the user."""

    name: str
    value: float | str
    unit: str
    meaning: str
    source: str = ASSUMED


@dataclass(frozen=True)
class Gpu:
    """A GPU's data sheet: bf16 operations per second without sparsity, bytes per second and bytes of its memory."""

    flops: float
    bandwidth: float
    memory: float


GPUS = {
    "H800": Gpu(989e12, 3.35e12, 80e9),
    "H100": Gpu(989e12, 3.35e12, 80e9),
    "H200": Gpu(989e12, 4.8e12, 141e9),
    "A100": Gpu(312e12, 2.04e12, 80e9),
    "L40S": Gpu(362e12, 0.864e12, 48e9),
    "RTX4090": Gpu(165e12, 1.008e12, 24e9),
}

DEFAULTS = (
    Assumption("gpu", "H800", "", f"the GPU, of {', '.join(GPUS)}", PAPER),
    Assumption("gpus", 8, "GPUs", "that one run uses (released scripts: one node of eight)", PAPER),
    Assumption("cpu_flops", 8e10, "operations/s", "float32 peak of one CPU core with 256- or 512-bit vectors"),
    Assumption("cpu_bandwidth", 1e10, "B/s", "of memory for one CPU core"),
    Assumption("cpu_memory", 16e9, "B", "memory of the machine"),
    Assumption("train_use", 0.35, "of peak", "arithmetic that training reaches"),
    Assumption("read_use", 0.5, "of peak", "arithmetic that reading prompts and tool results reaches"),
    Assumption("decode_use", 0.6, "of bandwidth", "memory bandwidth that decoding reaches"),
    Assumption("rollout_memory", 0.6, "of memory", "that weights and key-value cache may take while sampling", PAPER),
    Assumption("longest", 2.0, "x the mean", "tokens of a step's longest trajectory, which the others wait for"),
    Assumption("step_seconds", 30, "s a step", "weight sync, optimiser, logging, checkpoints"),
    Assumption("run_seconds", 600, "s a run", "loading the model, starting the engine"),
    Assumption("calls", 0.5, "of the limit", "tool calls of a trajectory"),
    Assumption("turns", 0.8, "of the limit", "turns of an episode"),
    Assumption("failing", 0.5, "of episodes", "that last to the turn limit; the others end as demonstrations do"),
    Assumption("segment_tokens", 250, "tokens", "sampled before each tool call and before the answer"),
    Assumption("result_tokens", 500, "tokens", "of a tool result in the context (10 snippets, cut)"),
    Assumption("prompt_tokens", 300, "tokens", "of a question with its system prompt"),
    Assumption("turn_prompt_tokens", 1200, "tokens", "of an episode's message: task, history, admissible actions"),
    Assumption("resampling", 1.6, "x", "groups sampled for each one kept, where a method samples dynamically"),
    Assumption("shared_prefix", 0.9, "x", "sampled tokens of a tree against independent trajectories"),
    Assumption("search_share", 0.7, "of tool calls", "that are searches, none recorded before; the rest run Python"),
    Assumption("searches_per_second", 2, "a second", "rate limit of the search service (0: none)", PAPER),
    Assumption("tool_seconds", 3, "s a call", "latency of a tool call while its trajectory waits"),
    Assumption("search_price", 1.5, "$ per 1000", "of a hosted search (list prices are 1 to 5; a corpus of yours: 0)"),
    Assumption("warm_start_share", 0.7, "of the most", "demonstration passes before the warm start is good enough"),
    Assumption("sft_rows", 54000, "rows", "of the SFT set", PAPER),
    Assumption("sft_tokens", 1500, "tokens", "of a row of the SFT set"),
    Assumption("text_bytes", 1.3, "B a token", "of a logged trajectory of natural language, compressed"),
    Assumption("kept_checkpoints", 2, "a run", "that the trainer keeps", "setting of the trainer"),
)  # fmt: skip


CARDS = {"gpu": "RTX4090", "gpu-80gb": "H100", "gpu-scratch": "H100"}
"""Profiles that are made for one card."""

PRICES = {"local": 0.0, "serper": 1.0, "brave": 5.0, "brightdata": 1.5}
"""$ per 1000 searches of each service: list prices for small volumes, rounded; contracts differ."""


class Assumptions:
    """The defaults with the user's changes. `a("gpus")` is a value; what was asked for is remembered in `used`."""

    def __init__(self, changes: dict[str, str] | None = None, job=None):
        """changes: name -> value as text; job: whose config settles some. UserError for an unknown name, a value that
        is no number or is negative."""
        self.known = {assumption.name: assumption for assumption in DEFAULTS}
        self.used: list[str] = []
        for name, value, source in _settled(job) if job is not None else ():
            self.known[name] = replace(self.known[name], value=value, source=source)
        for name, text in (changes or {}).items():
            if name not in self.known:
                raise UserError(f"plan --assume {name}: unknown{nearest(name, self.known)}")
            self.known[name] = replace(self.known[name], value=_value(name, text), source="set by --assume")

    def __call__(self, name: str) -> float:
        """A number."""
        if name not in self.used:
            self.used.append(name)
        return self.known[name].value

    @property
    def gpu(self) -> Gpu:
        """The data sheet of the GPU that is assumed."""
        return GPUS[self("gpu")]

    @property
    def core(self) -> Gpu:
        """The same of one CPU core."""
        return Gpu(self("cpu_flops"), self("cpu_bandwidth"), self("cpu_memory"))

    def listed(self) -> list[Assumption]:
        """Assumptions that a plan has asked for so far, in the order of `DEFAULTS`."""
        return [assumption for name, assumption in self.known.items() if name in self.used]


def _settled(job) -> list[tuple[str, float | str, str]]:
    """(name, value, source) of what a job's config says."""
    found = []
    if job.profile in CARDS:
        found += [("gpu", CARDS[job.profile], SETTING), ("gpus", 1, SETTING)]
    if job.training.device == "cpu":
        found += [("step_seconds", 1, ON_CPU), ("run_seconds", 30, ON_CPU)]
    if job.search is not None:
        found += [
            ("searches_per_second", job.search.requests_per_second, SETTING),
            ("search_price", PRICES[job.search.service], f"list price of {job.search.service}, rounded"),
        ]
    return found


def _value(name: str, text: str) -> float | str:
    if name == "gpu":
        if text not in GPUS:
            raise UserError(f"plan --assume gpu={text}: there is no such GPU; GPUs: {', '.join(GPUS)}")
        return text
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"plan --assume {name}={text}: must be a number") from None
    above = () if name in ("searches_per_second", "search_price", "step_seconds", "run_seconds") else ("above 0",)
    if not 0 <= value < float("inf") or (above and value == 0):
        raise UserError(f"plan --assume {name}={text}: must be {'above 0' if above else '0 or more'}")
    return value
