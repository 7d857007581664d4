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
# # Table 5: one grid of learning rate and updates per rollout for every method
# Every number below is computed from the logged results; nothing is typed in.
# Columns are defined in analysis/README.md.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import notebook, provenance, table, write

source = notebook.source("5")
papers = notebook.papers()
built = write.build(source)
_ = write.write(built, papers, notebook.figures())
# %%
notebook.show(*write.blocks(built, None))

# %% [markdown]
# ## Heat maps and training curves
# pass@1 over the grid, one colour scale for all methods; then the mean reward of every cell over training, mean over
# seeds with the 95 % bootstrap interval over seeds.

# %%
_ = write.draw_figures(built, notebook.figures())

# %% [markdown]
# ## Time
# Wall time changes from run to run, so it stands apart from the table.

# %%
notebook.show(provenance.time_table(source, built.spec.name))

# %%
notebook.show_frame(table.runs(source)[["method", "seed", "pass_1", "pass_5", "config_hash"]], "Runs")
