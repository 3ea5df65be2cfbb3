"""The recorder: episode logs that cost the control loop nothing but a copy, whatever the disk does.

Rows go into a ring in shared memory, from which a process of its own (robot/log/recorder_process.py) writes them. While the robot walks
nothing here waits, and nothing raises because of the disk, a full ring or that process's death: it is counted and told in
`Recorder.status`, and control goes on. A log has no holes. After the first row that could not be recorded nothing more of that episode
is, and what was written before stays as a readable `.part`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.child_process import start_module
from common.files import refuse_to_overwrite
from common.shared_block import SharedBlock
from common.signal_names import signal_name
from robot.log import recorder_process
from robot.log.episode import EpisodeAttributes
from robot.log.episode_fields import EpisodeLogError, EpisodeStep, check_attributes, check_missing
from robot.log.episode_reader import damage_named
from robot.log.recorder_process import (
    EXIT_DISK,
    HELD_SIGNALS,
    READY,
    REPORT,
    block_size,
    open_block,
    recording_stopped,
)

CAPACITY_ROWS = 512  # 10 s at 50 Hz, 0.9 MB
_MAX_BEGIN_BYTES = 2**16  # of JSON; the kernel takes 200 kB in one piece, and waits for none
_START_TIMEOUT_S = 30.0
_KILL_TIMEOUT_S = 1.0
_POLL_S = 0.005


@dataclass(frozen=True)
class RecorderStatus:
    """Where every row went: once the recorder is through, offered = written + dropped."""

    rows_offered: int
    rows_written: int
    rows_dropped: int
    error: str  # the newest failure, one line; "" if there was none, or if a later episode is whole on disk
    alive: bool  # whether the recorder's process runs; a new recording starts another one


class Recorder:
    """The recorder's process and what it was given. One thread makes and fills recordings; any thread may ask for the status."""

    def __init__(self, capacity_rows: int = CAPACITY_ROWS) -> None:
        """Start the process and wait until it is ready, 0.5 s; EpisodeLogError if it cannot be started."""
        self._capacity = capacity_rows
        self._tally = _Tally()
        self._recording: Recording | None = None  # the newest
        try:
            self._writer = _WriterProcess(capacity_rows, np.zeros((), REPORT))
        except OSError as error:
            raise EpisodeLogError(_not_started(error)) from error
        self._writer.wait_ready()

    def begin(self, path: Path, attributes: EpisodeAttributes, force: bool = False, missing: tuple[str, ...] = ()) -> Recording:
        """Begin to record to `path` + ".part", as EpisodeWriter does. A recording that is still open ends as its `.part`.

        EpisodeLogError if `attributes` are not this robot's; FileExistsAlreadyError if either file exists and `force` is not set.
        What the disk refuses is told by the status. This looks at the disk and may start a process, 5 ms: call it while the robot
        stands.
        """
        path = path.absolute()
        begin = {"path": str(path), "attributes": vars(attributes), "force": force, "missing": missing}
        _check_begin(path, attributes, begin)
        if self._recording is not None:
            self._recording.leave()
        why = self._revive()
        self._tally.begun += 1
        self._recording = Recording(self._writer, self._tally, path.name)
        why = why or self._writer.send("begin", self._tally.begun, begin)
        if why:
            self._recording.stop(why)
        return self._recording

    @property
    def pid(self) -> int:
        """Process id of the recorder's process, for whoever wants to kill it."""
        return self._writer.pid

    @property
    def status(self) -> RecorderStatus:
        """How it goes, from memory alone, 50 us."""
        tally, report, end = self._tally, self._writer.report(), self._writer.end()
        dropped = tally.dropped + int(report["dropped"]) + (self._writer.waiting_rows if end else 0)
        episode, error = self._newest_failure(report, end)
        return RecorderStatus(tally.offered, int(report["written"]), dropped, error if episode > report["whole"] else "", not end)

    def wait_finished(self, timeout_s: float) -> bool:
        """Wait until the process is through with every episode that is over; whether the newest that was closed is whole on disk.

        Where it is not, `status.error` says why; if that is "", the time was too short. Not for the control thread.
        """
        deadline_s = time.monotonic() + timeout_s
        while self._writer.report()["settled"] < self._tally.over and not self._writer.gone and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        return bool(self._writer.report()["whole"] >= self._tally.closed)

    def close(self, timeout_s: float = 30.0) -> None:
        """Let the process write what it has, for up to `timeout_s`, and end it. A recording that is still open ends as its `.part`."""
        if self._recording is not None:
            self._recording.leave()
        self._writer.close(timeout_s)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _revive(self) -> str:
        """Start another process if this one has ended; returns why that failed, or ""."""
        if not self._writer.end():
            return ""
        self._writer.close(_KILL_TIMEOUT_S)
        report = self._writer.report()
        failure = self._newest_failure(report, self._writer.end())
        report["dropped"] += self._writer.waiting_rows
        report["settled"] = self._tally.begun
        try:
            writer = _WriterProcess(self._capacity, report)
        except OSError as error:
            return _not_started(error)
        self._writer, self._tally.failure = writer, failure
        return ""

    def _newest_failure(self, report: NDArray[np.void], end: str) -> tuple[int, str]:
        """Episode and line. Of one episode the process's own report is the most exact, then how it ended."""
        failures = [(int(report["failed"]), bytes(report["error"]).decode(errors="ignore"))]
        if end and self._recording is not None and report["settled"] < self._tally.begun:
            failures.append((self._tally.begun, self._recording.line(end)))
        return max(*failures, self._tally.failure, key=lambda failure: failure[0])


