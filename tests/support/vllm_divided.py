"""One of two processes that train a model in parts by FSDP 2, each with a vLLM that gets the weights whole."""

from dataclasses import replace

import torch
import torch.distributed as dist

dist.init_process_group("gloo")

import vllm_tiny  # noqa: E402
from engine_checks import gap, sampled  # noqa: E402
from tiny import tokenizer  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402

from reproduce.rollouts.engines.host import open_engine  # noqa: E402
from reproduce.rollouts.engines.weights import named_weights  # noqa: E402
from reproduce.rollouts.grammar import Grammar  # noqa: E402

if __name__ == "__main__":
    grammar, rank = Grammar(tokenizer()), dist.get_rank()
    lm, whole = vllm_tiny.model(scale=3.0), vllm_tiny.model()
    for layer in lm.model.layers:
        fully_shard(layer)
    fully_shard(lm)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=1e-2)
    host, before, gaps = open_engine(replace(vllm_tiny.CONFIG, top_logprobs=1), 2), None, []
    for step in range(3):
        host.refresh(lm)
        paths = sampled(host.engine(lm, grammar, 1.0, rank, step), 3 + rank, 8)  # processes sample unequal numbers
        host.rest()
        whole.load_state_dict(dict(named_weights(lm)))
        gaps.append(gap(whole, paths))
        assert gaps[-1] < 1e-5 and (before is None or gap(before, paths) > 1e-3), gaps
        before = vllm_tiny.model()
        before.load_state_dict(whole.state_dict())
        ids = torch.tensor([path.tokens[: len(path.prompt) + 1] for path in paths])
        loss = lm(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        host.weights_changed()
    print(f"process {rank}: largest gap of log-probs after 0, 1, 2 updates: {gaps}", flush=True)
    host.close()
    dist.destroy_process_group()
