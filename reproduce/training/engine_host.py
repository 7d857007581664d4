"""Opens the engine of a config's engine section: one vLLM for a whole run, and threads for tools."""

from contextlib import AbstractContextManager, nullcontext

from reproduce.config.engine import EngineConfig
from reproduce.errors import UserError
from reproduce.rollouts.engines.ends import end_ids
from reproduce.rollouts.engines.vllm import VllmEngine
from reproduce.rollouts.grammar import Grammar
from reproduce.rollouts.tools import ToolPool
from reproduce.seeding import child_seed
from reproduce.training.parallel import processes


class EngineHost:
    """Makes the engines of a run. vLLM starts with the first one, and gets a model's weights whenever they changed.

    seconds_weight_sync: spent on that so far. Close it at the end. UserError for a server beside several processes.
    """

    def __init__(self, config: EngineConfig):
        if config.name == "vllm_server" and processes() > 1:
            raise UserError(
                f"engine.name: a vLLM server takes the weights of one process, and there are {processes()}; set it to "
                "vllm, which each of them starts for itself"
            )
        self.config = config
        self.seconds_weight_sync = 0.0
        self._sampler = None
        self._changed = False

    @property
    def on_vllm(self) -> bool:
        """Whether vLLM samples."""
        return self.config.name != "transformers"

    def engine(self, model, grammar: Grammar, temperature: float, seed: int, *names) -> VllmEngine:
        """vLLM on the weights that `model` has now, on the sampling stream `names` of `seed`."""
        if self._sampler is None:
            self._sampler = self._start(model)
        self.seconds_weight_sync += self._sampler.load(model, always=self._changed)
        self._changed = False
        own = child_seed(seed, "sampling", *names)
        ends = end_ids(grammar.eos_id, model, grammar.stop_ids)
        return VllmEngine(self._sampler, grammar.stop_ids, ends, temperature, own)

    def tools(self, environment) -> AbstractContextManager[ToolPool | None]:
        """Threads for an environment's calls, where the config asks for some."""
        return ToolPool(environment, self.config.tool_workers) if self.config.tool_workers else nullcontext()

    def weights_changed(self) -> None:
        """Says that an optimiser wrote to the weights: the next engine's vLLM gets them anew, whatever can be seen."""
        self._changed = True

    def close(self) -> None:
        """Ends vLLM, if it was started here."""
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None

    def _start(self, model):
        if self.config.name == "vllm_server":
            from reproduce.rollouts.engines.vllm_server import VllmServer

            return VllmServer(self.config, int(model.config.get_text_config().vocab_size))
        from reproduce.rollouts.engines.vllm_local import LocalVllm

        return LocalVllm(model, self.config, str(next(model.parameters()).device))
