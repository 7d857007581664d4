"""Log-probs of loss-mask tokens: equal to a plain forward pass over each row alone, with gradients, however batched."""

from types import SimpleNamespace

import pytest
import torch
from tiny import full_forward, model, tokenizer
from token_rows import batch, trees
from transformers import AutoConfig, AutoModelForCausalLM

from reproduce.errors import UserError
from reproduce.training import token_logps
from reproduce.training.layout import Layout
from reproduce.training.tree_attention import attention_for, check_model


def score(lm, inputs, mask_BT, temperature=1.0, entropy=True):
    return token_logps.token_logps(lm, token_logps.scored_head(lm), inputs, mask_BT, temperature, entropy)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_equal_a_forward_pass_over_each_row_alone(temperature):
    lm = model(scale=3.0).eval()
    inputs, mask_BT, prompts, completions = batch()
    logps_BT, entropies_BT = score(lm, inputs, mask_BT, temperature)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        logps, entropies = full_forward(lm, prompt.tolist(), completion.tolist(), temperature)
        kept = mask_BT[i, : len(completion)]
        torch.testing.assert_close(logps_BT[i, : len(completion)][kept], logps[kept], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(entropies_BT[i, : len(completion)][kept], entropies[kept], atol=1e-5, rtol=1e-5)
    assert (logps_BT[~mask_BT] == 0).all() and (entropies_BT[~mask_BT] == 0).all()


def gradient(lm, inputs, mask_BT):
    lm.zero_grad()
    logps_BT, entropies_BT = score(lm, inputs, mask_BT)
    (logps_BT.sum() + 0.3 * entropies_BT.square().sum()).backward()
    return torch.cat([p.grad.flatten() for p in lm.parameters()])


def test_the_gradient_does_not_depend_on_rows_per_pass_or_chunks(monkeypatch):
    lm = model(scale=3.0)
    inputs, mask_BT, _, _ = batch()
    expected = gradient(lm, inputs, mask_BT)
    assert expected.abs().max() > 0.1
    for rows, logits in ((1, 2**27), (100, 2**27), (16, 413 * 7), (16, 1)):
        monkeypatch.setattr(token_logps, "CPU_ROWS", rows)
        monkeypatch.setattr(token_logps, "KEPT_LOGITS", logits)
        torch.testing.assert_close(gradient(lm, inputs, mask_BT), expected, atol=2e-4, rtol=1e-4)


def causal_lm(family: str):
    """A float64 model of the family, two layers, drawn from a seed."""
    sizes = dict(vocab_size=len(tokenizer()), hidden_size=16, intermediate_size=24, num_hidden_layers=2, head_dim=4)
    sizes |= dict(num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False)
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).double()


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama"])
def test_packed_rows_have_the_values_and_gradients_of_rows_alone(family):
    lm = causal_lm(family)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(4.0)
    inputs, mask_BT, _, _ = batch()
    seen = []
    lm.register_forward_pre_hook(lambda _, args, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True)
    expected, found = [], []
    for kept, layout in ((expected, Layout.PADDED), (found, Layout.PACKED)):
        lm.zero_grad()
        seen.clear()
        values = token_logps.token_logps(lm, token_logps.scored_head(lm), inputs, mask_BT, 0.7, True, layout)
        (values[0].sum() + 0.3 * values[1].square().sum()).backward()
        kept += [*(value.detach() for value in values), *(p.grad.clone() for p in lm.parameters())]
    tokens = int(inputs["prompt_mask"].sum() + inputs["completion_mask"].sum())
    assert [ids.shape for ids in seen] == [(1, tokens)], "one row, and no padding"
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    assert expected[0].abs().max() > 1 and expected[2].abs().max() > 1e-3


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama"])
def test_rows_that_share_prefixes_have_the_values_and_gradients_of_rows_alone(family, again, wide_norms):
    """Prompts, forks inside and between turns, a row twice, a row that is the beginning of another."""
    lm = causal_lm(family)
    with torch.no_grad():
        for parameter in lm.parameters():
            parameter.mul_(4.0)
    inputs, mask_BT = trees()
    passed, expected, found = [], [], []
    lm.register_forward_pre_hook(lambda _, args, kwargs: passed.append(kwargs["input_ids"]), with_kwargs=True)
    if again:
        lm.train().gradient_checkpointing_enable()
    head = token_logps.scored_head(lm)
    for kept, layout in ((expected, Layout.PADDED), (found, Layout.SHARED)):
        lm.zero_grad()
        passed.clear()
        with attention_for(lm, layout):
            values = token_logps.token_logps(lm, head, inputs, mask_BT, 0.7, True, layout)
            (values[0].sum() + 0.3 * values[1].square().sum()).backward()
        kept += [*(value.detach() for value in values), *(p.grad.clone() for p in lm.parameters())]
    rows = [
        [*prompt[mask.bool()].tolist(), *completion[kept.bool()].tolist()]
        for prompt, mask, completion, kept in zip(*inputs.values(), strict=True)
    ]
    beginnings = {tuple(row[:n]) for row in rows for n in range(1, len(row) + 1)}
    assert [ids.shape for ids in passed] == [(1, len(beginnings))] and len(beginnings) < 0.6 * sum(map(len, rows))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    assert expected[0].abs().max() > 1 and expected[2].abs().max() > 1e-3
    assert lm.config._attn_implementation == "sdpa"


def test_shared_prefixes_without_attention_in_a_tree_are_an_error():
    inputs, mask_BT = trees()
    lm = model()
    with pytest.raises(RuntimeError, match="attends by sdpa"):
        token_logps.token_logps(lm, token_logps.scored_head(lm), inputs, mask_BT, 1.0, layout=Layout.SHARED)


def test_a_model_that_attends_in_another_way_is_refused():
    windows = AutoConfig.for_model("qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=0)
    for config, kind in ((windows, "qwen2 with windows"), (AutoConfig.for_model("gemma2"), "gemma2")):
        with pytest.raises(UserError, match=f"training.shared_prefixes: .* not for {kind}"):
            check_model(SimpleNamespace(config=config))


def test_without_entropy_none_is_returned_and_the_head_is_itself_again():
    lm = model()
    inputs, mask_BT, prompts, _ = batch()
    assert score(lm, inputs, mask_BT, entropy=False)[1] is None
    assert lm(input_ids=prompts[0][None]).logits.shape == (1, len(prompts[0]), len(tokenizer()))
    inputs["completion_ids"][0, 0] = 10**6
    with pytest.raises(IndexError):
        score(lm, inputs, mask_BT)
    assert "forward" not in vars(lm.get_output_embeddings())


def test_a_model_that_changes_its_logits_afterwards_is_refused():
    lm = model()
    lm.config.final_logit_softcapping = 30.0
    with pytest.raises(UserError, match="changes logits after its head"):
        token_logps.scored_head(lm)
