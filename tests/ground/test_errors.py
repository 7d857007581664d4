"""The names that errors suggest."""

import pytest

from reproduce.algorithms import names
from reproduce.errors import closest


@pytest.mark.parametrize(("name", "meant"), [("epo", "ppo+epo"), ("aepoo", "aepo"), ("grpo_epo", "grpo+epo")])
def test_a_name_that_has_it_as_a_part_comes_before_one_that_is_spelt_alike(name, meant):
    assert closest(name, names()) == meant
