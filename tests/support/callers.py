"""A random model that calls tools often."""

import tiny
import torch

BOOSTS = {"<search>": 10, "</search>": 8, "<python>": 9, "</python>": 7, "of": 9, "year": 9}


def caller(seed=0):
    """A random tiny model that likes tool tags and small words, so that calls are made and some of them find pages."""
    lm, ids = tiny.model(seed), tiny.tokenizer().convert_tokens_to_ids
    head = torch.nn.Linear(lm.lm_head.in_features, lm.lm_head.out_features)
    with torch.no_grad():
        head.weight.copy_(lm.lm_head.weight)
        head.bias.zero_()
        for word, boost in BOOSTS.items():
            head.bias[ids(word)] = boost
    lm.lm_head = head
    return lm
