"""Multi-turn text environments behind one small interface (`interface.py`)."""
