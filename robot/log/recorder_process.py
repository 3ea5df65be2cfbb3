"""The recorder's own process: takes rows and messages from the control process and writes episode logs with EpisodeWriter.

`python -m robot.log.recorder_process SOCKET_FD WAKE_FD BLOCK_FD CAPACITY PARENT_PID`; only robot.log.recorder starts it.

After a write that the disk refused, HDF5 can neither go on nor close its file, and may bring the whole interpreter down (seen with
HDF5 2.0). So this process then says what happened and ends at once; the next recording starts another one.
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from common.errors import QuadloopError
from common.realtime import be_ordinary
from common.shared_block import Mailbox, SharedBlock
from robot.log.episode import EpisodeAttributes
from robot.log.episode_fields import EpisodeStep
from robot.log.episode_log import EpisodeWriter
from robot.log.row_ring import RowRing

# What this process tells the control process. Episodes are numbered from 1, by Recorder.begin; 0 is none.
REPORT = np.dtype(
    [
        ("written", "<u8"),  # rows that went into a log
        ("dropped", "<u8"),  # rows that were taken and went into none
        ("settled", "<u8"),  # the newest episode that is over here, however it ended
        ("whole", "<u8"),  # the newest episode whose log is whole on disk
        ("failed", "<u8"),  # the episode that `error` is about
        ("error", "S1024"),
    ]
)
EXIT_DISK = os.EX_IOERR
READY = b"ready"
HELD_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # blocked until this process has said what to do about them
_MESSAGE_BYTES = 2**18  # more than the kernel takes in one piece
_POLL_S = 0.1  # rows and messages wake this process; a signal and a parent's death may go unnoticed for so long
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def block_size(capacity: int) -> int:
    """Bytes of what both processes share: the ring, then the report."""
    return RowRing.size(capacity) + Mailbox.size(REPORT)


def open_block(block: SharedBlock, capacity: int) -> tuple[RowRing, Mailbox]:
    """The ring and the report in a block of `block_size`."""
    return RowRing(block, capacity), Mailbox(block, REPORT, RowRing.size(capacity))


def recording_stopped(why: str, step: int, name: str) -> str:
    """The line that tells a person from which step on nothing was recorded."""
    return f"{why}; recording stopped at step {step} of {name}"


class RecorderProcess:
    """Records rows and applies messages, each at its place between the rows.

    A message says how many rows were put before it. The ring is looked at before the socket: whoever put a row had sent all that
    comes before it.
    """

    def __init__(self, channel: socket.socket, ring: RowRing, mailbox: Mailbox) -> None:
        self.control_gone = False
        self._channel, self._ring, self._mailbox = channel, ring, mailbox
        before = mailbox.read()  # what a recorder that died has left
        self._report = before[1] if before else np.zeros((), REPORT)
        self._pending: dict[str, Any] | None = None  # received, but rows come first
        self._writer: EpisodeWriter | None = None  # None: rows are dropped
        self._episode, self._path, self._steps, self._finishing = 0, Path(), 0, False

    def step(self) -> bool:
        """Record one row or apply one message; False if there is none."""
        row = self._ring.peek()
        if self._pending is None:
            self._pending = self._receive()
        if self._pending is not None and self._pending["position"] <= self._ring.taken_rows:
            message, self._pending = self._pending, None
            self._apply(message)
        elif row is not None:
            self._record(row)
        else:
            return False
        return True

    def leave(self) -> None:
        """End the episode without closing its log; the `.part` stays."""
        writer, self._writer = self._writer, None
        if writer is not None:
            self._succeeds(lambda: writer.__exit__(None, None, None))
        self._report["settled"] = self._episode
        self._tell()

    def _receive(self) -> dict[str, Any] | None:
        if self.control_gone:
            return None
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            message = b""
        self.control_gone = not message
        return json.loads(message) if message else None

    def _apply(self, message: dict[str, Any]) -> None:
        if message["kind"] == "begin":
            self._begin(message)
        elif message["kind"] == "finish" and self._writer is not None:
            self._finish(self._writer, message)
        else:
            self._episode = message["episode"]  # of which this process may never have heard
            self.leave()

    def _begin(self, message: dict[str, Any]) -> None:
        self.leave()  # where the last message of the episode before was lost
        self._episode, self._path, self._steps, self._finishing = message["episode"], Path(message["path"]), 0, False
        self._succeeds(lambda: self._open(message))

    def _open(self, message: dict[str, Any]) -> None:
        attributes = EpisodeAttributes(**message["attributes"])
        self._writer = EpisodeWriter(self._path, attributes, message["force"], tuple(message["missing"]), flush_rows=1)

    def _record(self, row: EpisodeStep) -> None:
        writer = self._writer
        if writer is not None and self._succeeds(lambda: writer.append(row)):
            self._steps += 1
            self._report["written"] += 1
        else:
            self._report["dropped"] += 1
        self._tell()
        self._ring.advance()

    def _finish(self, writer: EpisodeWriter, message: dict[str, Any]) -> None:
        self._finishing = True
        if self._succeeds(lambda: writer.close(message["ended"], np.array(message["final_observation"], dtype=np.float32))):
            self._writer, self._report["whole"] = None, self._episode
        self.leave()

    def _succeeds(self, write: Callable[[], object]) -> bool:
        """Whether `write` succeeded. Bad data end the recording of this episode; a disk that refuses ends this process."""
        try:
            write()
        except Exception as error:
            self._fail(error)
            return False
        return True

    def _fail(self, error: Exception) -> None:
        self._report["failed"], self._report["error"] = self._episode, self._line(error).encode()[: REPORT["error"].itemsize]
        if not _is_about_data(error):
            self._give_up()
        writer, self._writer = self._writer, None
        if writer is not None:
            self._succeeds(lambda: writer.__exit__(None, None, None))
        self._tell()

    def _give_up(self) -> NoReturn:
        if not self._steps:
            with suppress(OSError):  # nothing could be read from it
                self._part.unlink(missing_ok=True)
        self._report["settled"] = self._episode
        self._ring.abandon()  # before the report: who has read that this episode is over does not give the next one to a dying process
        self._tell()
        os._exit(EXIT_DISK)

    def _line(self, error: Exception) -> str:
        why = _reason(error).removeprefix(f"{self._part}: ").removeprefix(f"{self._path}: ")
        if self._finishing:
            left = f"its first {self._steps} steps are in {self._part.name}" if self._part.exists() else "nothing of it is left"
            return f"{why}; {self._path.name} was not finished, {left}"
        return recording_stopped(why, self._steps, self._path.name)

    @property
    def _part(self) -> Path:
        return self._path.with_name(self._path.name + ".part")

    def _tell(self) -> None:
        self._mailbox.write(self._report)


def _is_about_data(error: Exception) -> bool:
    """Whether what was given was refused, before HDF5 or the disk saw it."""
    if isinstance(error, (TypeError, ValueError)):
        return True
    return isinstance(error, QuadloopError) and (error.__cause__ is None or isinstance(error.__cause__, QuadloopError))


def _reason(error: Exception) -> str:
    """Why, in one line. HDF5 hides the number of the system's error in its text."""
    cause: BaseException | None = error
    while cause is not None:
        found = re.search(r"errno = (\d+)", str(cause))
        number = getattr(cause, "errno", None) or (int(found[1]) if found else None)
        if number:
            where = f": {cause.filename}" if isinstance(cause, OSError) and cause.filename else ""
            return f"the disk {'is full' if number in _DISK_FULL else 'refuses'} ({os.strerror(number)}{where})"
        cause = cause.__cause__
    return (str(error).splitlines() or [type(error).__name__])[0]


