"""How strong, damped, inert and late a recorded robot's motors are, fitted so that a twin that is sent the same does the same.

Minimises the robust (soft l1) sum of squares of the joints' errors in short windows, each step's in units of what joints that stay would
be off by. The delay is tried in whole physics steps, everything else is free.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import least_squares

from common.array_types import Float64Array, IntArray
from common.statistics import t_quantile_975
from robot import go1
from twin.actuator import ActuatorConfig
from twin.replay import ReplayError, Windows, drive, errors_of
from twin.world import STANDARD, Variation, World

# What is fitted. kd_factor is not: it and joint_damping both oppose joint_vel, and no recording tells them apart.
FITTED = ("motor_strength", "joint_damping", "joint_frictionloss", "joint_armature")
LOWER = np.array([0.5, 0.005, 0.01, 0.002])
UPPER = np.array([1.5, 1.0, 1.5, 0.1])
DELAYS = tuple(step * go1.PHYSICS_DT for step in range(5))  # s
_STEP = 0.05  # of a parameter's logarithm, for the Jacobian: physics with contacts is rough below
_RESAMPLES = 2000


@dataclass(frozen=True)
class MotorFit:
    """The robot and its motors as fitted, and how far they may be off."""

    values: dict[str, float]  # of FITTED
    ci95: dict[str, tuple[float, float]] | None  # None of fewer sessions than tell the spread of so many parameters
    delay_s: float
    delay_share: dict[float, float]  # how often each delay is the best when sessions are drawn again

    def world(self, world: World) -> World:
        """`world` with this robot in it."""
        return replace(
            world,
            robot=_with(world.robot, np.array([self.values[name] for name in FITTED])),
            actuator=ActuatorConfig((self.delay_s, self.delay_s)),
        )


@dataclass(frozen=True)
class Best:
    """Where a fit ended."""

    logs: Float64Array  # (P,) of the parameters
    losses: Float64Array  # (S,) by session
    standard_errors: Float64Array  # (P,)


def fit_motors(windows: Windows, sessions: IntArray, world: World, told: Callable[[], None] = lambda: None) -> MotorFit:
    """Fit the motors to windows (W, H, ...) of sessions (W,) on `world`'s floor; `told` is called after each delay."""
    sessions = np.unique(sessions, return_inverse=True)[1]  # those without a window are no sessions
    found: dict[float, Best] = {}
    for delay in DELAYS:
        found[delay] = _fit(windows, sessions, replace(world, actuator=ActuatorConfig((delay, delay))))
        told()
    losses = np.array([found[delay].losses for delay in DELAYS])  # (D, S)
    picks = np.random.default_rng(0).integers(0, losses.shape[1], (_RESAMPLES, losses.shape[1]))
    wins = np.bincount(losses[:, picks].sum(axis=2).argmin(axis=0), minlength=len(DELAYS)) / _RESAMPLES
    delay = DELAYS[int(losses.sum(axis=1).argmin())]
    best = found[delay]
    return MotorFit(
        values=dict(zip(FITTED, np.exp(best.logs).tolist(), strict=True)),
        ci95=intervals(best),
        delay_s=delay,
        delay_share={each: float(share) for each, share in zip(DELAYS, wins, strict=True)},
    )


def intervals(best: Best) -> dict[str, tuple[float, float]] | None:
    """95 % intervals by Student's t: of G sessions and P parameters with G - P degrees of freedom, errors larger by sqrt(G / (G - 1)).

    They hold the truth in about 95 % of the cases with 42 sessions, and in more with 6 (tests/twin/test_fit_motors.py). None unless there
    are more sessions than parameters.
    """
    count, left = len(best.losses), len(best.losses) - len(best.logs)
    if left < 1:
        return None
    off = t_quantile_975(left) * np.sqrt(count / (count - 1)) * best.standard_errors
    low, high = np.maximum(np.exp(best.logs - off), LOWER), np.minimum(np.exp(best.logs + off), UPPER)
    return {name: (float(low[index]), float(high[index])) for index, name in enumerate(FITTED)}


def _with(robot: Variation, values: Float64Array) -> Variation:
    strength, damping, frictionloss, armature = values.tolist()
    return replace(robot, motor_strength=strength, joint_damping=damping, joint_frictionloss=frictionloss, joint_armature=armature)


def _fit(windows: Windows, sessions: IntArray, world: World) -> Best:
    held = np.sqrt(np.square(windows.qpos[:, None, 7:] - windows.joint_pos).mean(axis=(0, 2)))[:, None]  # (H, 1) rad
    if not held.all():
        raise ReplayError("the joints never move in these logs: nothing can be fitted to them")

    def residuals(logs: Float64Array) -> Float64Array:
        tried = replace(world, robot=_with(world.robot, np.exp(logs)))
        errors = errors_of(windows, drive(windows, tried)).joint_pos / held
        return np.asarray(errors.ravel())

    def jacobian(logs: Float64Array) -> Float64Array:
        here = residuals(logs)
        steps = np.where(logs + _STEP < np.log(UPPER), _STEP, -_STEP)
        return np.stack(
            [(residuals(logs + step * unit) - here) / step for step, unit in zip(steps, np.eye(len(logs)), strict=True)], axis=1
        )

    start = np.log([getattr(STANDARD, name) for name in FITTED])
    result = least_squares(residuals, start, jacobian, (np.log(LOWER), np.log(UPPER)), loss="soft_l1", ftol=1e-3, xtol=1e-3, max_nfev=15)
    return Best(result.x, *by_session(residuals(result.x), jacobian(result.x), sessions))


def by_session(residual: Float64Array, jacobian: Float64Array, sessions: IntArray) -> tuple[Float64Array, Float64Array]:
    """Each session's share of the loss, and the parameters' standard errors: rows of one session are not independent (sandwich, as far as
    it goes: of few sessions it is too small)."""
    count = int(sessions.max()) + 1
    rows = np.repeat(sessions, len(residual) // len(sessions))
    # Soft l1 is 2 (sqrt(1 + r^2) - 1): half its slope is r weight, and the slope of that weight^3.
    weight = 1 / np.sqrt(1 + np.square(residual))
    losses = np.asarray(np.bincount(rows, weights=2 * (np.sqrt(1 + np.square(residual)) - 1), minlength=count), dtype=np.float64)
    curvature = (jacobian * weight[:, None] ** 3).T @ jacobian
    gradients = np.stack(
        [np.bincount(rows, weights=jacobian[:, each] * weight * residual, minlength=count) for each in range(jacobian.shape[1])]
    )
    spread = gradients @ gradients.T
    covariance = np.linalg.solve(curvature, np.linalg.solve(curvature, spread).T)
    return losses, np.sqrt(np.diag(covariance))
