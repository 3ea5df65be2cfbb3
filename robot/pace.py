"""When the next control period begins: by the wall clock on a robot, at once in simulated time."""

from __future__ import annotations

import time
from typing import Protocol

from robot import go1
from robot.driver import RobotState


class Pace(Protocol):
    """The clock and the metronome of a control loop."""

    def now(self, state: RobotState) -> float:
        """The present time, s, by the clock of state.stamp_s, where `state` is the state just read."""

    def wait_next(self) -> bool:
        """Return when the next period begins. True if it had begun already: the period just ended was overrun."""


class RealTime:
    """Periods of `dt_s` on an absolute grid of time.monotonic, so that lateness does not add up.

    A beat that was missed is left out, not caught up by hurrying. The grid begins at the first wait.
    """

    def __init__(self, dt_s: float = go1.CONTROL_DT) -> None:
        self.missed = 0  # beats left out
        self.lateness_s = 0.0  # of the newest beat: how long after it the caller went on
        self._dt_s = dt_s
        self._deadline_s: float | None = None

    def now(self, state: RobotState) -> float:
        """time.monotonic()."""
        return time.monotonic()

    def wait_next(self) -> bool:
        """Sleep until the next beat."""
        now = time.monotonic()
        deadline = now + self._dt_s if self._deadline_s is None else self._deadline_s
        missed = max(0, 1 + int((now - deadline) // self._dt_s))
        deadline += missed * self._dt_s
        time.sleep(max(0.0, deadline - time.monotonic()))
        self._deadline_s = deadline + self._dt_s
        self.missed += missed
        self.lateness_s = time.monotonic() - deadline
        return missed > 0


class AsFastAsPossible:
    """Simulated time: the driver's own stamps are the clock, and nothing is waited for."""

    def now(self, state: RobotState) -> float:
        """The state's stamp."""
        return state.stamp_s

    def wait_next(self) -> bool:
        """Return at once; simulated time is never late."""
        return False
