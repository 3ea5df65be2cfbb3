"""Many jobs, each in a folder of its own: done once, and gone on with after whatever ended them."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from common.errors import QuadloopError
from common.files import read_json, write_json
from common.progress import hours, pace
from d4rl_bench.engines import LOG, Ending, Engine

JOB, PROGRESS, RESULT = "job.json", "progress.json", "result.json"
WORKER = (sys.executable, "-m", "d4rl_bench.job_process")
MAX_LAST_LINE_BYTES = 2000
POLL_S = 0.1
BUSY_S = 1.0  # until a folder in which somebody else works is looked at again
TERMINAL_PERIOD_S, LINES_PERIOD_S = 1.0, 60.0
BAR_WIDTH = 40


class SweepError(QuadloopError):
    """A sweep that cannot be begun, or one in which jobs failed."""


class JobsFailedError(SweepError):
    """Jobs failed, after all others were done; `results` are those of all jobs in their order, None where one failed."""

    def __init__(self, message: str, results: list[dict[str, Any] | None]) -> None:
        super().__init__(message)
        self.results = results


class Work(Protocol):
    """A job, as far as a sweep knows it."""

    def key(self) -> str:
        """Equal for two jobs if and only if they have the same result."""

    def name(self) -> str:
        """The job's folder, relative to the sweep's: another for each job."""

    def to_json(self) -> dict[str, Any]:
        """All that a worker must know, in JSON values."""


def run_all(jobs: Sequence[Work], out: Path, engine: Engine, retries: int = 2, worker: Sequence[str] = WORKER) -> list[dict[str, Any]]:
    """Do all `jobs`, each in its folder below `out`, `engine.workers` at once; returns their results in the order of the jobs.

    For each job `worker` is run with the job's folder as its last argument. It finds there `job.json`, `{"key", "command", "job"}`:
    the job's key, the command line of the sweep and the job itself. It leaves `result.json`, an object with the same "key", whole or
    absent; until then it may say in `progress.json` how far it is, as `{"part", "done", "total", "seconds"}`, the last of all its work
    so far. A job whose result is there is not done again. One that is killed is begun again in the same folder, up to `retries` times;
    one in whose folder another sweep works is waited for. Progress goes to standard error. However this function is left, no worker goes
    on.

    JobsFailedError, once all others are done, if jobs failed: each is named on a line of standard error. SweepError, before anything is
    begun, for two jobs that are the same.
    """
    sweep = _Sweep(_cells(jobs, out), engine, retries, worker)
    if any(cell.result is None for cell in sweep.cells):
        sweep.run()
    for line in sweep.failures:
        print(line, file=sys.stderr)
    results = [cell.result for cell in sweep.cells]
    if sweep.failures:
        raise JobsFailedError(f"{len(sweep.failures)} of {len(jobs)} jobs failed, the first: {sweep.failures[0]}", results)
    return [result for result in results if result is not None]


def read_result(folder: Path, key: str) -> dict[str, Any] | None:
    """The result of the job `key` in `folder`; None if it is absent, damaged or another job's, so that the job is still to do."""
    result = _read_object(folder / RESULT)
    return result if result is not None and result.get("key") == key else None


def _read_object(path: Path) -> dict[str, Any] | None:
    try:
        value = read_json(path)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@dataclass
class _Cell:
    """A job, its folder and what has become of it so far."""

    work: Work
    key: str
    name: str
    folder: Path
    result: dict[str, Any] | None
    killed: int = 0
    rest_until_s: float = 0.0
    first: tuple[Any, int, float] = ("", 0, 0.0)  # its part, how much of that was done, and seconds, when that part was first looked at

    def said(self) -> str:
        """How far the worker says that it is, such as "critics 1,200/5,000, 240/s, 0:00:16 left": as fast as since that part was first
        looked at."""
        said = _read_object(self.folder / PROGRESS) or {}
        part, done, total, seconds = (said.get(name) for name in ("part", "done", "total", "seconds"))
        if not isinstance(done, int) or not isinstance(total, int):
            return "begins"
        seconds = float(seconds) if isinstance(seconds, (int, float)) else 0.0
        if part != self.first[0] or done < self.first[1]:  # less is done where it goes on after it was killed
            self.first = part, done, seconds
        _, begun, since_s = self.first
        speed = f", {pace((done - begun) / (seconds - since_s), total - done)}" if seconds > since_s and begun < done < total else ""
        return f"{part} {done:,}/{total:,}{speed}"

    def last_words(self) -> str:
        """The last line of the worker's log, which is all that is known of why it failed."""
        with (self.folder / LOG).open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - MAX_LAST_LINE_BYTES))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it failed and its log is empty: is the disk full?")


