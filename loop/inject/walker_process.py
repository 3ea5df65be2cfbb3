"""The control process of a rehearsal from outside: starts loop/inject/walker.py, gives orders, hears news, and ends all that it started."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from common.child_process import last_line, start_module
from common.signal_names import signal_name
from loop.inject.walker import Settings
from robot.driver import DriverError, DriverFault, fault_names
from robot.unitree.driver import Go1Config

START_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 5.0
CHILDREN = ("guardian", "stream", "camera", "recorder")  # in this order they are ended: a guardian would take a dead stream's place
RECORDER_TIMEOUT_S = 2.0  # to write what it has


@dataclass(frozen=True)
class Message:
    """One thing that is new."""

    stamp_s: float  # time.monotonic at which it was noticed
    about: str
    says: Any

    def __str__(self) -> str:
        return f"{self.about}: {self.says}"


class WalkerProcess:
    """A control process on the robot of `config`. `news` grows while it lives; the last is how it ended. Close it whatever happens."""

    def __init__(self, config: Go1Config, camera: str, policy: Path | None) -> None:
        address = config.address
        settings = Settings(address.port, address.local_port, config.module, camera, str(policy.resolve()) if policy else "")
        self.news: list[Message] = []
        self._handles: dict[str, list[int]] = {}  # by name, of all processes that there were; they stay true when a number is given anew
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  kept open as long as the process writes to it
        pipe = subprocess.PIPE
        self._process = start_module(
            "loop.inject.walker", [json.dumps(asdict(settings))], orders=pipe, output=pipe, complaints=self._complaints
        )
        self._handles["walker"] = [os.pidfd_open(self._process.pid)]
        self._thread = threading.Thread(target=self._listen, name="walker's news", daemon=True)
        self._thread.start()
        try:
            self._await_news()
        except BaseException:
            self.close()
            raise

    @property
    def whole(self) -> bool:
        """Whether it can walk again: it and the processes at the motors live, and so does its control thread; a robot that has started
        anew is connected to anew."""
        alive = all(_lives(self._handles[name][-1]) for name in ("walker", "stream", "guardian"))
        return alive and not self.newest("thread") and fault_names(DriverFault.RESTARTED) not in self.newest("faults")

    def newest(self, about: str) -> Any:
        """What was last heard; "" if nothing was."""
        return next((message.says for message in reversed(self.news) if message.about == about), "")

    def pid(self, name: str) -> int:
        """Process id of the walker or one of CHILDREN."""
        return self._process.pid if name == "walker" else int(self.newest("pids")[name])

    def order(self, **orders: Any) -> None:
        """See loop.inject.walker.Walker.obey."""
        if self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it has ended, which the news say
                self._process.stdin.write(json.dumps(orders).encode() + b"\n")
                self._process.stdin.flush()

    def signal(self, number: int, *names: str) -> None:
        """Send a signal to the walker or to CHILDREN, to all at once."""
        for name in names:
            _send(self._handles[name][-1], number)

    def close(self) -> None:
        """End it and what it started, by force if need be. Idempotent."""
        if not self._handles:
            return
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self.signal(signal.SIGCONT, "walker")
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._end_children()
        for handle in (handle for handles in self._handles.values() for handle in handles):
            os.close(handle)
        self._handles = {}
        self._complaints.close()

    def _end_children(self) -> None:
        """Where the walker was killed they would go on for seconds; where they are stopped, for ever."""
        end_s = time.monotonic() + RECORDER_TIMEOUT_S
        for name in CHILDREN:
            for handle in self._handles.get(name, []):
                if name == "recorder":
                    _send(handle, signal.SIGCONT)
                    _await_end(handle, end_s)
                _send(handle, signal.SIGKILL)
                _await_end(handle, time.monotonic() + CLOSE_TIMEOUT_S)

    def _listen(self) -> None:
        said = self._process.stdout
        if said is None:
            return
        with said:
            for line in said:
                message = Message(**json.loads(line))
                if message.about == "pids":
                    self._hold(message.says)
                self.news.append(message)
        status = self._process.wait()
        how = f"killed ({signal_name(-status)})" if status < 0 else f"ended (exit status {status})"
        self.news.append(Message(time.monotonic(), "walker", how))

    def _hold(self, pids: dict[str, int]) -> None:
        last = self.newest("pids") or {}
        for name, pid in pids.items():
            if last.get(name) != pid:
                with suppress(ProcessLookupError):  # it has ended already
                    self._handles.setdefault(name, []).append(os.pidfd_open(pid))

    def _await_news(self) -> None:
        end_s = time.monotonic() + START_TIMEOUT_S
        while not self.newest("pids"):
            if self.newest("walker") or time.monotonic() > end_s:
                raise DriverError(f"the control process did not start: {last_line(self._complaints) or 'it said nothing'}")
            time.sleep(0.01)


def _send(handle: int, number: int) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _lives(handle: int) -> bool:
    return not select.select([handle], [], [], 0)[0]


def _await_end(handle: int, end_s: float) -> None:
    select.select([handle], [], [], max(0.0, end_s - time.monotonic()))