class Recording:
    """One episode on its way to its log. As a context manager it ends as a `.part` if it is left without `close`.

    Nothing here waits or raises, whatever happens to the disk or the recorder's process.
    """

    def __init__(self, writer: _WriterProcess, tally: _Tally, name: str) -> None:
        self._writer, self._tally, self._name, self._episode = writer, tally, name, tally.begun
        self._first_row = writer.put_rows
        self._steps = 0  # in the ring or taken from it
        self._stopped, self._over = False, False

    def append(self, step: EpisodeStep) -> None:
        """Record one step, 0.05 to 0.2 ms. A step that breaks its contract stops the recording of this episode."""
        self._tally.offered += 1
        if not (self._stopped or self._over):
            why = self._writer.put(step)
            if not why:
                self._steps += 1
                return
            self.stop(why)
        self._tally.dropped += 1

    def close(self, ended: str, final_observation: NDArray[np.floating]) -> None:
        """Have the log finished: as EpisodeWriter.close, but later; see Recorder.wait_finished."""
        if not self._over:
            self._tally.closed = self._episode
            self._end("finish", {"ended": ended, "final_observation": np.asarray(final_observation).tolist()})

    def leave(self) -> None:
        """End the episode as a `.part`, unless it is over."""
        if not self._over:
            self._end("leave", {})

    def stop(self, why: str) -> None:
        """Record nothing more of this episode."""
        self._stopped = True
        self._tally.failure = (self._episode, self.line(why))

    def line(self, why: str) -> str:
        """What the status tells if the recording stopped by `why`."""
        steps = self._steps
        if self._writer.end():
            steps = min(steps, max(0, self._writer.taken_rows - self._first_row))
        return recording_stopped(why, steps, self._name)

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def _end(self, kind: str, content: dict[str, Any]) -> None:
        self._over = True
        kind, content = ("leave", {}) if self._stopped else (kind, content)
        why = self._writer.send(kind, self._episode, content)
        if not why:
            self._tally.over = self._episode
        elif not self._stopped:
            self.stop(why)


@dataclass
class _Tally:
    """What the control side counts."""

    offered: int = 0  # rows
    dropped: int = 0  # rows that did not get into the ring
    begun: int = 0  # the newest episode
    over: int = 0  # the newest whose end the process was told
    closed: int = 0  # the newest that was closed
    failure: tuple[int, str] = (0, "")  # the newest that was noticed here: its episode, and the line for the status


