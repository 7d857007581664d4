"""The fidelity audit: its rows, its numbers on the committed batch, and that each claim of a row is true."""

import ast
import csv
import io
import json
import math
import subprocess
import sys
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from places import ROOT
from tiny import LocalPrinter, full_forward, model, tokenizer

from analysis import fidelity, provenance, reported
from analysis.fidelity import epo as epo_measures
from analysis.fidelity import losses, rows, table, trees
from analysis.fidelity.batch import Batch, advantages, distance, gradient, norm
from reproduce.algorithms import for_run, inert_at_one_update, load
from reproduce.algorithms.parts import epo_terms as epo
from reproduce.errors import UserError

ROWS = ROOT / "data" / "papers" / "discrepancies.yaml"


@cache
def batch() -> Batch:
    return fidelity.load_batch(ROOT / "data" / "fidelity")


@cache
def papers() -> pd.DataFrame:
    return reported.load_reported(ROOT / "data" / "papers")


@cache
def values() -> dict[str, float]:
    return fidelity.values(batch(), papers())


# ---------------------------------------------------------------- rows


def test_the_rows_are_complete_and_every_one_says_what_it_changes():
    found = rows.load_rows(ROWS)
    own = [row for row in found if row.method in rows.COUNTS]
    assert len(own) == 64
    for beyond in (rows.FAMILY, rows.OTHER):
        others = [row.id for row in found if row.method == beyond]
        assert others == [f"{beyond}-{i + 1}" for i in range(len(others))]
    counted = table.counts(found)
    assert counted["rows"].to_dict() == {"AEPO": 27, "ARPO": 18, "EPO": 19, "all": 64}
    assert counted.loc["all", "gradient"] == sum("gradient" in row.changes for row in own) >= 20
    assert all(row.tests for row in found if row.measures and row.changes != ["text"])


def changed(tmp_path, change):
    """The file with its first row changed by `change(rows)`."""
    entries = yaml.safe_load(ROWS.read_text())
    change(entries)
    path = tmp_path / "rows.yaml"
    path.write_text(json.dumps(entries))  # which is YAML
    return path


