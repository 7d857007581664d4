# %% [markdown]
# # The papers' premises on a real language model
# AEPO and ARPO take for granted how a language model behaves when it calls tools: that entropy rises after a tool
# result, that high-entropy steps come in a row, that branches crowd, that high-entropy tokens leave the clip range.
# Here each is measured on a warm model, before any reinforcement learning, with the papers' own constants. The
# definitions stand in `analysis/preregistration_lm.md`, which precedes the measurement.
#
# Nothing is sampled in this notebook: it reads `data/results/lm/premises/`, which
# `python -m reproduce.commands.premises` wrote.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import lm_premises, notebook

measured = lm_premises.load(notebook.data_folder() / "results" / "lm" / "premises")
notebook.save(lm_premises.files(measured))

# %%
notebook.show(lm_premises.verdicts_table(measured))

# %% [markdown]
# ## Entropy by position, and tokens outside the clip range

# %%
notebook.draw("lm_premises", lm_premises.figure(measured))

# %% [markdown]
# ## All quantities

# %%
notebook.show(lm_premises.quantities_table(measured))