class _WriterProcess:
    """The control side's end of one recorder process. `report` is what it goes on from."""

    def __init__(self, capacity: int, report: NDArray[np.void]) -> None:
        block = SharedBlock(block_size(capacity))
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.setblocking(False)
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            self._ring, self._mailbox = open_block(block, capacity)
            self._mailbox.write(report)
            self._process = _start_process((theirs.fileno(), self._wake, block.fd), capacity)
        except BaseException:
            self._close_files()
            raise
        finally:
            theirs.close()
            block.close()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def put_rows(self) -> int:
        """Rows that were ever put into the ring."""
        return self._ring.put_rows

    @property
    def taken_rows(self) -> int:
        """Rows that the process took out of it."""
        return self._ring.taken_rows

    @property
    def waiting_rows(self) -> int:
        """Rows in the ring."""
        return self._ring.put_rows - self._ring.taken_rows

    def wait_ready(self) -> None:
        """Wait until the process listens; EpisodeLogError if it does not."""
        self._channel.settimeout(_START_TIMEOUT_S)
        try:
            ready = self._channel.recv(len(READY)) == READY
        except OSError:
            ready = False
        self._channel.setblocking(False)
        if not ready:
            self.close(_KILL_TIMEOUT_S)
            raise EpisodeLogError(f"{self.end()} before it was ready")

    @property
    def gone(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def end(self) -> str:
        """How the process ended or is just ending; "" while it records."""
        status = self._process.poll()
        if status is None and not self._ring.abandoned:
            return ""
        if status is None or status == EXIT_DISK:
            return "the recorder's process gave up on the disk"
        if status < 0:
            return f"the recorder's process was killed ({signal_name(-status)})"
        return f"the recorder's process ended (exit status {status})"

    def put(self, step: EpisodeStep) -> str:
        """Hand a row over; returns why it was not, or ""."""
        end = self.end()
        if end:
            return end
        try:
            if self._ring.put(step):
                os.eventfd_write(self._wake, 1)  # waits for nothing: it counts up to 2**64
                return ""
        except EpisodeLogError as error:
            return str(error)
        return f"{self.waiting_rows} rows wait for a recorder or a disk that is too slow"

    def send(self, kind: str, episode: int, content: dict[str, Any]) -> str:
        """Hand a message over that applies after the rows so far; returns why it was not, or ""."""
        message = json.dumps({"kind": kind, "episode": episode, "position": self.put_rows} | content).encode()
        try:
            self._channel.send(message)
        except OSError as error:
            return self.end() or f"the recorder's process takes no messages ({error.strerror})"
        return self.end()

    def report(self) -> NDArray[np.void]:
        """The newest report, a copy."""
        newest = self._mailbox.read()
        return newest[1] if newest else np.zeros((), REPORT)

    def close(self, timeout_s: float) -> None:
        """Let the process finish, or kill it after `timeout_s`."""
        with suppress(OSError):  # it has ended, or this was done before
            self._channel.shutdown(socket.SHUT_WR)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with suppress(subprocess.TimeoutExpired):  # a process that waits for a broken disk dies when that answers
                self._process.wait(_KILL_TIMEOUT_S)
        self._close_files()

    def _close_files(self) -> None:
        self._channel.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1


def _start_process(files: tuple[int, ...], capacity: int) -> subprocess.Popen[bytes]:
    with _signals_held():
        return start_module(recorder_process.__name__, [*files, capacity, os.getpid()], files)


@contextmanager
def _signals_held() -> Iterator[None]:
    """A child begins with its parent's blocked signals: Ctrl-C cannot hit it before it has said that it does not want to be."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _check_begin(path: Path, attributes: EpisodeAttributes, begin: dict[str, Any]) -> None:
    """What EpisodeWriter will check, and the message's size."""
    part = path.with_name(path.name + ".part")
    if path.suffix != ".hdf5":
        raise EpisodeLogError(f"{path}: an episode log's name ends with .hdf5")
    with suppress(OSError):  # a disk that refuses to tell is met again when the log is created
        refuse_to_overwrite(path, begin["force"])
        refuse_to_overwrite(part, begin["force"])
    with damage_named(part):
        check_attributes(attributes)
        check_missing(begin["missing"])
        if len(json.dumps(begin)) > _MAX_BEGIN_BYTES:
            raise EpisodeLogError(f"the attributes take more than {_MAX_BEGIN_BYTES:,} bytes")


def _not_started(error: OSError) -> str:
    return f"the recorder's process cannot be started ({error.strerror})"
