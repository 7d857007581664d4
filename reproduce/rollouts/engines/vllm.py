"""The engine `vllm`: a vLLM in the trainer's own process."""

from reproduce.rollouts.engines.vllm_engine import VllmHost
from reproduce.rollouts.engines.vllm_install import check_vllm
from reproduce.rollouts.engines.vllm_local import LocalVllm


class Host(VllmHost):
    """Starts vLLM beside the trainer."""

    @classmethod
    def check_installed(cls) -> None:
        check_vllm()

    def _start(self, model) -> LocalVllm:
        return LocalVllm(model, self.config, str(next(model.parameters()).device))
