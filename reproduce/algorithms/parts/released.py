"""OVERWRITTEN BY MISTAKE at 10:56: the author of ReleasedEPO and TurnRowZScore must write this file again."""

LOST = (
    "parts/released.py (ReleasedEPO, TurnRowZScore) was overwritten by mistake at 10:56 with the ARPO/AEPO parts, which "
    "are now in parts/released_trees.py. Its author: please write your version of this file again, with your later edits."
)


class ReleasedEPO:
    def __init__(self, **settings):
        raise ImportError(LOST)


class TurnRowZScore:
    def __init__(self, **settings):
        raise ImportError(LOST)
