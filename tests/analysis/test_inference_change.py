"""The block of analysis/README that sets old and new inference side by side is computed, not typed."""

import inference_change
import pytest

from analysis import readme


def test_the_old_bootstrap_gives_what_was_published():
    """Holm p-values of table 2 as printed before: the contrast is the real one."""
    old = inference_change.old_p_values("2")
    published = {"cispo": 0.090, "reinforce++": 0.008, "gspo": 0.076, "gppo": 0.330, "ppo+epo": 0.957}
    assert {row: round(old[row], 3) for row in published} == published


@pytest.mark.slow
def test_the_block_in_the_readme_is_up_to_date():
    text = inference_change.README.read_text(encoding="utf-8")
    assert readme.block(text, inference_change.BLOCK) == inference_change.block()