def run(process: RecorderProcess, wait: Callable[[], object], is_over: Callable[[], bool]) -> None:
    """Record until `is_over` or the control process is gone, and then whatever is still in the ring."""
    over = False
    while True:
        if process.step():
            continue
        if over:
            break
        over = process.control_gone or is_over()
        if not over:
            wait()
    process.leave()


def main() -> None:
    """Ctrl-C is meant for the control process, which then closes this one. SIGTERM and SIGHUP end it after what is in the ring."""
    channel_fd, wake_fd, block_fd, capacity, parent = map(int, sys.argv[1:])
    be_ordinary()
    signals: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, lambda received, _: signals.append(received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD_SIGNALS)
    ring, mailbox = open_block(SharedBlock(block_size(capacity), block_fd), capacity)
    inbox = select.poll()  # select.select knows no descriptor beyond 1023, and a control process may hold many files
    for fd in (channel_fd, wake_fd):
        inbox.register(fd, select.POLLIN)
    with socket.socket(fileno=channel_fd) as channel:
        channel.setblocking(False)
        with suppress(OSError):  # the control process is gone; there may be rows all the same
            channel.send(READY)
        # A child that the control process forked may hold its end of the socket open after its death.
        run(RecorderProcess(channel, ring, mailbox), lambda: _wait(inbox, wake_fd), lambda: bool(signals) or os.getppid() != parent)


def _wait(inbox: select.poll, wake_fd: int) -> None:
    if wake_fd in dict(inbox.poll(_POLL_S * 1e3)):
        os.eventfd_read(wake_fd)


if __name__ == "__main__":
    # Objects that h5py cannot close say so at length, from where no caller can catch it, about a failure that was told already.
    sys.excepthook = lambda *_: None
    sys.unraisablehook = lambda _: None
    try:
        main()
    except Exception:
        traceback.print_exc()
        raise