def _cells(jobs: Sequence[Work], out: Path) -> list[_Cell]:
    cells = []
    for job in jobs:
        key, name = job.key(), job.name()
        folder = out.resolve() / name
        cells.append(_Cell(job, key, name, folder, read_result(folder, key)))
    for same in (Counter(cell.key for cell in cells), Counter(cell.folder for cell in cells)):
        for thing, count in same.items():
            if count > 1:
                raise SweepError(f"the same job is asked for {count} times ({thing}); ask for it once")
    return cells


class _Sweep:
    """The jobs that are still to do, those that run, and what went wrong."""

    def __init__(self, cells: list[_Cell], engine: Engine, retries: int, worker: Sequence[str]) -> None:
        self.cells = cells
        self.failures: list[str] = []
        self._engine, self._retries, self._worker = engine, retries, worker
        self._waiting = deque(cell for cell in cells if cell.result is None)
        self._running: dict[Path, _Cell] = {}

    def run(self) -> None:
        """Do what is to do."""
        with self._engine, _Board(len(self.cells), self._done()) as board:
            while self._waiting or self._running:
                self._start()
                time.sleep(POLL_S)
                for folder, ending in self._engine.ended():
                    self._settle(self._running.pop(folder), ending)
                board.show(self._done(), self._running.values())

    def _done(self) -> int:
        return len(self.cells) - len(self._waiting) - len(self._running)

    def _start(self) -> None:
        """Begin as many jobs as may run at once."""
        while self._waiting and len(self._running) < self._engine.workers and self._waiting[0].rest_until_s <= time.monotonic():
            cell = self._waiting.popleft()
            cell.result = read_result(cell.folder, cell.key)  # another sweep may have done it by now
            if cell.result is None:
                command = shlex.join([Path(sys.argv[0]).stem, *sys.argv[1:]])  # quadloop, also where it is python -m quadloop
                write_json(cell.folder / JOB, {"key": cell.key, "command": command, "job": cell.work.to_json()})
                self._engine.start(self._worker, cell.folder)
                self._running[cell.folder] = cell

    def _settle(self, cell: _Cell, ending: Ending) -> None:
        """Draw the consequence of a process that has ended."""
        cell.killed += ending is Ending.KILLED
        if ending is Ending.BUSY:
            cell.rest_until_s = time.monotonic() + BUSY_S
            self._waiting.append(cell)
        elif ending is Ending.KILLED and cell.killed <= self._retries:
            self._waiting.append(cell)
        elif ending is Ending.FINISHED:
            cell.result = read_result(cell.folder, cell.key)
            if cell.result is None:
                self.failures.append(f"{cell.name}: it ended without a whole {RESULT}")
        else:
            reason = cell.last_words() if ending is Ending.FAILED else f"it was killed {cell.killed} times"
            self.failures.append(f"{cell.name}: {reason} (see {cell.folder / LOG})")


class _Board:
    """A bar of the finished jobs and what each running one said last; the same as lines, seldom, where there is no terminal."""

    def __init__(self, total: int, done: int) -> None:
        self._total, self._done_before = total, done
        console = Console(stderr=True)
        self._live = Live(console=console, auto_refresh=False, redirect_stdout=False) if console.is_terminal else None
        self._period_s = LINES_PERIOD_S if self._live is None else TERMINAL_PERIOD_S
        self._began_s = time.monotonic()
        self._shown_s = -math.inf
        self._done = done

    def __enter__(self) -> _Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown_s = -math.inf
        self.show(self._done, ())
        if self._live is not None:
            self._live.stop()

    def show(self, done: int, running: Collection[_Cell]) -> None:
        """Say, if it is time to, that `done` jobs are done and what the `running` ones say."""
        self._done = done
        if time.monotonic() - self._shown_s < self._period_s:
            return
        self._shown_s = time.monotonic()
        said = [f"  {cell.name}: {cell.said()}" for cell in running]
        if self._live is None:
            print("\n".join([f"cells: {self._status()}", *said]), file=sys.stderr, flush=True)
            return
        bar = Table.grid(padding=(0, 1))
        bar.add_row("cells", ProgressBar(self._total, done, width=BAR_WIDTH), self._status())
        self._live.update(Group(bar, Text("\n".join(said))), refresh=True)

    def _status(self) -> str:
        """Such as "12/20, 0:10:00 so far, 0:20:00 left": as fast as the jobs that were done here."""
        elapsed_s = time.monotonic() - self._began_s
        here, left = self._done - self._done_before, self._total - self._done
        estimate = f", {hours(elapsed_s / here * left)} left" if here and left else ""
        return f"{self._done}/{self._total}, {hours(elapsed_s)} so far{estimate}"
