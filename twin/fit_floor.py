"""How compliant, damped, slippery and uneven a floor is: fitted so that twins walk and fall on it as the robot did.

No sensor of the robot feels the floor, so it is known by what it does to a walk: the simulated method of moments (McFadden 1989). The
moments are twin.walk_figures.FIGURES. A quadratic in the parameters is laid through simulations spread over a box (a Latin hypercube), its
least-squares point is taken, and the same is done again in a smaller box around it: one simulation alone is too noisy to step from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import qmc

from common.array_types import Float64Array
from twin.walk_figures import Walk, figures_by_session, figures_of, sums_of
from twin.world import Pushes, World

Simulate = Callable[[World, int], Sequence[Walk]]  # a world and a seed

FITTED = ("time_constant_s", "damping_ratio", "friction", "push_speed")
LOWER = np.array([0.02, 0.4, 0.4, 0.15])
UPPER = np.array([0.15, 3.0, 1.2, 1.0])
WIDTH = (0.9, 0.95, 0.1)  # impedance; its width is about how deep a foot may sink, m
PUSH_EVERY_S = 1.0  # rarer and harder pushes do the same as many small ones
_RESAMPLES = 1000
_NEAR = 0.01  # of a logarithm
_SHRINK = 0.5  # of the box's sides from one round to the next


@dataclass(frozen=True)
class FloorFit:
    """The floor as fitted, and how far it may be off."""

    values: dict[str, float]  # of FITTED
    ci95: dict[str, tuple[float, float]]  # as far as was searched
    at_bound: tuple[str, ...]  # parameters that the search stopped

    def world(self, world: World) -> World:
        """`world` with this floor."""
        return _world(world, np.log([self.values[name] for name in FITTED]))


def fit_floor(recorded: Sequence[Walk], simulate: Simulate, world: World, points: int, rounds: int, seed: int) -> FloorFit:
    """Fit the floor under `world`'s robot; `simulate` walks the recorded commands in a world, `points` times in each of the rounds."""
    moments, errors = figures_by_session(recorded, _RESAMPLES, seed)
    low, high = np.log(LOWER), np.log(UPPER)
    for number in range(rounds):
        spread = qmc.LatinHypercube(len(FITTED), seed=seed + number).random(points)
        tried = low + spread * (high - low)
        walked = np.array([_figures(simulate(_world(world, logs), seed + points * number + index)) for index, logs in enumerate(tried)])
        best, covariance = _best_of_quadratic(tried, walked, moments, errors, low, high)
        half = _SHRINK * (high - low) / 2
        low, high = np.maximum(best - half, np.log(LOWER)), np.minimum(best + half, np.log(UPPER))
    off = 1.96 * np.sqrt(np.diag(covariance))
    below, above = np.exp(np.maximum(best - off, np.log(LOWER))), np.exp(np.minimum(best + off, np.log(UPPER)))
    return FloorFit(
        values=dict(zip(FITTED, np.exp(best).tolist(), strict=True)),
        ci95={name: (float(below[index]), float(above[index])) for index, name in enumerate(FITTED)},
        at_bound=tuple(
            name for index, name in enumerate(FITTED) if not np.log(LOWER)[index] + _NEAR < best[index] < np.log(UPPER)[index] - _NEAR
        ),
    )


def _figures(walks: Sequence[Walk]) -> Float64Array:
    return figures_of(np.sum([sums_of(walk) for walk in walks], axis=0))


def _best_of_quadratic(
    tried: Float64Array, walked: Float64Array, moments: Float64Array, errors: Float64Array, low: Float64Array, high: Float64Array
) -> tuple[Float64Array, Float64Array]:
    """Parameters (P,) and their covariance (P, P), of a quadratic through `walked` (N, F) at `tried` (N, P).

    Moments that were not measured, or that some simulation lacks, are left out.
    """
    known = np.isfinite(moments) & np.isfinite(errors) & (errors > 0) & np.isfinite(walked).all(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    terms = _quadratic_terms((tried - middle) / half)
    coefficients, *_ = np.linalg.lstsq(terms, walked[:, known], rcond=None)
    degrees = max(len(tried) - terms.shape[1], 1)
    noise = np.sqrt(np.square(walked[:, known] - terms @ coefficients).sum(axis=0) / degrees)
    scale = np.hypot(errors[known], noise)

    def residuals(unit: Float64Array) -> Float64Array:
        return np.asarray((_quadratic_terms(unit[None])[0] @ coefficients - moments[known]) / scale)

    result = least_squares(residuals, np.zeros(len(FITTED)), bounds=(-np.ones(len(FITTED)), np.ones(len(FITTED))))
    # The first box is what is known beforehand: a parameter that the figures say nothing of may be anywhere in it.
    beforehand = np.diag(np.square(2 * half / np.log(UPPER / LOWER)))
    covariance = np.linalg.inv(result.jac.T @ result.jac + beforehand) * np.outer(half, half)
    return middle + half * result.x, covariance


def _quadratic_terms(unit: Float64Array) -> Float64Array:
    """1, x_i and x_i x_j (i <= j) of points (N, P) in the box [-1, 1]^P."""
    first, second = np.triu_indices(unit.shape[1])
    return np.concatenate([np.ones((len(unit), 1)), unit, unit[:, first] * unit[:, second]], axis=1)


def _world(world: World, logs: Float64Array) -> World:
    time_constant, damping_ratio, friction, push_speed = np.exp(logs).tolist()
    return replace(
        world, solref=(time_constant, damping_ratio), solimp=WIDTH, friction=friction, pushes=Pushes(PUSH_EVERY_S, push_speed)
    )  # fmt: skip
