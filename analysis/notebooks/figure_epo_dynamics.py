# %% [markdown]
# # EPO: what moves during training
# PPO and GRPO with and without EPO on MiniHouse. Mean over seeds with its 95 % t interval over seeds.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import epo, notebook

source = notebook.source("3")

# %% [markdown]
# Success is of the small evaluations during training, on random tasks: noisy by their number. Entropy early and late
# is that of the first and the last third of an episode's turns. The last two panels are of EPO's rows: what smoothing
# multiplies the entropy gradient by, and the share of tokens that it acts on.

# %%
notebook.draw("epo_dynamics", epo.figure_curves(source, epo.CORE))

# %%
notebook.show(epo.entropy_table(source, epo.CORE), epo.factor_table(source, epo.CORE))
