# %% [markdown]
# # What the papers claim, and what holds here
# **Asked.** Which claims of the two abstracts, and of the premises they rest on, hold in this repository's worlds?
# How a claim
# is tested, its gate and its margin stand in `analysis/preregistration.md`, which precedes the runs; the verdict
# follows by a
# rule.

# %%
import sys
from pathlib import Path

ROOT = next(p for p in [Path.cwd(), *Path.cwd().parents] if (p / "analysis" / "build.py").exists())
sys.path = [str(ROOT), *(p for p in sys.path if Path(p).resolve() != ROOT / "analysis")]

from analysis import load, notebook, overview, text_table
from analysis.ledger import regimes, table

# %%
ledger = table.load_ledger(notebook.data_folder())
notebook.save(ledger.files())
notebook.say(table.answer(ledger))

# %% [markdown]
# ## The ledger

# %%
notebook.show(*ledger.tables)

# %% [markdown]
# ## Every regime whose test results were seen
# A table that was trained again after its results were known leaves a choice behind that no interval counts.

# %%
seen = regimes.load_regimes(notebook.data_folder())
notebook.save(regimes.files(seen))
notebook.show(regimes.regimes_table(seen), regimes.effects_table(seen))

# %% [markdown]
# ## The same in one table
# It opens the README.

# %%
tables = {name: load.load_source("mini", name, data_root=notebook.data_folder()) for name in overview.TABLES}
whole = overview.overview(tables, ledger)
notebook.save({"overview.md": text_table.markdown(whole, padded=False)})
notebook.show(whole)

# %%
notebook.draw("overview", overview.figure(tables), image=True)
