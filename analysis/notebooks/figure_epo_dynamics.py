# %% [markdown]
# # EPO: what moves during training
# **Asked.** Does EPO change success, entropy or its spread while PPO and GRPO train on text worlds of many turns?

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import epo, notebook

# %%
source = notebook.source("3")
notebook.say(epo.answer(source))

# %% [markdown]
# ## During training

# %%
notebook.draw("epo_dynamics", epo.figure_curves(source, epo.CORE, "EPO: what moves during training"))

# %%
notebook.show(epo.entropy_table(source, epo.CORE), epo.factor_table(source, epo.CORE))
