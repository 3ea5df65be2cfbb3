"""The trunk's velocity by a camera or another tracker, as long as it can be trusted; otherwise by the legs.

A single bad sample shows by itself (tracked.Glitch). A tracker that loses its way slides off slowly; that shows only against the
legs, over a while. The live source and the inspection of logs share the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from common.array_types import Float64Array, FloatArray
from robot import go1
from robot.driver import BaseVelocity, RobotState, VelocitySource
from robot.velocity.legs import STRIDE_STEPS
from robot.velocity.tracked import Glitch

DRIFT_S = 2.0
MAX_DRIFT = 0.5  # m/s; what else was not flagged in the released logs reaches 0.47
TRUSTED_AGAIN = 0.25  # m/s; half of it, so that a tracker at the limit does not come and go
DRIFT = "drift"


class ExplainedVelocity(VelocitySource, Protocol):
    """A velocity source that tells why its last reading was not valid."""

    @property
    def glitch(self) -> Glitch:
        """Zero if it was."""


@dataclass(frozen=True)
class WatchReport:
    """Which source is in use, and why."""

    source: str
    changes: int = 0  # from one source to the other
    why: tuple[str, ...] = ()  # the fallback is in use: names of Glitch, or "drift"
    losses: Mapping[str, int] = field(default_factory=dict)  # how often each of them took the primary source out of use

    def __str__(self) -> str:
        """The source, and in brackets why it is the fallback."""
        return f"{self.source} ({', '.join(self.why)})" if self.why else self.source


class WatchedVelocity:
    """A VelocitySource (robot.driver): `primary` while it is valid and does not drift off `fallback`, else `fallback`.

    Both are read in every control period. Each reading's `source` names the one it came from. `report` may be read from any thread.
    """

    def __init__(self, primary: ExplainedVelocity, fallback: VelocitySource) -> None:
        self._primary, self._fallback = primary, fallback
        self._drift = DriftWatch()
        self.name = f"{primary.name}+{fallback.name}"
        self.report = WatchReport(primary.name)

    def read(self, state: RobotState) -> BaseVelocity:
        """The velocity to use; not valid where neither is."""
        primary, fallback = self._primary.read(state), self._fallback.read(state)
        drifts = self._drift.step(state.stamp_s, primary, fallback)
        why = _names(self._primary.glitch) + ((DRIFT,) if drifts else ())
        used = fallback if why or not primary.valid else primary
        self._note(used.source, why)
        return used

    def _note(self, source: str, why: tuple[str, ...]) -> None:
        last = self.report
        if (source, why) == (last.source, last.why):
            return
        changed = source != last.source
        losses = dict(last.losses)
        if changed:
            losses.update({name: losses.get(name, 0) + 1 for name in why})
        self.report = WatchReport(source, last.changes + changed, why, losses)


class DriftWatch:
    """Whether a source has drifted off another over the last DRIFT_S; a verdict holds until there is another."""

    def __init__(self) -> None:
        self._steps = round(DRIFT_S / go1.CONTROL_DT)
        self._drifts = False
        self._stamp_s = -np.inf
        self._stride, self._difference = self._nothing()

    def step(self, stamp_s: float, watched: BaseVelocity, reference: BaseVelocity) -> bool:
        """Take the readings of one control period; True while `watched` drifts."""
        if not 0 <= stamp_s - self._stamp_s < STRIDE_STEPS * go1.CONTROL_DT:  # another walk
            self._stride, self._difference = self._nothing()
        self._stamp_s = stamp_s
        # The legs' velocity is a mean over the last stride: against one sample, the swing within a stride would look like drift.
        self._stride = np.vstack([self._stride[1:], watched.lin_vel_b[:2] if watched.valid else np.full(2, np.nan)])
        by_reference = reference.lin_vel_b[:2] if reference.valid else np.full(2, np.nan)
        self._difference = np.vstack([self._difference[1:], self._stride.mean(axis=0) - by_reference])
        off = float(mean_difference(self._difference, self._steps)[-1])
        if np.isfinite(off):
            self._drifts = off > (TRUSTED_AGAIN if self._drifts else MAX_DRIFT)
        return self._drifts

    def _nothing(self) -> tuple[Float64Array, Float64Array]:
        """The last stride of what is watched, and how far it was off in the last DRIFT_S, m/s: not known in any row."""
        return np.full((STRIDE_STEPS, 2), np.nan), np.full((self._steps, 2), np.nan)


def mean_difference(difference: FloatArray, steps: int) -> Float64Array:
    """How far apart, m/s, two horizontal velocities are on average over each stretch of `steps` rows (T - steps + 1,).

    difference (T, 2) m/s, NaN in rows where one of them is not known; NaN for a stretch where that is half of the rows or more.
    """
    known = np.isfinite(difference).all(axis=1)
    window = np.ones(steps)
    rows = np.convolve(known, window, mode="valid")
    sums = [np.convolve(np.where(known, difference[:, axis], 0.0), window, mode="valid") for axis in range(2)]
    return np.asarray(np.where(rows > steps / 2, np.hypot(*sums) / np.maximum(rows, 1), np.nan), dtype=np.float64)


def _names(glitch: Glitch) -> tuple[str, ...]:
    return tuple(str(reason.name) for reason in Glitch if reason in glitch)
