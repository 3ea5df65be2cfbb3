"""How punctual a control loop is: histograms of constant size, cheap enough for every period."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robot.control_cycle import Period
from robot.pace import RealTime

EDGES_MS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
"""Upper edges of the histograms' bins; one more bin holds what is above."""

_FINE = np.geomspace(0.01, 100.0, 801)  # ms; percentiles are right to 1.2 %


@dataclass(frozen=True)
class Durations:
    """What is known of many durations."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    histogram: dict[str, int]  # "<= 0.25 ms" -> how many


class DurationCounter:
    """Counts durations; never grows."""

    def __init__(self) -> None:
        self._counts = np.zeros(len(_FINE) + 1, dtype=np.int64)
        self._coarse = np.zeros(len(EDGES_MS) + 1, dtype=np.int64)
        self._max_ms = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        ms = seconds * 1e3
        self._counts[np.searchsorted(_FINE, ms)] += 1
        self._coarse[np.searchsorted(EDGES_MS, ms)] += 1
        self._max_ms = max(self._max_ms, ms)

    def summary(self) -> Durations:
        """What was counted so far; percentiles are NaN where nothing was."""
        names = [f"<= {edge:g} ms" for edge in EDGES_MS] + [f"> {EDGES_MS[-1]:g} ms"]
        histogram = dict(zip(names, self._coarse.tolist(), strict=True))
        return Durations(self._percentile(0.5), self._percentile(0.99), self._max_ms, histogram)

    def _percentile(self, share: float) -> float:
        """The upper edge of the bin that it falls into."""
        total = np.cumsum(self._counts)
        if not total[-1]:
            return float("nan")
        index = int(np.searchsorted(total, share * total[-1]))
        return float(min(_FINE[index], self._max_ms)) if index < len(_FINE) else self._max_ms


class LoopStatistics:
    """Observation to command, lateness of the periods, and periods that were left out. Written by the control thread, read by any."""

    def __init__(self, pace: RealTime) -> None:
        self._pace = pace
        self.ticks = 0
        self._latency, self._lateness = DurationCounter(), DurationCounter()

    def observe(self, period: Period) -> None:
        """Count a period that has been turned."""
        self.ticks += 1
        self._latency.add(period.latency_s)
        self._lateness.add(self._pace.lateness_s)

    @property
    def missed(self) -> int:
        """Periods that were left out, because the one before took too long."""
        return self._pace.missed

    @property
    def missed_share(self) -> float:
        """Of all periods that there should have been."""
        return self.missed / max(1, self.ticks + self.missed)

    def summary(self) -> dict[str, Any]:
        """Flat figures, and both histograms by name."""
        latency, lateness = self._latency.summary(), self._lateness.summary()
        return {
            "ticks": self.ticks, "missed_ticks": self.missed, "missed_tick_share": self.missed_share,
            "obs_to_command_p50_ms": latency.p50_ms, "obs_to_command_p99_ms": latency.p99_ms, "obs_to_command_max_ms": latency.max_ms,
            "lateness_p50_ms": lateness.p50_ms, "lateness_p99_ms": lateness.p99_ms, "lateness_max_ms": lateness.max_ms,
            "obs_to_command_histogram": latency.histogram, "lateness_histogram": lateness.histogram,
        }  # fmt: skip
