"""Convert a GGUF file of quantised weights to a float32 model folder: `python -m reproduce.tools.hub.dequantise`.

Arguments: the GGUF file, the folder to write, the end-of-sequence token, the base of the rotary positions, the SHA-256
of the weights. It runs in a process of its own, because Transformers wants the package `gguf` on its path.

Transformers reads the file, and two things are repaired: it counts the model as quantised and refuses to save it, and
the file names the token that begins a message as the one that ends it.
"""

import hashlib
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM


def weights_hash(model: torch.nn.Module) -> str:
    """Compute the SHA-256 of names, shapes and bytes of all weights, in the order of their names."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}\n".encode())
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def convert(source: Path, target: Path, eos: str, rope_theta: float, expected: str) -> None:
    """Write model and tokenizer to `target`.

    Args:
        source: the GGUF file.
        target: the folder.
        eos: the token that ends an answer; rows are padded with it too.
        rope_theta: what the converted config must have.
        expected: the `weights_hash` of the result.

    Raises:
        SystemExit: the result is not what is expected; the message is one line.
    """
    read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    tokenizer.eos_token = tokenizer.pad_token = eos
    config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
    model = LlamaForCausalLM(config).float()
    model.load_state_dict(read.state_dict())
    model.tie_weights()
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.eos_token_id
    found = float(config.rope_parameters["rope_theta"])
    if found != rope_theta:
        sys.exit(f"the rotary positions have base {found:g}, not {rope_theta:g}")
    digest = weights_hash(model)
    if digest != expected:
        sys.exit(f"the converted weights have SHA-256 {digest}, not {expected}")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


if __name__ == "__main__":
    file, folder, end, theta, digest_of_weights = sys.argv[1:]
    convert(Path(file), Path(folder), end, float(theta), digest_of_weights)
