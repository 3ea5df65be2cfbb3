"""Luck by purpose."""

from __future__ import annotations

import itertools

import numpy as np

from common.randomness import generator_for


def test_the_same_seed_and_purpose_draw_the_same() -> None:
    np.testing.assert_array_equal(generator_for("noise", 3, 7).normal(size=5), generator_for("noise", 3, 7).normal(size=5))


def test_another_purpose_or_seed_draws_other_numbers() -> None:
    drawn = [
        generator_for(purpose, *seeds).normal(size=5)
        for purpose, seeds in itertools.product(("commands", "noise"), [(3,), (3, 0), (3, 1), (0,), (0, 0)])
    ]
    assert not any(np.isclose(one, other).any() for one, other in itertools.combinations(drawn, 2))
