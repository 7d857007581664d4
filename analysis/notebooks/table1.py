# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Table 1: reasoning with Python and with knowledge search
# Every number below is computed from the logged results; nothing is typed in.
# Columns are defined in analysis/README.md.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import format, notebook, provenance, table, write

source = notebook.source("1")
papers = notebook.papers()
built = write.build(source)
_ = write.write(built, papers, notebook.figures())
# %%
notebook.show(*write.blocks(built, None))

# %% [markdown]
# ## Training curves
# Mean reward of the trained trajectories, mean over seeds with the 95 % bootstrap interval over seeds; grey: GRPO.
# DAPO replaces groups without a signal before it trains, so its curve is of the groups that it kept.

# %%
_ = write.draw_figures(built, notebook.figures())

# %% [markdown]
# ## Time
# Wall time changes from run to run, so it stands apart from the table.

# %%
notebook.show(provenance.time_table(source, built.spec.name))

# %% [markdown]
# ## Every pair of rows
# Paired difference of average pass@1 in points (method minus the other).
# Intervals are not corrected for the number of pairs.

# %%
notebook.show_frame(table.pairs(source), "Paired differences")

# %% [markdown]
# ## Over runs
# Interquartile mean over seeds, and the probability that a run of the row beats a run of the baseline on the panel.

# %%
notebook.show(format.robust_table(built))

# %%
notebook.show_frame(table.runs(source)[["method", "seed", "pass_1", "pass_5", "config_hash"]], "Runs")

# %% [markdown]
# ## Reported by the papers
# Another task, other models: for context only.

# %%
notebook.show(*write.blocks(built, papers)[1:])
