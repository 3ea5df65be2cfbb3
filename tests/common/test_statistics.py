"""Intervals against numbers from tables and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from common.statistics import cluster_ci95, cluster_ratio_ci95, jackknife_ci95, mean_with_ci95, t_quantile_975


@pytest.mark.parametrize(("degrees", "tabled"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (7, 2.365), (30, 2.042), (1000, 1.962)])
def test_students_t_is_the_tabled_one(degrees: int, tabled: float) -> None:
    assert t_quantile_975(degrees) == pytest.approx(tabled, rel=0.01)


def test_equal_values_have_no_spread() -> None:
    assert mean_with_ci95(np.full(20, 3.0)) == {"mean": 3.0, "ci95": [3.0, 3.0]}


def test_the_interval_of_many_values_is_about_two_standard_errors_wide() -> None:
    values = np.tile([0.0, 2.0], 200)  # mean 1, standard deviation 1, standard error 0.05
    low, high = mean_with_ci95(values)["ci95"]
    assert low == pytest.approx(0.902, abs=0.01)
    assert high == pytest.approx(1.098, abs=0.01)


def test_four_groups_are_as_uncertain_as_four_values() -> None:
    groups = np.repeat(np.arange(4), 100)
    # means 0, 0, 2, 2: deviation 1.1547, standard error 0.57735, Student's t with 3 degrees of freedom 3.182
    assert cluster_ci95(np.repeat([0.0, 0.0, 2.0, 2.0], 100), groups) == pytest.approx([1 - 1.837, 1 + 1.837], abs=0.02)
    assert cluster_ci95(np.tile([0.0, 2.0], 200), groups) == pytest.approx([1.0, 1.0])


def test_groups_of_unlike_size_weigh_by_their_rows() -> None:
    # mean 2; without the first group 5, without the second 1: 12.706 * sqrt(1/2 * (2^2 + 2^2))
    assert cluster_ci95(np.array([1.0, 1.0, 1.0, 5.0]), np.array([0, 0, 0, 1])) == pytest.approx([2 - 25.412, 2 + 25.412], rel=1e-4)


def test_a_ratio_of_sums_is_left_one_group_out_as_a_whole() -> None:
    # 6/4; without the first group 4/2, without the second 2/2: 12.706 * sqrt(1/2 * (0.5^2 + 0.5^2))
    found = cluster_ratio_ci95(np.array([1.0, 1.0, 4.0]), np.array([1.0, 1.0, 2.0]), np.array([0, 0, 1]))
    assert found == pytest.approx([1.5 - 6.353, 1.5 + 6.353], rel=1e-4)


def test_one_group_has_no_interval() -> None:
    assert cluster_ci95(np.array([1.0, 2.0]), np.array([3, 3])) is None
    assert jackknife_ci95(1.0, np.array([2.0]), np.array([5])) is None


def test_few_groups_that_differ_by_luck_leave_out_zero_as_rarely_as_they_say() -> None:
    random = np.random.default_rng(0)
    for count in (2, 3, 6):
        intervals = [cluster_ci95(random.normal(size=count), np.arange(count)) for _ in range(1000)]
        left_out = sum(interval is not None and (interval[0] > 0 or interval[1] < 0) for interval in intervals)
        assert 30 <= left_out <= 70  # of 1,000: 5 %, within three standard deviations


def test_a_large_group_among_small_ones_is_little_more_than_one() -> None:
    random, sizes = np.random.default_rng(0), np.array([1000, *[10] * 6])
    groups = np.repeat(np.arange(7), sizes)
    intervals = [cluster_ci95(random.normal(size=7)[groups], groups) for _ in range(300)]
    assert sum(interval is not None and (interval[0] > 0 or interval[1] < 0) for interval in intervals) <= 25  # 5 % of 300 is 15
