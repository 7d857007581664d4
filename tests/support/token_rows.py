"""A batch of token ids with padding and tool tokens, as TRL names its tensors."""

import torch
from tiny import tokenizer


def batch(rows=20, seed=0):
    """Prompts and completions of many lengths, in TRL's padding, and a loss mask with holes."""
    draw = torch.Generator().manual_seed(seed)

    def number(low, high):
        return int(torch.randint(low, high, (1,), generator=draw))

    prompts = [torch.randint(5, 400, (number(1, 9),), generator=draw) for _ in range(rows)]
    completions = [torch.randint(5, 400, (number(1, 30),), generator=draw) for _ in range(rows)]
    inputs, mask_BT = padded(prompts, completions, draw)
    mask_BT[3] = False  # a row without any trained token
    return inputs, mask_BT, prompts, completions


def trees(seed=0):
    """(inputs, mask_BT) of two groups in random order. Rows fork off others, one is there twice, one goes on."""
    draw = torch.Generator().manual_seed(seed)
    prompts, completions = [], []
    for size in (7, 9):
        prompt = torch.randint(5, 400, (size,), generator=draw)
        first, second = (torch.randint(5, 400, (n,), generator=draw) for n in (20, 14))
        forks = [torch.cat([first[:n], torch.randint(5, 400, (30 - n,), generator=draw)]) for n in (1, 8, 8, 15)]
        whole = [first, second, *forks, torch.cat([forks[1][:19], second]), first.clone(), first[:11]]
        prompts += [prompt] * len(whole)
        completions += whole
    order = torch.randperm(len(prompts), generator=draw).tolist()
    inputs, mask_BT = padded([prompts[i] for i in order], [completions[i] for i in order], draw)
    mask_BT[4] = False
    return inputs, mask_BT


def padded(prompts, completions, draw):
    """(inputs, mask_BT): TRL's tensors, and a loss mask with holes."""
    rows = len(prompts)
    P, T = max(map(len, prompts)), max(map(len, completions))
    inputs = {
        "prompt_ids": torch.full((rows, P), tokenizer().pad_token_id),
        "prompt_mask": torch.zeros(rows, P, dtype=torch.long),
        "completion_ids": torch.full((rows, T), tokenizer().pad_token_id),
        "completion_mask": torch.zeros(rows, T, dtype=torch.long),
    }
    mask_BT = torch.zeros(rows, T, dtype=torch.bool)
    for i, (p, c) in enumerate(zip(prompts, completions, strict=True)):
        inputs["prompt_ids"][i, P - len(p) :], inputs["prompt_mask"][i, P - len(p) :] = p, 1
        inputs["completion_ids"][i, : len(c)], inputs["completion_mask"][i, : len(c)] = c, 1
        mask_BT[i, : len(c)] = torch.rand(len(c), generator=draw) < 0.6
    return inputs, mask_BT
