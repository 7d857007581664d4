# %% [markdown]
# # One table
# **Asked.** Which methods differ from the baseline, at equal training and evaluation? Every number below is computed
# from the
# logged results; nothing is typed in. Columns are defined in `analysis/README.md`.

# %% tags=["parameters"]
TABLE = "2"

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import format, notebook, write

# %%
built = write.build(notebook.source(TABLE))
notebook.say(write.answer(built))

# %% [markdown]
# ## The table

# %%
notebook.table(built)

# %% [markdown]
# ## Figures
# Differences and training curves of every row; of a grid of settings (table 5) a heat map and a curve a cell.

# %%
notebook.draw_all(write.figures(built))

# %% [markdown]
# ## Time
# Wall time changes from run to run, so it stands apart from the table.

# %%
notebook.show(write.times(built))

# %% [markdown]
# ## Over runs
# Interquartile mean over seeds, and the share of pairs of runs in which that of the row is above that of the baseline.
# Difference of average pass@1 in points (method minus the other); intervals and p are of one pair, adjusted p is for
# the false discovery rate over all pairs. A grid has its comparison above.

# %%
frames = write.frames(built)
if "pairs" in frames:
    notebook.show(format.robust_table(built))
    notebook.show_frame(frames["pairs"], "Every pair of rows", digits=3)

# %%
notebook.show_frame(frames["runs"][["method", "seed", "pass_1", "pass_5", "config_hash"]], "Runs")
