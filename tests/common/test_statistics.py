"""Intervals against numbers from tables and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.statistics import cluster_ci95, mean_with_ci95, t_quantile_975


@pytest.mark.parametrize(("degrees", "tabled"), [(3, 3.182), (7, 2.365), (30, 2.042), (1000, 1.962)])
def test_students_t_is_the_tabled_one(degrees: int, tabled: float) -> None:
    assert t_quantile_975(degrees) == pytest.approx(tabled, rel=0.01)


def test_equal_values_have_no_spread() -> None:
    assert mean_with_ci95(np.full(20, 3.0)) == {"mean": 3.0, "ci95": [3.0, 3.0]}


def test_the_interval_of_many_values_is_about_two_standard_errors_wide() -> None:
    values = np.tile([0.0, 2.0], 200)  # mean 1, standard deviation 1, standard error 0.05
    low, high = mean_with_ci95(values)["ci95"]
    assert low == pytest.approx(0.902, abs=0.01)
    assert high == pytest.approx(1.098, abs=0.01)


def test_whole_groups_are_resampled() -> None:
    # Four groups of 100 rows, alike inside: as uncertain as four values, not as four hundred.
    groups = np.repeat(np.arange(4), 100)
    low, high = cluster_ci95(np.repeat([0.0, 0.0, 2.0, 2.0], 100), groups)
    assert (low, high) == (0.0, 2.0)  # all four draws from one side have a chance of 1 in 16 each
    narrow_low, narrow_high = cluster_ci95(np.tile([0.0, 2.0], 200), groups)
    assert (narrow_low, narrow_high) == (1.0, 1.0)


def test_groups_of_unlike_size_weigh_by_their_rows() -> None:
    low, high = cluster_ci95(np.array([1.0, 1.0, 1.0, 5.0]), np.array([0, 0, 0, 1]))
    assert low == 1.0
    assert high == 5.0  # the small group twice
