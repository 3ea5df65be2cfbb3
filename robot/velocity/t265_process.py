"""A T265 in a process of its own, for whoever cannot afford to stand still.

The vendor's library keeps Python's lock while it looks for cameras and starts a stream (librealsense 2.53.1,
wrappers/python/pyrs_pipeline.cpp, pyrs_context.cpp), and a camera may hang for good; in the control loop's process either would stop the
control loop. This one is only read from shared memory, and is killed and started again when it hangs.

    python -m robot.velocity.t265_process FD MODULE PARENT
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.child_process import keep_small, last_line, start_module
from common.realtime import be_ordinary
from common.shared_block import Mailbox, SharedBlock
from robot.driver import DriverError
from robot.velocity.t265 import CLOSE_S, SILENCE_S, T265, Tracker, TrackerStatus
from robot.velocity.tracked import PoseSample

WRITE_S = 0.002
LOOK_S = 0.1
START_S = 20.0  # for Python to start, with numpy, on a busy machine
RESTART_S = 1.0
HUNG_S = 20.0  # the library looks for a camera that vanished for 15 s
ORIGINS = 1_000_000  # more than one process counts

RECORD = np.dtype(
    [
        ("beat_s", "<f8"),
        ("known", "?"),  # whether there is a sample; its parts follow
        ("stamp_s", "<f8"),
        ("vectors", "<f8", (3, 3)),  # position, velocity, angular velocity
        ("quaternion_wxyz", "<f8", (4,)),
        ("origin", "<i8"),
        ("connected", "?"),
        ("restarts", "<i8"),
        ("error", "S400"),
    ]
)


class T265Process(Tracker):
    """As robot.velocity.t265.T265, with everything of the vendor's in another process.

    module: what is imported there as pyrealsense2, or "MODULE:FACTORY[:TEXT]" for what FACTORY([TEXT]) makes.
    DriverError if it is missing or too new.
    """

    def __init__(self, module: str = "pyrealsense2") -> None:
        self._module = module
        self._block = SharedBlock(Mailbox.size(RECORD))
        self._mailbox = Mailbox(self._block, RECORD)
        self._complaints: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  kept open as long as the process writes to it
        self._started = 0  # processes so far
        self._closing = threading.Event()
        self._process, self._started_s = self._start()
        self._thread = threading.Thread(target=self._watch, name="t265 process", daemon=True)
        try:
            self._await_beat()
        except DriverError:
            self.close()
            raise
        self._thread.start()

    @property
    def pid(self) -> int:
        """Process id, for whoever wants to kill it."""
        return self._process.pid

    def newest(self) -> PoseSample | None:
        """The newest pose; None while the camera is silent for good or does not know where it is. Never waits, never raises."""
        record = self._record()
        if record is None or not record["known"] or self._closing.is_set():
            return None
        position_w, lin_vel_w, ang_vel_w = record["vectors"]
        origin = self._started * ORIGINS + int(record["origin"])
        return PoseSample(float(record["stamp_s"]), position_w, lin_vel_w, ang_vel_w, record["quaternion_wxyz"], origin)

    @property
    def status(self) -> TrackerStatus:
        """How the camera is now."""
        record = self._record()
        error = "" if record is None else bytes(record["error"]).decode(errors="replace")
        if record is None or self._closing.is_set() or time.monotonic() - record["beat_s"] > SILENCE_S:
            return TrackerStatus(False, self._started - 1, error or "the camera's process does not answer")
        return TrackerStatus(bool(record["connected"]), self._started - 1 + int(record["restarts"]), error or None)

    def close(self) -> None:
        """End the process, by force if it hangs. Idempotent."""
        if not self._closing.is_set():
            self._closing.set()
            if self._process.poll() is None:
                self._process.terminate()
            if self._thread.is_alive():
                self._thread.join(2 * CLOSE_S)
            self._end()
            self._complaints.close()
            self._block.close()

    def _record(self) -> NDArray[Any] | None:
        message = self._mailbox.read()
        return None if message is None else message[1]

    def _start(self) -> tuple[subprocess.Popen[bytes], float]:
        self._started += 1
        arguments = [self._block.fd, self._module, os.getpid()]
        process = start_module(
            "robot.velocity.t265_process", arguments, (self._block.fd,), output=self._complaints, complaints=self._complaints
        )
        return process, time.monotonic()

    def _await_beat(self) -> None:
        end_s = time.monotonic() + START_S
        while self._record() is None:
            if self._process.poll() is not None:
                raise DriverError(last_line(self._complaints) or "the camera's process ended without a word")
            if time.monotonic() > end_s:
                raise DriverError(f"the camera's process did not start within {START_S:g} s")
            time.sleep(0.01)

    def _watch(self) -> None:
        """Start the process again whenever it ended or hangs."""
        while not self._closing.wait(LOOK_S):
            keep_small(self._complaints)
            record = self._record()
            beat_s = max(self._started_s, -np.inf if record is None else float(record["beat_s"]))
            if self._process.poll() is not None or time.monotonic() - beat_s > HUNG_S:
                self._end()
                if self._closing.wait(RESTART_S):
                    return
                with suppress(OSError):  # no memory for a process now is no reason never to try again
                    self._process, self._started_s = self._start()

    def _end(self) -> None:
        try:
            self._process.wait(CLOSE_S if self._closing.is_set() else 0.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def record_of(camera: T265, now_s: float) -> NDArray[Any]:
    """What the camera's process tells."""
    record, sample, status = np.zeros((), dtype=RECORD), camera.newest(), camera.status
    record["beat_s"], record["connected"], record["restarts"] = now_s, status.connected, status.restarts
    record["error"], record["known"] = (status.error or "").encode()[:400], sample is not None
    if sample is not None:
        record["stamp_s"], record["origin"], record["quaternion_wxyz"] = sample.stamp_s, sample.origin, sample.quaternion_wxyz
        record["vectors"] = sample.position_w, sample.lin_vel_w, sample.ang_vel_w
    return record


def load(module: str) -> Any | None:
    """What `T265` takes: a module, or what a factory in it makes; None for the vendor's, which T265 imports itself."""
    name, *call = module.split(":", 2)
    if module == "pyrealsense2":
        return None
    try:
        imported = importlib.import_module(name)
        return getattr(imported, call[0])(*call[1:]) if call else imported
    except (ImportError, AttributeError) as error:
        raise DriverError(f"{module} cannot stand in for pyrealsense2: {error}") from None


def main(arguments: list[str]) -> int:
    """The process: it ends when it is asked to, or with its parent."""
    fd, module, parent = arguments
    be_ordinary()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    try:
        camera = T265(load(module))
    except DriverError as error:
        print(error, file=sys.stderr)
        return 1
    mailbox = Mailbox(SharedBlock(Mailbox.size(RECORD), int(fd)), RECORD)
    while not asked and os.getppid() == int(parent):
        mailbox.write(record_of(camera, time.monotonic()))
        time.sleep(WRITE_S)
    camera.close()
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    os._exit(status)  # without waiting for a thread that hangs in the vendor's library
