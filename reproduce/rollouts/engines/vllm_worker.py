"""Extension of vLLM's server workers: take weights from a file."""

from safetensors.torch import load_file


class WeightsFromFile:
    """Mixed into vLLM's worker (`--worker-extension-cls`)."""

    def load_weights_file(self, path: str) -> None:
        """Replaces the weights by those in the safetensors file `path`, under the names of a checkpoint."""
        self.reload_weights(weights_iterator=iter(load_file(path).items()))
