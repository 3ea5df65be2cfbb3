"""One job of the benchmark in a process of its own: `python -m d4rl_bench.job_process FOLDER`.

FOLDER/job.json says what to do, see `d4rl_bench.sweep.run_all`; what an interrupted process left in FOLDER is gone on with.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.errors import QuadloopError
from common.files import read_json, write_json
from common.revision import git_revision
from d4rl_bench.d3rlpy_process import BaselineKilledError
from d4rl_bench.engines import die_with_parent
from d4rl_bench.sweep import JOB, PROGRESS, RESULT, read_result
from learners.progress import Progress

PACKAGES = ("numpy", "torch", "mujoco", "gymnasium", "gymnasium-robotics", "d3rlpy")
PROGRESS_PERIOD_S = 2.0

Run = Callable[[dict[str, Any], Path, Progress], dict[str, Any]]
"""Does what is asked for, the content of job.json, in that folder and returns its result, all in JSON values."""


class JobFileError(QuadloopError):
    """A folder that holds no job."""


def main(arguments: Sequence[str]) -> int:
    """Do the job in the folder that is the one argument; returns the exit status. An expected failure is one line on standard error.

    Where the process that trains a baseline is killed this one ends likewise: whoever began it knows then that it may go on.
    """
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    die_with_parent()
    try:
        do_job(Path(arguments[0]), _run)
    except QuadloopError as error:
        _complain(str(error))
        if isinstance(error, BaselineKilledError):
            os.kill(os.getpid(), signal.SIGKILL)
        return error.exit_status
    except OSError as error:  # a disk that is full
        _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return QuadloopError.exit_status
    return 0


def _complain(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)


def do_job(folder: Path, run: Run) -> None:
    """Do with `run` what `folder`/job.json asks for, unless its result is there, and write `folder`/result.json.

    The result is the job itself without the paths "data" and "start", over it what `run` returns, and "key", "command" (of the
    sweep), "revision", "versions", "seconds" (of work, interrupted processes included) and "finished" (when, seconds since 1970).
    JobFileError if job.json cannot be read.
    """
    order = _read_order(folder / JOB)
    if read_result(folder, order["key"]) is not None:
        return
    said = _Said(folder / PROGRESS)
    code = {"revision": git_revision(), "versions": versions()}  # of what begins to run; the files may change meanwhile
    asked = {name: value for name, value in order["job"].items() if name not in ("data", "start")}
    result = asked | run(order, folder, said)
    times = {"seconds": round(said.seconds(), 1), "finished": round(time.time())}
    write_json(folder / RESULT, result | {"key": order["key"], "command": order["command"]} | times | code)


def versions() -> dict[str, str]:
    """The versions of Python and of those PACKAGES that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _run(order: dict[str, Any], folder: Path, progress: Progress) -> dict[str, Any]:
    """A Run of one job of the benchmark, on one thread: the order of its sums must not depend on the computer's cores."""
    import torch

    from d4rl_bench.job import Job, run_job

    torch.set_num_threads(1)
    try:
        wanted = Job(**order["job"])
    except TypeError as error:
        raise JobFileError(f"{folder / JOB} asks for no job of this version ({error}); run the sweep again") from None
    if wanted.key() != order["key"]:  # told now, and not after hours of work on another job
        raise JobFileError(f"the data or the code changed since the sweep began: {folder / JOB} asks for another job; run the sweep again")
    return run_job(wanted, folder, progress)


def _read_order(path: Path) -> dict[str, Any]:
    try:
        order = read_json(path)
    except (OSError, ValueError) as error:
        raise JobFileError(f"{path} cannot be read ({error}); run the sweep again") from None
    kinds = {"key": str, "command": str, "job": dict}
    if not isinstance(order, dict) or not all(isinstance(order.get(name), kind) for name, kind in kinds.items()):
        raise JobFileError(f"{path} asks for no job; run the sweep again")
    return order


class _Said:
    """A Progress that keeps what was said last in a file, for whoever watches, with the seconds that the job has taken so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seconds_before = _seconds_in(path)
        self._began_s = time.monotonic()
        self._written_s = -math.inf
        self._part = ""

    def __call__(self, part: str, done: int, total: int, figures: dict[str, float]) -> None:
        if part != self._part or time.monotonic() - self._written_s >= PROGRESS_PERIOD_S:
            write_json(self._path, {"part": part, "done": done, "total": total, "seconds": self.seconds()})
            self._part, self._written_s = part, time.monotonic()

    def seconds(self) -> float:
        """How long the job has been worked on."""
        return self._seconds_before + time.monotonic() - self._began_s


def _seconds_in(path: Path) -> float:
    """What an earlier process of the same job noted; 0 if there was none."""
    try:
        said = read_json(path)
    except (OSError, ValueError):
        return 0.0
    seconds = said.get("seconds") if isinstance(said, dict) else None
    return float(seconds) if isinstance(seconds, (int, float)) else 0.0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
