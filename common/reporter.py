"""One callable that long procedures of several parts report to: it keeps the progress bar and the metrics."""

from __future__ import annotations

from collections.abc import Mapping

from common.metrics import Metrics
from common.progress import Progress


class Reporter:
    """`report(part, done, total, figures)`: a bar for each part in turn, a row of metrics (stage `part`, step `done`) a call."""

    def __init__(self, metrics: Metrics, unit: str = "steps") -> None:
        self._metrics = metrics
        self._unit = unit
        self._progress: Progress | None = None

    def __call__(self, part: str, done: int, total: int, figures: Mapping[str, float]) -> None:
        """Say that `done` of `total` steps of `part` are done; the first call of another part ends the one before."""
        if self._progress is None or self._progress.task != part:
            self._end_part()
            self._progress = Progress(part, total, self._unit, done)
            self._metrics.drop_after(part, done - 1)  # what an interrupted run measured from here on is measured again
        self._progress.reach(done)
        if figures:
            self._metrics.write(part, done, figures)

    def __enter__(self) -> Reporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_part()

    def _end_part(self) -> None:
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
            self._progress = None
