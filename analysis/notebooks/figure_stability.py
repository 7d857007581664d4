# %% [markdown]
# # Stability: which runs fall, and what moves first
# **Asked.** Which methods have runs that collapse during training, and what moves before they do? Every run of table
# 1, seed by
# seed.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import notebook, stability

# %%
source = notebook.source("1")
notebook.say(stability.answer(source))

# %% [markdown]
# ## Run by run

# %%
notebook.draw("stability_runs", stability.figure_runs(source))

# %% [markdown]
# ## At their worst

# %%
notebook.show(stability.worst_table(source))
