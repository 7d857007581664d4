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
# # Table 2: deep-search methods
# Every number below is computed from the logged results; nothing is typed in.
# Columns are defined in analysis/README.md.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import notebook, table2

source = notebook.source()
papers = notebook.papers()
table = table2.build(source)
_ = table2.write(table, papers, notebook.figures())
# %%
notebook.show(table2.text_table(table))

# %% [markdown]
# ## Time
# Wall time changes from run to run, so it stands apart from the table.

# %%
notebook.show(table2.time_table(source))

# %% [markdown]
# ## Every pair of methods
# Paired difference of average pass@1 in points (method minus the other).
# Intervals are not corrected for the number of pairs.

# %%
notebook.show_frame(table2.pairs(source), "Paired differences")

# %% [markdown]
# ## Over runs
# Interquartile mean over seeds, and the probability that a run of the method beats a run of GRPO on the panel.

# %%
notebook.show(table2.robust_table(table))

# %%
notebook.show_frame(table2.runs(source)[["method", "seed", "pass_1", "pass_5", "config_hash"]], "Runs")

# %% [markdown]
# ## Reported by the papers
# Another task, other models: for context only.

# %%
notebook.show(table2.reported_table(papers))
