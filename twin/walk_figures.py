"""Walks, of the robot or of a twin, and the figures by which the two are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.array_types import Float64Array
from robot import go1
from robot.command import Slot
from robot.speed_bins import SPEED_BINS, speed_bin

FALLING_S = 1.5  # before a fall, the trunk's motion is the fall's
FIGURES = (*(f"speed_{low:g}_{high:g}" for low, high in SPEED_BINS), "root_falls", "roll", "pitch")
_BINS = len(SPEED_BINS)
HORIZONS_S = (5.0, 10.0, 20.0)
_RESAMPLES = 500


@dataclass(frozen=True)
class Walk:
    """One walk, of the robot or of a twin, T control steps long."""

    commands: Float64Array  # (T, 15) unscaled
    speed: Float64Array  # (T,) m/s, forward, NaN where it was not measured
    gravity_b: Float64Array  # (T, 3)
    fell: bool
    noise_std: float = 0.0  # of the actions around the policy's mean
    session: str = ""


def sums_of(walk: Walk) -> Float64Array:
    """What a walk adds to the sums that `figures_of` is made of: speed and rows by commanded speed, steps, falls, attitude."""
    known = np.isfinite(walk.speed)
    bins = speed_bin(walk.commands[:, Slot.VX])
    chosen = known & (bins >= 0)
    speeds = np.bincount(bins[chosen], weights=walk.speed[chosen], minlength=_BINS)
    rows = np.bincount(bins[chosen], minlength=_BINS)
    upright = walk.gravity_b[: -round(FALLING_S / go1.CONTROL_DT)] if walk.fell else walk.gravity_b
    roll, pitch = np.arctan2(upright[:, 1], -upright[:, 2]), np.arctan2(-upright[:, 0], -upright[:, 2])
    attitude = [len(upright), roll.sum(), np.square(roll).sum(), pitch.sum(), np.square(pitch).sum()]
    return np.concatenate([speeds, rows, [len(walk.commands), walk.fell], attitude])


def figures_of(sums: Float64Array) -> Float64Array:
    """FIGURES of summed `sums_of`: mean speed, m/s, by commanded speed; root of falls in 100,000 steps; spread of roll and pitch, rad.

    A speed that was never commanded is NaN. The root, because its scatter does not depend on how many falls there are (Poisson).
    """
    speeds, rows = sums[:_BINS], sums[_BINS : 2 * _BINS]
    steps, falls, upright, roll, roll2, pitch, pitch2 = sums[2 * _BINS :]
    with np.errstate(invalid="ignore", divide="ignore"):
        speed = np.where(rows > 0, speeds / rows, np.nan)
        variance = np.array([roll2, pitch2]) / upright - np.square(np.array([roll, pitch]) / upright)
    return np.array([*speed, np.sqrt(falls / steps * 1e5), *np.sqrt(np.maximum(variance, 0.0))])


def figures_by_session(walks: Sequence[Walk], resamples: int, seed: int) -> tuple[Float64Array, Float64Array]:
    """FIGURES (7,) of the walks and their standard errors (7,) when whole sessions are drawn again; NaN if never measured."""
    sums = np.array([sums_of(walk) for walk in walks])
    names, where = np.unique([walk.session for walk in walks], return_inverse=True)
    of_session = np.zeros((len(names), sums.shape[1]))
    np.add.at(of_session, where, sums)
    picks = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    drawn = np.array([figures_of(of_session[pick].sum(axis=0)) for pick in picks])
    known = np.isfinite(drawn).any(axis=0)
    errors = np.full(drawn.shape[1], np.nan)
    errors[known] = np.nanstd(drawn[:, known], axis=0)
    by_chance = 0.5 * np.sqrt(1e5 / sum(len(walk.commands) for walk in walks))  # of the root of a Poisson count, none included
    errors[FIGURES.index("root_falls")] = max(errors[FIGURES.index("root_falls")], by_chance)
    return figures_of(sums.sum(axis=0)), errors


def fallen_within(walks: Sequence[Walk], seconds: float) -> float:
    """Probability of a fall in the first `seconds`, by Kaplan and Meier: a walk that ends without a fall says nothing of later."""
    lengths = np.array([len(walk.commands) for walk in walks]) * go1.CONTROL_DT
    fell = np.array([walk.fell for walk in walks])
    up = 1.0
    for moment in np.unique(lengths[fell & (lengths <= seconds)]):
        up *= 1 - (fell & (lengths == moment)).sum() / (lengths >= moment).sum()
    return 1 - up


def summary(walks: Sequence[Walk]) -> Mapping[str, Any]:
    """The same for people: speeds in m/s, falls, the probability of a fall within HORIZONS_S, roll and pitch in degrees."""
    figures, errors = figures_by_session(walks, _RESAMPLES, seed=0)
    steps, falls = sum(len(walk.commands) for walk in walks), sum(walk.fell for walk in walks)
    bins = zip(SPEED_BINS, figures[:_BINS], errors[:_BINS], strict=True)
    return {
        "walks": len(walks),
        "steps": steps,
        "speed_by_command": {f"{low:g}-{high:g}": {"mean": _known(speed), "error": _known(error)} for (low, high), speed, error in bins},
        "falls_per_100k_steps": falls / steps * 1e5,
        "fallen_within_s": {f"{horizon:g}": fallen_within(walks, horizon) for horizon in HORIZONS_S},
        "roll_deg": _known(np.degrees(figures[-2])),
        "pitch_deg": _known(np.degrees(figures[-1])),
    }


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
