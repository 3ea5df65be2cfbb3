"""Luck by purpose."""

from __future__ import annotations

import itertools

import numpy as np

from common.randomness import fresh_seed, generator_for


def test_the_same_seed_and_purpose_draw_the_same() -> None:
    np.testing.assert_array_equal(generator_for("noise", 3, 7).normal(size=5), generator_for("noise", 3, 7).normal(size=5))


def test_another_purpose_or_seed_draws_other_numbers() -> None:
    drawn = [
        generator_for(purpose, *seeds).normal(size=5)
        for purpose, seeds in itertools.product(("commands", "noise"), [(3,), (3, 0), (3, 1), (0,), (0, 0)])
    ]
    assert not any(np.isclose(one, other).any() for one, other in itertools.combinations(drawn, 2))


def test_a_seed_is_fresh_and_fits_every_interface() -> None:
    seeds = [fresh_seed() for _ in range(100)]
    assert len(set(seeds)) == 100 and all(0 <= seed < 2**31 for seed in seeds)
