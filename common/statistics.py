"""Intervals: of many trials by bootstrap, with no assumption on the shape of returns, which falls make bimodal; of few groups by
jackknife, since what is drawn again from a few is too sure of itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_RESAMPLES = 4000
_AT_ONCE = 100  # of them in memory


def mean_with_ci95(values: NDArray[np.floating[Any]], seed: int = 0) -> dict[str, Any]:
    """`{"mean", "ci95": [lo, hi]}` of values (N,): percentile bootstrap over 4,000 resamples, fixed seed. A single one has no interval."""
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 1:
        return {"mean": float(values[0]), "ci95": None}
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [values[rng.integers(0, len(values), (_AT_ONCE, len(values)))].mean(axis=1) for _ in range(_RESAMPLES // _AT_ONCE)]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return {"mean": float(values.mean()), "ci95": [float(low), float(high)]}


def cluster_ci95(values: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]) -> list[float] | None:
    """95 % interval [lo, hi] of the mean of values (N,) in groups (N,): groups are independent, rows of one are not (`jackknife_ci95`)."""
    return cluster_ratio_ci95(values, np.ones(len(values)), groups)


def cluster_ratio_ci95(
    numerators: NDArray[np.floating[Any]], denominators: NDArray[np.floating[Any]], groups: NDArray[np.integer[Any]]
) -> list[float] | None:
    """95 % interval [lo, hi] of sum(numerators (N,)) / sum(denominators (N,) above 0), likewise."""
    _, rows = np.unique(groups, return_inverse=True)
    above, below = (np.bincount(rows, weights=np.asarray(values, dtype=np.float64)) for values in (numerators, denominators))
    if len(above) < 2:
        return None
    return jackknife_ci95(above.sum() / below.sum(), (above.sum() - above) / (below.sum() - below), below)


def jackknife_ci95(whole: float, without: NDArray[np.float64], sizes: NDArray[Any]) -> list[float] | None:
    """95 % interval [lo, hi] of an estimate from G independent groups of these `sizes` (G,), given what it is `without` each (G,).

    Student's t (Tukey 1958) with Kish's effective number of groups, (sum n)^2 / sum n^2, less one as its degrees of freedom: with one large
    group among small ones there is in effect little more than one. None for a single group. For a mean of equal groups it is the textbook's
    interval. A bootstrap over few groups is far too sure of itself: of two that differ by luck alone half its intervals leave out 0.
    """
    count, effective = len(without), float(np.sum(sizes) ** 2 / np.square(sizes).sum())
    if count < 2:
        return None
    error = math.sqrt((count - 1) / count * np.square(without - without.mean()).sum())
    width = t_quantile_975(effective - 1 + 1e-9) * error
    return [float(whole) - width, float(whole) + width]


def t_quantile_975(degrees_of_freedom: float) -> float:
    """The 97.5 % quantile of Student's t: exact for 1 and 2 degrees of freedom, whose values also serve for fractions up to the next whole
    number, and within 1 % from 3 on (Abramowitz and Stegun 26.7.5)."""
    if degrees_of_freedom < 3:
        share = 0.95  # between the quantile and its mirror image
        return math.tan(math.pi / 2 * share) if degrees_of_freedom < 2 else share * math.sqrt(2 / (1 - share**2))
    z, n = 1.959964, degrees_of_freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3
