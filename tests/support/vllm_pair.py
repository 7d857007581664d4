"""One of two training processes, each with a vLLM of its own: other weights, other numbers of paths."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")

from tiny import encode, full_forward  # noqa: E402
from vllm_tiny import engine, model  # noqa: E402

from reproduce.rollouts.token_path import TokenPath  # noqa: E402

if __name__ == "__main__":
    rank = dist.get_rank()
    lm = model(rank, scale=3.0).eval()
    made = engine(lm, rank, stop=[])
    for count in (3, 3 + 4 * rank):
        paths = [TokenPath.root(encode("question : max of year and count of page")) for _ in range(count)]
        for path in paths:
            path.budget = 10
        made.run(paths, lambda done: [])
        for path in paths:
            logps, _ = full_forward(lm, path.prompt, path.completion)
            torch.testing.assert_close(logps, torch.tensor(path.logps), atol=1e-4, rtol=0)
    made.sampler.close()
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total == 2, "the processes' own group still works"
    dist.destroy_process_group()
