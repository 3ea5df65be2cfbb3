"""Where a sitting's velocity came from. A tracker that is lost is no error, for the legs take over; but nobody should have to guess it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from robot.driver import VelocitySource
from robot.velocity.watched import WatchedVelocity, WatchReport


class VelocityAccount:
    """Of one velocity source. Where nothing watches it there is nothing to tell, and the lines are empty."""

    def __init__(self, source: VelocitySource) -> None:
        self._watched = source if isinstance(source, WatchedVelocity) else None
        self._told = WatchReport(source.name)
        self._before: Counter[str] = Counter()  # losses until the episode began
        self._lost: Counter[str] = Counter()  # in episodes

    @property
    def trusted(self) -> bool:
        """Whether the velocity comes from where it was asked for, as far as is known now."""
        return self._watched is None or not self._watched.report.why

    def line(self) -> str:
        """For a person, before the robot stands up."""
        if self._watched is None:
            return ""
        self._told = self._watched.report
        return f"velocity by {self._told}" + ("; see docs/robot.md" if self._told.why else "")

    def begin(self) -> None:
        """An episode begins."""
        self._before = Counter(self._watched.report.losses) if self._watched is not None else Counter()

    def end(self) -> str:
        """For a person, once that episode is over."""
        if self._watched is None:
            return ""
        self._told = self._watched.report
        lost = Counter(self._told.losses) - self._before
        self._lost += lost
        times = ", ".join(f"{name} {count}" for name, count in lost.items())
        return f"velocity by {self._told}" + (f"; tracker lost: {times}" if times else "")

    def result(self) -> dict[str, Any]:
        """JSON values: the source that was told last, why it is the legs, and what the tracker was lost by in episodes, how often."""
        return {"source": self._told.source, "why": list(self._told.why), "losses": dict(self._lost)}
