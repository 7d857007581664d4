# %% [markdown]
# # EPO: its parts
# **Asked.** Which part of EPO does anything: the whole against the bonus alone (base), a bonus that falls with the
# turn (decay),
# a constant phase weight (no dw) and the released code, whose smoothing has no gradient?

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import epo, notebook, table3

# %%
source = notebook.source("3")
notebook.say(epo.answer(source))

# %% [markdown]
# ## Every part against its base

# %%
notebook.show(table3.effects_table(source))

# %% [markdown]
# ## On PPO

# %%
title = "What EPO's parts add to PPO"
notebook.draw("epo_ablation_last", epo.figure_last(source, epo.ABLATION, title))

# %%
title = "EPO on PPO: its parts during training"
notebook.draw("epo_ablation", epo.figure_curves(source, epo.ABLATION, title, epo.ABLATION_CURVES))

# %%
notebook.show(epo.entropy_table(source, epo.ABLATION), epo.factor_table(source, epo.ABLATION))

# %% [markdown]
# ## On GRPO

# %%
title = "What EPO's parts add to GRPO"
notebook.draw("epo_ablation_grpo_last", epo.figure_last(source, epo.ABLATION_GRPO, title))

# %%
title = "EPO on GRPO: its parts during training"
notebook.draw("epo_ablation_grpo", epo.figure_curves(source, epo.ABLATION_GRPO, title, epo.ABLATION_CURVES))

# %%
notebook.show(epo.entropy_table(source, epo.ABLATION_GRPO), epo.factor_table(source, epo.ABLATION_GRPO))
