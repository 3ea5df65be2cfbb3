"""Intel's T265 tracking camera: poses at 200 Hz over the vendor's pyrealsense2 (librealsense 2.53.1 is the last that knows it).

Position, velocity and angular velocity are all given in the camera's own world, which begins where its stream was started, level and
heading as the camera did: doc/t265.md; examples/pose-predict turns the pose by exp(w dt) from the left; realsense-ros turns both
velocities back by the pose to get a twist in the body.
"""

from __future__ import annotations

import importlib
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.array_types import Float64Array
from common.extras import BY_HAND
from robot.driver import DriverError
from robot.velocity.tracked import PoseSample, PoseVelocity, from_t265_axes

FIRST_WITHOUT = (2, 54)  # version of librealsense
MODEL = "T265"
FAILED = 0  # tracker_confidence of a camera that does not know where it is; 1 low, 2 medium, 3 high
SILENCE_S = 0.5  # 100 poses: without any for so long the stream has ended
FIRST_POSE_S = 5.0  # the vendor's own patience with a stream that has just been started
WAIT_MS = 100
RESTART_S = 0.2  # a T265 that is started sooner after a stop refuses (librealsense, issue 4642)
MAX_RESTART_S = 2.0
CLOSE_S = 1.0


@dataclass(frozen=True)
class TrackerStatus:
    """How a tracker is."""

    connected: bool  # poses come, be they good or not
    restarts: int  # how often its position began anew
    error: str | None  # the newest, which may be over


class Tracker:
    """What a T265 gives, be it received in this process or in another."""

    def newest(self) -> PoseSample | None:
        """The newest pose; None while the camera is silent for good or does not know where it is. Never waits, never raises."""
        raise NotImplementedError

    @property
    def status(self) -> TrackerStatus:
        """How the camera is now."""
        raise NotImplementedError

    def velocity(self, lever_arm_b: Float64Array) -> PoseVelocity:
        """The trunk's velocity by a camera at `lever_arm_b` (3,) m in the body frame that looks straight ahead."""
        return PoseVelocity("t265", self.newest, lever_arm_b)

    def wait(self, timeout_s: float) -> None:
        """Return when there is a pose; DriverError that says what is in the way if there is none in time."""
        end_s = time.monotonic() + timeout_s
        while self.newest() is None:
            if time.monotonic() > end_s:
                raise DriverError(
                    f"the T265 gave no pose within {timeout_s:g} s: {self.status.error or 'it does not know yet where it is'}"
                )
            time.sleep(0.01)


class T265(Tracker):
    """A T265 whose poses are received by a thread of its own; it restarts a stream that ended, also after the camera was unplugged.

    rs: the module pyrealsense2 or twin.pyrealsense2.PyRealSense2; None imports the former. DriverError if it is missing or too new.
    No camera is no error here: the thread waits for one. While the vendor's library starts a stream no other Python thread of the
    process runs; beside a control loop the camera belongs into a process of its own (robot.velocity.t265_process).
    """

    def __init__(self, rs: Any | None = None) -> None:
        self._rs = _checked(_imported() if rs is None else rs)
        self._sample: PoseSample | None = None
        self._heard_s = -np.inf
        self._origin = 0
        self._error: str | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="t265", daemon=True)
        self._thread.start()

    def newest(self) -> PoseSample | None:
        """The newest pose; None while the camera is silent for good or does not know where it is. Never waits, never raises."""
        return None if self._closing.is_set() else self._sample

    @property
    def status(self) -> TrackerStatus:
        """How the camera is now."""
        connected = not self._closing.is_set() and time.monotonic() - self._heard_s <= SILENCE_S
        return TrackerStatus(connected, max(self._origin - 1, 0), self._error)

    def close(self) -> None:
        """End the thread. One that hangs in the vendor's library is left behind after CLOSE_S; it ends when that returns. Idempotent."""
        self._closing.set()
        self._thread.join(CLOSE_S)

    def _run(self) -> None:
        wait_s = RESTART_S
        while not self._closing.is_set():
            origin = self._origin
            try:
                self._stream()
            except Exception as error:  # whatever the vendor's library raises: nobody else would restart the stream
                self._error = " ".join(str(error).split()) or type(error).__name__
            self._sample, self._heard_s = None, -np.inf
            wait_s = RESTART_S if self._origin > origin else min(2 * wait_s, MAX_RESTART_S)
            self._closing.wait(wait_s)

    def _stream(self) -> None:
        """Receive poses until `close` is called; an exception when they end."""
        context = self._rs.context()
        _check_connected(self._rs, context)  # the library waits for an absent camera for 15 s, and no Python thread runs meanwhile
        pipeline, config = self._rs.pipeline(context), self._rs.config()
        config.enable_stream(self._rs.stream.pose)
        pipeline.start(config)
        try:
            self._receive_all(pipeline)
        finally:
            with suppress(Exception):
                pipeline.stop()

    def _receive_all(self, pipeline: Any) -> None:
        heard_s, patience_s = time.monotonic(), FIRST_POSE_S
        while not self._closing.is_set():
            arrived, frames = pipeline.try_wait_for_frames(WAIT_MS)
            now_s = time.monotonic()
            if pose := arrived and frames.get_pose_frame():
                self._receive(pose.get_pose_data(), now_s)
                heard_s, patience_s = now_s, SILENCE_S
            elif now_s - heard_s > patience_s:
                raise DriverError(f"no pose for {patience_s:g} s")

    def _receive(self, pose: Any, now_s: float) -> None:
        if now_s - self._heard_s > SILENCE_S:  # started by us, or by the library, which reconnects a lost camera without a word
            self._origin += 1
        self._heard_s = now_s
        self._sample = None if pose.tracker_confidence == FAILED else pose_sample(pose, now_s, self._origin)


def pose_sample(pose: Any, stamp_s: float, origin: int = 0) -> PoseSample:
    """A vendor's rs2_pose, axes x right, y up, z back, as a sample with axes x forward, y left, z up."""
    raw = [[part.x, part.y, part.z] for part in (pose.translation, pose.velocity, pose.angular_velocity, pose.rotation)]
    position_w, lin_vel_w, ang_vel_w, vector = from_t265_axes(np.array(raw, dtype=np.float64))
    return PoseSample(stamp_s, position_w, lin_vel_w, ang_vel_w, np.array([pose.rotation.w, *vector]), origin)


def _imported() -> Any:
    try:
        return importlib.import_module("pyrealsense2")
    except ImportError as error:
        raise DriverError(f"pyrealsense2 cannot be imported ({error}); {BY_HAND['pyrealsense2']}") from None


def _checked(rs: Any) -> Any:
    """The module, if it can know a T265. The wheels keep the version in the inner module only."""
    version = str(getattr(rs, "__version__", None) or getattr(getattr(rs, "pyrealsense2", None), "__version__", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers >= FIRST_WITHOUT:
        raise DriverError(f"librealsense {version} does not know the T265 any more; {BY_HAND['pyrealsense2']}")
    return rs


def _check_connected(rs: Any, context: Any) -> None:
    names = [str(device.get_info(rs.camera_info.name)) for device in context.query_devices()]
    if not any(MODEL in name for name in names):
        raise DriverError(f"no T265 is connected (found: {', '.join(names) or 'no camera'}); plug it in")
