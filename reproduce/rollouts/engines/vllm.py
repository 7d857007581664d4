"""The engine `vllm`: a vLLM in the trainer's own process, or one that several of its processes share."""

from reproduce.config.engine import EngineConfig
from reproduce.rollouts.engines.vllm_engine import Sampler, VllmHost
from reproduce.rollouts.engines.vllm_group import Together
from reproduce.rollouts.engines.vllm_install import check_vllm
from reproduce.rollouts.engines.vllm_local import LocalVllm


class Host(VllmHost):
    """Starts vLLM beside the trainer. config: with `tensor_parallel` and `memory_share` settled; None: a CPU's."""

    def __init__(self, config: EngineConfig):
        super().__init__(config)
        self.tensor_parallel = config.tensor_parallel or 1

    @classmethod
    def check_installed(cls) -> None:
        check_vllm()

    def led(self, work):
        return work() if self.tensor_parallel == 1 else self._sampler.led(work)

    def _start(self, model) -> Sampler:
        made = LocalVllm(model, self.config, str(next(model.parameters()).device))
        return made if self.tensor_parallel == 1 else Together(made, self.tensor_parallel)