BAD = [
    (lambda e: e[0].update(note="x"), "row AEPO-1: unknown key 'note'"),
    (lambda e: e[0].pop("paper"), "row AEPO-1: the key 'paper' is missing"),
    (lambda e: e[0].update(here=" "), "row AEPO-1: 'here' is empty"),
    (lambda e: e[0].update(changes=["weights"]), "'changes[0]' must be one of gradient, sampling"),
    (lambda e: e[0].update(changes=[]), "row AEPO-1: 'changes'"),
    (lambda e: e[0].update(tests="tests/rollouts/test_agent.py::test_counts_are_honest"), "'tests' must be a list"),
    (lambda e: e[0].update(tests=["test_agent.py"]), "row AEPO-1: 'tests[0]'"),
    (lambda e: e[0].update(tests=[]), "'tests' or the reason why there are none, 'untested'"),
    (lambda e: e[0].update(unmeasured="why"), "'measures' or the reason why there are none, 'unmeasured'"),
    (lambda e: e[0].update(measures=["speed"]), "'measures' names 'speed', which analysis/fidelity does not measure"),
    (lambda e: e[0].update(settings={"apo": {}}), "'settings' names the method 'apo'"),
    (lambda e: e[0].update(settings={"aepo": {"gamma": 1}}), "'settings' names 'gamma', which aepo does not have"),
    (
        lambda e: e[0]["settings"]["aepo"].update(dynamic_budget=False),
        "dynamic_budget is False in aepo, but it is True",
    ),
    (lambda e: e[0]["settings"]["aepo"].update(dynamic_budget=1), "dynamic_budget is 1 in aepo, but it is True"),
    (lambda e: e.pop(3), "row AEPO-4 is missing, out of order or too many"),
    (lambda e: e.insert(0, e.pop(1)), "row AEPO-1 is missing, out of order or too many"),
    (lambda e: e[0]["measures"].pop(), "no row shows the measure 'budget_unmoved'"),
    (lambda e: e.append(7), "must be a mapping"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_rows_are_named(tmp_path, change, message):
    path = changed(tmp_path, change)
    with pytest.raises(UserError) as error:
        rows.load_rows(path)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_or_unreadable_file_is_named(tmp_path):
    with pytest.raises(UserError, match="rows.yaml does not exist"):
        rows.load_rows(tmp_path / "rows.yaml")
    (tmp_path / "rows.yaml").write_text("- [")
    with pytest.raises(UserError, match="rows.yaml is not valid YAML"):
        rows.load_rows(tmp_path / "rows.yaml")
    with pytest.raises(UserError, match="batch.json.*analysis.fidelity.recorder"):
        fidelity.load_batch(tmp_path)


# ---------------------------------------------------------------- the tests that rows name


def named_tests() -> dict[str, set[str]]:
    """Test file -> the functions that rows name."""
    found: dict[str, set[str]] = {}
    for node in {test for row in rows.load_rows(ROWS) for test in row.tests}:
        file, name = node.split("::")
        found.setdefault(file, set()).add(name)
    return found


def skips(node: ast.AST) -> bool:
    """Whether the code marks or calls a skip."""
    names = {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    return bool(names & {"skip", "skipif", "importorskip", "xfail"})


def test_every_named_test_exists_and_nothing_can_skip_it():
    for file, wanted in named_tests().items():
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert wanted <= functions.keys(), (file, wanted - functions.keys())
        marks = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign) and skips(node.value)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert "pytestmark" not in marks, file
        assert not [node for node in tree.body if isinstance(node, ast.Expr) and skips(node)], file
        for name in wanted:
            test = functions[name]
            fixtures = [functions[a.arg] for a in test.args.args if a.arg in functions]
            assert not any(map(skips, [test, *fixtures])), f"{file}::{name} may be skipped"
            used = {n.id for d in test.decorator_list for n in ast.walk(d) if isinstance(n, ast.Name)}
            assert not used & marks, f"{file}::{name} may be skipped by {used & marks}"


@pytest.mark.slow
def test_pytest_collects_every_named_test():
    nodes = [f"{file}::{name}" for file, wanted in named_tests().items() for name in sorted(wanted)]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *nodes]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
    collected = {line.partition("[")[0] for line in run.stdout.splitlines()}
    assert set(nodes) <= collected


# ---------------------------------------------------------------- what is written


def test_the_table_holds_every_row_with_its_number_and_its_test():
    found = rows.load_rows(ROWS)
    files = table.files(found, values(), ("A batch.",))
    assert list(files) == ["fidelity.md", "fidelity.csv"]
    text = files["fidelity.md"]
    lines = {line.split("**")[1]: line for line in text.splitlines() if line.startswith("| **")}
    assert set(lines) == {row.id for row in found}
    for row in found:
        assert lines[row.id].count(" | ") == len(table.COLUMNS) - 1
        assert all(f"`{test}`" in lines[row.id] for test in row.tests)
        assert all(table.quantity(name, values()) in lines[row.id].replace(r"\|", "|") for name in row.measures)
    frame = pd.read_csv(io.StringIO(files["fidelity.csv"]), keep_default_na=False)
    assert len(frame) == 64 and list(frame["id"])[:2] == ["AEPO-1", "AEPO-2"]
    factor = frame.set_index("id").loc["AEPO-2"]
    assert float(factor["value"]) == pytest.approx(values()["factor_absent"], rel=1e-5) and factor["unit"] == "%"
    assert factor["settings"].startswith("aepo: entropy_advantage = true; aepo-released: ")


def test_the_committed_table_is_that_of_the_committed_batch():
    with (ROOT / "figures" / "fidelity.csv").open(newline="") as handle:
        committed = {line["id"]: line for line in csv.DictReader(handle)}
    now = table.frame([row for row in rows.load_rows(ROWS) if row.method in rows.COUNTS], values())
    assert list(committed) == list(now["id"])
    for line in now.to_dict("records"):
        kept = committed[line["id"]]
        for name in ("topic", "paper", "released", "where", "here", "settings", "changes", "unit", "quantity", "tests"):
            assert kept[name] == line[name], (line["id"], name)
        if line["unit"]:
            assert float(kept["value"]) == pytest.approx(line["value"], rel=1e-4, abs=1e-9), line["id"]
    text = (ROOT / "figures" / "fidelity.md").read_text()
    assert batch().description in text and all(f"**{name}**" in text for name in committed)


def test_numbers_are_shown_with_three_digits():
    assert [table.number(v) for v in (48.03, 7.0, 0.0, 0.02034, 119.374, 9.7e-6)] == [
        "48",
        "7",
        "0",
        "0.0203",
        "119",
        "9.7e-06",
    ]


# ---------------------------------------------------------------- the batch, and gradients without logits


def logit_batch(seed=0, shape=(4, 7), vocabulary=6):
    """Random logits, and the batch that holds no more of them than a real one does."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*shape, vocabulary, generator=generator, dtype=torch.float64)
    logps = torch.log_softmax(logits, -1)
    p, chosen = logps.exp(), torch.randint(vocabulary, shape, generator=generator)[..., None]
    entropy = -(p * logps).sum(-1)
    score = torch.zeros_like(p).scatter(2, chosen, 1.0) - p
    slope = -p * (logps + entropy[..., None])
    mask = torch.rand(shape, generator=generator) < 0.8
    mask[:, 0] = True
    logp = logps.gather(2, chosen)[..., 0]
    tensors = {
        "mask_BT": mask,
        "logps_BT": logp,
        "entropies_BT": entropy,
        "old_entropies_BT": entropy.flip(1),
        "old_logps_BT": logp + 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64),
        "turns_BT": (torch.arange(shape[1]) // 3).expand(shape),
        "rewards_B": torch.arange(shape[0]).double(),
        "groups_B": torch.arange(shape[0]) % 2,
        "score_square_BT": (score**2).sum(-1),
        "score_slope_BT": (score * slope).sum(-1),
        "slope_square_BT": (slope**2).sum(-1),
    }
    about = {"rl_step": 2, "rl_steps": 9, "references": {"entropy_reference": 0.5}}
    return Batch(pd.DataFrame(), pd.DataFrame(), about, tensors), logits, chosen


@pytest.mark.parametrize("name", ["aepo", "arpo-released", "grpo+epo", "epo-base"])
def test_norms_of_gradients_are_those_of_the_logits(name):
    made, logits, chosen = logit_batch()
    algorithm = load(name)
    logits.requires_grad_()
    logps = torch.log_softmax(logits, -1)
    extra = {k: v for k, v in (made.tensors | made.numbers).items() if k in algorithm.loss_needs}
    extra |= {"logps_BT": logps.gather(2, chosen)[..., 0], "entropies_BT": -(logps.exp() * logps).sum(-1)}
    arguments = [extra.pop("logps_BT"), made.tensors["old_logps_BT"], advantages(made, algorithm), made.mask_BT]
    extra.pop("old_logps_BT")
    algorithm.loss(*arguments, **extra)[0].backward()
    found = gradient(made, name)
    assert norm(made, found) == pytest.approx(logits.grad.norm().item(), rel=1e-12)
    assert distance(made, found, found) == 0.0
    with pytest.raises(ValueError, match="is 0 on this batch"):
        distance(made, found.minus(found), found)
    assert distance(made, found, gradient(made, name, 2 * advantages(made, algorithm))) > 0


def test_the_committed_batch_is_small_real_and_varied():
    folder, made = ROOT / "data" / "fidelity", batch()
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    assert made.mask_BT.shape[0] == 128 and made.tokens == 6488 and made.k == 16
    assert (made.rows["parent"] >= 0).sum() > 40 and made.rows["reward"].nunique() >= 4
    assert 0.01 < ((made.ratios < 0.8) | (made.ratios > 1.2)).double().mean() < 0.05
    owners, mask = made.tensors["owners_BT"], made.mask_BT
    for row, parent in enumerate(made.rows["parent"]):
        inherited = mask[row] & (owners[row] != row)
        assert inherited.any() == (parent >= 0)
        if parent >= 0:
            torch.testing.assert_close(
                made.tensors["old_logps_BT"][row][inherited], made.tensors["old_logps_BT"][parent][inherited]
            )
    own = (mask & (owners == torch.arange(128)[:, None])).sum(1)
    assert own.tolist() == made.rows["own_tokens"].tolist()
    tensors = made.tensors
    bound_BT = tensors["score_square_BT"] * tensors["slope_square_BT"]  # Cauchy and Schwarz
    assert (tensors["score_slope_BT"] ** 2 <= 1.001 * bound_BT)[mask].all()
    assert (tensors["old_entropies_top10_BT"] <= tensors["old_entropies_BT"] + 1e-6)[mask].all()
    held = tensors["all_entropies_BT"][mask] - tensors["old_entropies_BT"][mask]
    assert held.abs().max() < 1e-4, "a forward pass gives the sampler's entropies"


# ---------------------------------------------------------------- rollouts


def test_the_budget_moves_by_one_or_two_at_most():
    policies = [load("aepo").rollout, load("aepo-released", dynamic_budget=True).rollout]
    for policy, reach in zip(policies, ({7, 8, 9}, {7, 8, 9}), strict=True):
        assert {policy.initial(16, gap, 0.0) for gap in np.linspace(-0.5, 0.5, 41)} <= reach
    for policy in policies:  # one nat of h is far beyond what a vocabulary of real size gives
        assert max(abs(policy.initial(16, gap, 0.0) - 8) for gap in np.linspace(-1, 1, 81)) == 2
    gaps = trees.gaps(batch())
    assert len(gaps) == (batch().rows["parent"] < 0).sum() and max(map(abs, gaps)) < 0.5
    assert set(trees.budgets(batch())) == {7, 8} and values()["budget_moves"] == 1
    assert values()["budget_unmoved"] > 90 and not load("aepo-released").rollout.needs_pilot


def test_a_late_test_has_no_entropy_change_at_the_first_call_of_the_first_batch():
    tests = batch().branch_tests
    assert len(tests) > 500 and (tests["turn"] > 0).all()
    late = trees.change(tests, now="before")
    assert ((tests["turn"] == 1) == (late == 0)).all() and (trees.change(tests) != 0).all()
    assert 10 < values()["late_tests"] < 50
    assert values()["late_zero"] == pytest.approx(100 * (tests["turn"] == 1).mean())
    assert values()["late_zero_later"] == 0, "against the kept baselines of other questions no dH is exactly 0"


def test_the_clip_of_gppos_launchers_is_another_gradient():
    assert values()["gppo_launcher"] > values()["ce_gppo_launcher"] >= 0
    assert values()["gppo_launcher"] > 0.1
    for method in ("gppo", "ce-gppo"):  # once a method has its launcher's setting, its remark in the tables must go
        settings = load(method).settings
        assert (method in provenance.REMARKS) == (settings["dual_clip"] != 10.0 or settings["clip_high"] == 0.2)


def test_stale_baselines_and_draws_change_decisions():
    assert 0 < values()["stale_tests"] < 50 and 0 < values()["stale_probability"] < 2
    assert 40 < values()["draw_against_threshold"] < 50, "P stays near 1/2, so a draw is nearly a coin"
    kept = batch().tests
    assert set(kept["penalty_per_prompt"]) == {True, False} and kept["passed"].mean() == pytest.approx(0.5, abs=0.1)
    assert values()["in_a_row_by_question"] > values()["in_a_row_by_path"] > 0


def test_a_truncated_entropy_is_smaller():
    segments = batch().segments
    assert (segments["h_top10"] <= segments["h"] + 1e-6).all()
    assert 1 < values()["truncated_entropy"] < 50


def test_divided_by_the_vocabulary_entropy_cannot_move_a_branch_test():
    size = batch().about["vocabulary"]
    assert values()["normalised_by_log"] / values()["normalised_by_size"] == pytest.approx(
        size / math.log(size), rel=0.02
    )
    assert values()["normalised_by_size"] < 0.1 < values()["normalised_by_log"]


# ---------------------------------------------------------------- ARPO's and AEPO's losses and logs


def test_the_entropy_factor_never_reaches_the_released_gradient():
    for name in ("aepo-released", "arpo-released"):
        assert "entropies_BT" not in load(name).loss_needs + load(name).advantage_needs
    on, off = (gradient(batch(), "aepo-released", entropy_advantage=flag) for flag in (True, False))
    assert torch.equal(on.logp_BT, off.logp_BT) and on.loss == off.loss
    assert values()["factor_flag"] == 0.0 and values()["factor_absent"] > 10
    assert values()["largest_factor"] > 2 and 5 < values()["factor_tokens"] < 100


def test_one_masked_underflow_breaks_the_released_loss_and_not_ours():
    t, mask = batch().tensors, batch().mask_BT
    chosen = advantages(batch(), load("aepo-released"))
    for old, new in ((0.0, -200.0), (-200.0, 0.0)):  # a ratio of 0, and one of inf, in float32
        logps, old_logps = t["logps_BT"].float().clone(), t["old_logps_BT"].float().clone()
        arguments = (logps, old_logps, chosen, mask)
        whole = losses.released_kept_clip(*arguments)
        ours = load("aepo", advantage="group_zscore").loss(*arguments)[0]
        assert whole.item() == pytest.approx(ours.item(), abs=1e-6), "the same value while nothing breaks"
        place = tuple((~mask).nonzero()[0])
        logps[place], old_logps[place] = new, old
        assert losses.released_kept_clip(*arguments).isnan()
        logps.requires_grad_()
        for name in ("aepo", "aepo-released", "gppo", "cispo"):
            loss, _ = load(name).loss(*arguments)
            loss.backward()
            assert loss.isfinite() and logps.grad.isfinite().all() and not logps.grad[place]
        assert load("aepo", advantage="group_zscore").loss(*arguments)[0].item() == pytest.approx(ours.item(), abs=1e-9)
    assert values()["masked_nan"] == 1 and values()["broken_ratios"] == 0


def test_statistics_and_means_of_micro_batches_depend_on_the_packing():
    assert values()["packed_statistics"] > 1 and values()["packing_choice"] > 1
    assert values()["packed_mean_aepo"] > 1 and values()["packed_mean_arpo"] > 1
    one = {"factor_silently_off": False, "statistics_sequences": None, "micro_batch_sequences": None}
    t = batch().tensors
    same = batch().with_tensors(old_entropies_BT=t["entropies_BT"])  # z over the batch, of the same entropies
    paper = gradient(same, "aepo", dual_clip=3.0)
    assert distance(batch(), paper, gradient(batch(), "aepo-released", **one)) < 1e-9


def test_entropies_out_of_order_are_averaged_under_the_wrong_masks():
    assert abs(values()["logged_entropy"]) > 1 and abs(values()["logged_entropy_all"]) > 1
    rows_apart = torch.arange(128.0)[:, None].expand(batch().mask_BT.shape)
    level = batch().with_tensors(all_entropies_BT=torch.ones_like(rows_apart))
    assert losses.log_error(level, level.mask_BT) == 0.0, "equal entropies do not care"


# ---------------------------------------------------------------- EPO


def test_released_smoothing_has_no_gradient_and_the_papers_scales_the_bonus():
    made, zeros = batch(), epo_measures.zeros(batch())
    on, off = (
        gradient(made, "epo-released", smoothing=True, turn_gate=None),
        gradient(made, "epo-released", smoothing=False),
    )
    assert torch.equal(on.logp_BT, off.logp_BT) and torch.equal(on.entropy_BT, off.entropy_BT) and on.loss != off.loss
    assert values()["indicator_gradient"] == values()["flags_gradient"] == 0.0
    bonus = gradient(made, "grpo+epo", zeros, smoothing=False).entropy_BT[made.mask_BT]
    beta = epo.phase_weight(made.about["rl_step"], made.about["rl_steps"])
    corridor = {"corridor_low": 0.5, "corridor_high": 2.0}
    for alpha in (0.1, 0.3):
        smoothed = gradient(made, "grpo+epo", zeros, smoothing_weight=alpha, **corridor).entropy_BT[made.mask_BT]
        found = (smoothed / bonus).numpy()
        side = epo.corridor_side(
            made.tensors["entropies_BT"][made.mask_BT], made.numbers["entropy_reference"], low=0.5, high=2.0
        ).numpy()
        np.testing.assert_allclose(found, 1 - alpha * beta * side, rtol=1e-9)
        assert set(side) == {-1, 0, 1}
    assert values()["relu_entropy_term"] > 1 > values()["relu_whole_gradient"] > 0


def test_mixed_groups_turn_the_signs_of_advantages():
    assert values()["mixed_groups"] > 10 and values()["mixed_signs"] > 10
    own = advantages(batch(), load("grpo"))
    order = torch.arange(128)
    same = batch().with_tensors(groups_B=batch().tensors["groups_B"][order] + 5)
    assert torch.equal(advantages(same, load("grpo")), own), "names of groups play no part"


def test_copies_fill_the_last_mini_batch():
    samples = epo_measures.turn_samples(batch())
    assert len(set(samples)) == len(samples) and 0 <= values()["copied_samples"] < 64
    assert (len(samples) + values()["copied_samples"]) % 64 == 0
    assert 0 < values()["copied_gradient"] < 10


def test_scienceworld_splits_are_the_official_ones():
    from reproduce.worlds.scienceworld.pool import SPLIT_CALLS

    calls = {"train": "getVariationsTrain", "iid": "getVariationsDev", "ood": "getVariationsTest"}
    assert SPLIT_CALLS == calls, "IID is the development split, not tasks that were seen"


# ---------------------------------------------------------------- printed numbers, other settings


def test_printed_numbers_disagree_as_the_rows_say():
    assert values()["gaia_gap"] == pytest.approx(0.5) and values()["hle_gap"] == pytest.approx(1.0, abs=0.05)
    assert values()["impossible_reward"] == 5 and values()["questions_over_1k"] == 71
    table1 = papers()[(papers()["file"] == "epo_table1") & papers()["metric"].str.startswith("Succ.*")]
    own = table1[~table1["metric"].str.contains("quoted")]["number"]
    assert len(own) == 16
    assert (48 * own / 100 - (48 * own / 100).round()).abs().max() < 48 * 0.05 / 100 + 1e-9, "to the printed digit"


def test_the_live_search_asks_for_the_papers_locale():
    from reproduce.config.search import SearchConfig

    search = SearchConfig(service="serper", mode="live")
    assert (search.country, search.language) == ("us", "en")


# ---------------------------------------------------------------- beyond the three papers


def test_a_local_token_mean_is_another_gradient():
    assert values()["local_token_mean"] > 1
    whole = gradient(batch(), "dapo").logp_BT
    first = torch.arange(128)[:, None] < 50
    halves = [batch().with_tensors(mask_BT=batch().mask_BT & part) for part in (first, ~first)]
    chosen = advantages(batch(), load("dapo"))
    shares = [gradient(half, "dapo", chosen).logp_BT * half.tokens / batch().tokens for half in halves]
    torch.testing.assert_close(sum(shares), whole, atol=1e-12, rtol=0)  # weighted by tokens it is the global mean


def test_the_denominator_of_the_80_20_rule_scales_the_gradient_by_five():
    kept = math.ceil(0.2 * batch().tokens)
    assert values()["top_entropy_denominator"] == pytest.approx(batch().tokens / kept, rel=1e-6)


def test_ratio_methods_are_inert_at_one_update_and_refused():
    assert set(losses.inert_methods()) >= {"gspo", "gppo", "ce-gppo", "cispo", "aepo", "aepo-released"}
    assert values()["inert_at_ratio_one"] < 1e-9 and values()["inert_off_ratio_one"] > 10
    for name in losses.inert_methods():
        part = inert_at_one_update(load(name))[0]
        with pytest.raises(UserError, match=f"{name}: {part} would change nothing"):
            for_run(load(name), max_completion_tokens=9, updates_per_rollout=1)


# ---------------------------------------------------------------- how the batch is made


def test_statistics_of_a_token_are_those_of_its_distribution():
    from analysis.fidelity.recorder import token_statistics
    from reproduce.rollouts.token_path import TokenPath
    from reproduce.rollouts.trajectory import Trajectory

    lm = model(scale=3.0)
    path = TokenPath.root([1, 20, 21])
    for token in (30, 31, 32):
        path.add_sampled(token, 0.0, 0.0)
    found = token_statistics(lm, Trajectory(path, None, 0, 0), 0.8)
    logps, entropies = full_forward(lm, path.prompt, path.completion, temperature=0.8)
    torch.testing.assert_close(found["logp"].float(), logps, atol=1e-5, rtol=0)
    torch.testing.assert_close(found["entropy"].float(), entropies, atol=1e-5, rtol=0)
    logits = lm(input_ids=torch.tensor([path.tokens])).logits[0, 2:-1].detach().double().div(0.8).requires_grad_()
    tokens = torch.tensor(path.completion)
    taken = torch.log_softmax(logits, -1).gather(1, tokens[:, None]).sum()
    score = torch.autograd.grad(taken, logits, retain_graph=True)[0]
    p = torch.softmax(logits, -1)
    slope = torch.autograd.grad(-(p * p.log()).sum(), logits)[0]
    for name, pair in (
        ("score_square", (score, score)),
        ("score_slope", (score, slope)),
        ("slope_square", (slope, slope)),
    ):
        torch.testing.assert_close(found[name], (pair[0] * pair[1]).sum(-1), atol=1e-6, rtol=1e-4)
    assert (found["entropy_top10"] < found["entropy"]).all() and (found["entropy_top10"] > 0).all()


@pytest.mark.slow
def test_a_recorded_step_is_what_the_trainer_trained_on(tmp_path):
    from dataclasses import replace

    from analysis.fidelity.recorder import record, write
    from reproduce.config.tables import TableConfig
    from reproduce.rollouts.agent import Grammar
    from reproduce.worlds.miniweb.task import open_task
    from reproduce.worlds.rewards import Reward

    job = TableConfig.load(2).jobs("smoke", ["aepo"], [0])[0]
    job = replace(
        job,
        task=replace(job.task, max_tool_calls=3, max_completion_tokens=64),
        training=replace(job.training, steps=2, prompts_per_step=2, group_size=4, learning_rate=3e-3),
    )
    lm = model(scale=2.0)
    task = open_task("mini-deepsearch", "miniweb", LocalPrinter(), -1.0, 0.1)
    task.score = lambda question, text: Reward(len(text) % 5 / 4, 0.0, True, None, False)  # so that something is learnt
    made = record(job, task, lm, Grammar(tokenizer()), tmp_path)
    write(made, job, 9, tmp_path / "out")
    loaded = fidelity.load_batch(tmp_path / "out")
    assert (len(loaded.rows), loaded.k, loaded.about["rl_step"], loaded.about["rl_steps"]) == (8, 4, 1, 9)
    assert loaded.about["sampler_gap"] < 1e-4 and len(loaded.about["history"]["means"]) == 1
    trajectories = [group.trajectories[i] for _, group, i in made.batch.rows()]
    for row, t in enumerate(trajectories):
        kept = torch.tensor(t.path.sampled)
        mask = loaded.mask_BT[row][: t.path.length]
        assert torch.equal(mask, kept) and not loaded.mask_BT[row][t.path.length :].any()
        old = loaded.tensors["old_logps_BT"][row][: t.path.length][kept]
        torch.testing.assert_close(old.float(), torch.tensor(t.path.logps)[kept], atol=1e-6, rtol=0)
        with made.reference.policy() as start:
            reference, _ = full_forward(start, t.path.prompt, t.path.completion)
        torch.testing.assert_close(
            loaded.tensors["ref_logps_BT"][row][: t.path.length][kept].float(), reference[kept], atol=1e-4, rtol=0
        )
    assert (loaded.ratios - 1).abs().max() > 1e-3, "the policy has moved by the step's last update"
    measured = fidelity.values(loaded, papers(), ["factor_flag", "indicator_gradient"])
    assert set(measured.values()) == {0.0}
