"""How far a long task is, how fast it goes and how long it still takes, on standard error: standard output belongs to results."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress

TERMINAL_PERIOD_S = 0.2
LINE_PERIOD_S = 10.0


class Progress:
    """A bar on a terminal; elsewhere (a log file, CI) one line at once, then at most every 10 s, and one at the end.

    `with Progress("collect", total=1000, unit="episodes") as progress: ...; progress.advance()`. Between two looks at the clock
    that show something, `advance` costs less than a microsecond, so that it may be called at every step. `done` is where a
    resumed task starts: the rate counts only what was done here. `stream` and `clock` (s, monotonic) are for tests.
    """

    def __init__(
        self,
        task: str,
        total: int,
        unit: str = "steps",
        done: int = 0,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.task, self.total, self.unit, self.done = task, total, unit, done
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._bar = _Bar(task, total, self._stream) if self._stream.isatty() else None
        self._period_s = LINE_PERIOD_S if self._bar is None else TERMINAL_PERIOD_S
        self._done_before = done
        self._began_s, self._shown_s = clock(), -math.inf
        self._shown: int | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown != self.done:
            self._show()
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """Say that `count` more units are done."""
        self.reach(self.done + count)

    def reach(self, done: int) -> None:
        """Say that `done` units are done in all."""
        self.done = done
        if self._clock() - self._shown_s >= self._period_s:
            self._show()

    def status(self) -> str:
        """Such as "1,200/5,000 steps, 240 steps/s, 0:00:16 left"; without a rate while nothing is done."""
        if self.done == self._done_before:
            return f"{self.done:,}/{self.total:,} {self.unit}"
        elapsed_s = self._clock() - self._began_s
        rate = (self.done - self._done_before) / elapsed_s if elapsed_s > 0 else 0.0
        return f"{self.done:,}/{self.total:,} {self.unit}, {pace(rate, self.total - self.done, self.unit)}"

    def _show(self) -> None:
        self._shown_s, self._shown = self._clock(), self.done
        if self._bar is None:
            print(f"{self.task}: {self.status()}", file=self._stream, flush=True)
        else:
            self._bar.show(self.done, self.status())


class _Bar:
    """rich's bar, drawn when told to, without a thread."""

    def __init__(self, task: str, total: int, stream: TextIO) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}")
        self._progress = RichProgress(*columns, console=Console(file=stream), auto_refresh=False)
        self._task = self._progress.add_task(task, total=total, status="")
        self._progress.start()

    def show(self, done: int, status: str) -> None:
        self._progress.update(self._task, completed=done, status=status, refresh=True)

    def stop(self) -> None:
        self._progress.stop()


def pace(rate: float, left: float, unit: str = "") -> str:
    """Such as "240 steps/s, 0:00:16 left", of `rate` units a second where `left` units are left."""
    speed = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
    return f"{f'{speed} {unit}'.rstrip()}/s" + (f", {hours(left / rate)} left" if rate > 0 and left > 0 else "")


def hours(seconds: float) -> str:
    """Such as "1:02:03"."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
