"""Where jobs run: as processes of this computer, or of all computers of a Ray cluster.

With either a job is the same process with the same number of threads, alone in its folder: its numbers depend neither on where it
runs nor on how many run at once.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import stat
import subprocess
import threading
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from common.errors import MissingExtraError, QuadloopError
from common.files import hold

LOCK, LOG = ".lock", "log.txt"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
RAY_STORE_BYTES = 100 * 2**20  # for the objects of Ray's tasks, which are words here; Ray takes no less than 75 MiB
CONNECT_S = 5.0  # in which a cluster's port must answer


class EngineError(QuadloopError):
    """An engine that cannot run jobs."""


class Ending(Enum):
    """How a job's process ended."""

    FINISHED = "exit status 0"
    FAILED = "another exit status: it would fail again"
    KILLED = "a signal, or the loss of its computer: it may go on where it was"
    BUSY = "not begun: another process works in that folder"


class Engine(Protocol):
    """Runs commands, each in a folder of its own. A context manager that ends, on leaving, all that it still runs."""

    workers: int
    """how many may run at once"""

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...

    def start(self, command: Sequence[str], folder: Path) -> None:
        """Have `command` run with the absolute path `folder`, a directory, as its last argument; what it prints goes to LOG there."""

    def ended(self) -> list[tuple[Path, Ending]]:
        """The folders whose commands have ended since the last call, and how. Does not wait."""


class LocalEngine:
    """An Engine of processes on this computer."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._running: dict[Path, subprocess.Popen[bytes] | None] = {}

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            if process is not None:
                process.kill()
                _ending(process)
        self._running.clear()

    def start(self, command: Sequence[str], folder: Path) -> None:
        """See Engine."""
        self._running[folder] = start_process(command, folder, Path.cwd())

    def ended(self) -> list[tuple[Path, Ending]]:
        """See Engine."""
        over = {folder: process for folder, process in self._running.items() if process is None or process.poll() is not None}
        for folder in over:
            del self._running[folder]
        return [(folder, _ending(process)) for folder, process in over.items()]


class RayEngine:
    """An Engine of Ray tasks of one core each, on the cluster at `address`, or on one of `workers` cores that is begun on this computer.

    All computers of the cluster must see the working directory, the jobs' folders and data and this installation under the same
    paths, on a file system that they share. MissingExtraError if ray is not installed.
    """

    def __init__(self, workers: int, address: str | None = None) -> None:
        self.workers = workers
        self._address = address
        self._running: dict[Any, Path] = {}  # by the reference to what the task will return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read while it is imported: nothing is sent anywhere
        try:
            self._ray: Any = importlib.import_module("ray")
        except ModuleNotFoundError:
            raise MissingExtraError("ray", "sweep") from None

    def __enter__(self) -> RayEngine:
        own = {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": RAY_STORE_BYTES}
        options = {} if self._address else own
        _require_listener(self._address or "")
        try:
            self._ray.init(address=self._address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
        except (self._ray.exceptions.RayError, ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(f"no Ray cluster at {self._address or 'this computer'}: {error}") from error
        self._task = self._ray.remote(num_cpus=1, max_retries=0)(_run_process)  # whoever uses the engine tries again
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()  # ends the workers of all tasks that still run, and with them their processes
        self._running.clear()

    def start(self, command: Sequence[str], folder: Path) -> None:
        """See Engine."""
        self._running[self._task.remote(list(command), folder, Path.cwd())] = folder

    def ended(self) -> list[tuple[Path, Ending]]:
        """See Engine. EngineError if a computer of the cluster cannot work in a job's folder."""
        references = list(self._running)
        over = self._ray.wait(references, num_returns=len(references), timeout=0)[0] if references else []
        return [(folder, self._ending(reference, folder)) for reference in over for folder in [self._running.pop(reference)]]

    def _ending(self, reference: Any, folder: Path) -> Ending:
        try:
            return Ending(self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:
            raise EngineError(f"a computer of the Ray cluster cannot work in {folder}: {error.cause}") from error
        except self._ray.exceptions.RayError:  # the worker or its computer is lost
            return Ending.KILLED


def _require_listener(address: str) -> None:
    """EngineError if nobody listens at a HOST:PORT: Ray tries for minutes, without a word. Other addresses, such as "auto", are Ray's."""
    place = re.fullmatch(r"(?:ray://)?\[?(.+?)\]?:(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=CONNECT_S).close()
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: a port, a name that cannot be
        raise EngineError(f"no Ray cluster answers at {address} ({error}); --address takes HOST:PORT of one's head") from error


def start_process(command: Sequence[str], folder: Path, directory: Path) -> subprocess.Popen[bytes] | None:
    """Start `command` `folder` in the working directory `directory`; None if another process works in `folder`.

    The process inherits the folder's lock, so that whatever it dies of gives it back, and a standard input that ends when this
    process does (see `die_with_parent`). Interrupts from the terminal do not reach it.
    """
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not hold(lock):
            return None
        with (folder / LOG).open("ab") as log:
            return subprocess.Popen(
                [*command, str(folder)], cwd=directory, env=os.environ | ONE_THREAD, pass_fds=(lock,), start_new_session=True,
                stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
    finally:
        os.close(lock)


def die_with_parent() -> None:
    """End this process as soon as the one that began it with `start_process` has ended, whatever that died of.

    Does nothing where standard input is no pipe: a person began this process.
    """
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()


def _exit_at_end_of_input() -> None:
    while os.read(0, 1024):
        pass
    os._exit(1)


def _run_process(command: list[str], folder: Path, directory: Path) -> str:
    """What a Ray task does; returns the value of an Ending."""
    process = start_process(command, folder, directory)
    try:
        if process is not None:
            process.wait()
    finally:
        if process is not None:
            process.kill()
    return str(_ending(process).value)


def _ending(process: subprocess.Popen[bytes] | None) -> Ending:
    """How the process ends, once it has, or BUSY if there was none."""
    if process is None:
        return Ending.BUSY
    with process:  # closes the pipe
        status = process.wait()
    return Ending.FINISHED if status == 0 else Ending.KILLED if status < 0 else Ending.FAILED
