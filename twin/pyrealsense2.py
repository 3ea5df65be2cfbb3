"""A stand-in for the vendor's pyrealsense2 with one T265, as far as ours uses it: names, raw axes, noise, and what goes wrong."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Flag, auto
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from robot.rotation import rotate_to_body, rotate_to_world

RATE_HZ = 200.0
NOISE_STD = 0.02  # m/s, white, of the velocity
JUMP_M = 0.5
JUMPS_PER_S = 2.0
DRIFT = 0.5  # m/s more with every second
MAX_DRIFT = 1.5  # m/s, so that no sample is a glitch by itself
POLL_S = 0.002


class Fault(Flag):
    """What can go wrong with a T265."""

    LOST = auto()  # connected, but no frames
    BLIND = auto()  # frames, but with a failed tracker
    NAN = auto()  # frames that are not numbers
    JUMPING = auto()  # the position jumps at random
    DRIFTING = auto()  # the velocity is off, more and more
    UNPLUGGED = auto()  # not there; a stream stays silent when it is back, until it is restarted


def camera_faults(names: str) -> Fault:
    """What the names of faults, separated by "|", stand for; ValueError for one that there is not."""
    faults = Fault(0)
    for name in filter(None, names.split("|")):
        if name not in Fault.__members__:
            raise ValueError(f"no fault of a camera is called '{name}'; there are {', '.join(Fault.__members__)}")
        faults |= Fault[name]
    return faults


@dataclass(frozen=True)
class TruePose:
    """Where the trunk really is, axes x forward, y left, z up."""

    position_w: Float64Array  # (3,) m
    quaternion_wxyz: Float64Array  # (4,) body to world
    lin_vel_w: Float64Array  # (3,) m/s
    ang_vel_b: Float64Array  # (3,) rad/s


class PyRealSense2:
    """Stands in for the module `pyrealsense2`; whoever holds it can switch on `faults` and replace `pose_source` at any time.

    pose_source: the true pose of the moment, None while there is none (then no frames come). lever_arm_b: the camera's place (3,) in the
    body frame, m; it looks straight ahead.
    """

    __version__ = "2.53.1"
    stream = SimpleNamespace(pose="pose")
    camera_info = SimpleNamespace(name="name")

    def __init__(
        self,
        pose_source: Callable[[], TruePose | None],
        lever_arm_b: Float64Array | None = None,
        seed: int = 0,
        noise_std: float = NOISE_STD,
    ) -> None:
        self.pose_source = pose_source
        self.lever_arm_b = np.zeros(3) if lever_arm_b is None else lever_arm_b
        self.faults = Fault(0)
        self.noise_std = noise_std  # m/s
        self.rng = np.random.default_rng(seed)

    def context(self) -> _Context:
        """What lists the devices."""
        return _Context(self)

    def config(self) -> _Config:
        """What says which streams a pipeline shall have."""
        return _Config()

    def pipeline(self, context: _Context | None = None) -> _Pipeline:
        """A pipeline that is not yet started."""
        return _Pipeline(self)


class _Context:
    def __init__(self, rs: PyRealSense2) -> None:
        self._rs = rs

    def query_devices(self) -> list[_Device]:
        return [] if Fault.UNPLUGGED in self._rs.faults else [_Device()]


class _Device:
    def get_info(self, info: str) -> str:
        return "Intel RealSense T265"


class _Config:
    def __init__(self) -> None:
        self.streams: list[str] = []

    def enable_stream(self, stream: str) -> None:
        self.streams.append(stream)


class _Pipeline:
    """Frames at RATE_HZ from `start` on; a start puts the tracker's origin where the camera is, level and heading as it does."""

    def __init__(self, rs: PyRealSense2) -> None:
        self._rs = rs
        self._started = self._alive = False
        self._tracker: _Tracker | None = None
        self._next_s = 0.0

    def start(self, config: _Config) -> None:
        if Fault.UNPLUGGED in self._rs.faults:
            raise RuntimeError("No device connected")
        if self._started:
            raise RuntimeError("start() cannot be called before stop()")
        if "pose" not in config.streams:
            raise RuntimeError("Couldn't resolve requests")
        self._started = self._alive = True
        self._tracker, self._next_s = None, time.monotonic()

    def stop(self) -> None:
        if not self._started:
            raise RuntimeError("stop() cannot be called before start()")
        self._started = self._alive = False

    def wait_for_frames(self, timeout_ms: int = 5000) -> _Frames:
        arrived, frames = self.try_wait_for_frames(timeout_ms)
        if not arrived:
            raise RuntimeError(f"Frame didn't arrive within {timeout_ms}")
        return frames

    def try_wait_for_frames(self, timeout_ms: int = 5000) -> tuple[bool, _Frames]:
        if not self._started:
            raise RuntimeError("wait_for_frames cannot be called before start()")
        end_s = time.monotonic() + timeout_ms / 1e3
        while (now_s := time.monotonic()) < end_s:
            if now_s >= self._next_s and (pose := self._new_pose()) is not None:
                self._next_s = max(self._next_s + 1 / RATE_HZ, now_s)
                return True, _Frames(pose)
            time.sleep(min(POLL_S, end_s - now_s))
        return False, _Frames(None)

    def _new_pose(self) -> SimpleNamespace | None:
        faults = self._rs.faults
        self._alive = self._alive and Fault.UNPLUGGED not in faults
        truth = self._rs.pose_source() if self._alive and Fault.LOST not in faults else None
        if truth is None:
            return None
        self._tracker = self._tracker or _Tracker(self._rs, truth)
        return self._tracker.see(truth)


class _Frames:
    """A frame set that may hold a pose frame."""

    def __init__(self, pose: SimpleNamespace | None) -> None:
        self._pose = pose

    def get_pose_frame(self) -> _PoseFrame | None:
        return None if self._pose is None else _PoseFrame(self._pose)


class _PoseFrame:
    def __init__(self, pose: SimpleNamespace) -> None:
        self._pose = pose

    def get_pose_data(self) -> SimpleNamespace:
        return self._pose


class _Tracker:
    """What the camera makes of the truth, from one start on."""

    def __init__(self, rs: PyRealSense2, truth: TruePose) -> None:
        self._rs = rs
        w, x, y, z = truth.quaternion_wxyz
        yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        self._heading_wxyz = np.array([math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)])
        self._origin_w = truth.position_w + rotate_to_world(truth.quaternion_wxyz, rs.lever_arm_b)
        self._jumped = np.zeros(3)  # m
        self._drift = np.zeros(3)  # m/s

    def see(self, truth: TruePose) -> SimpleNamespace:
        """An rs2_pose in raw axes."""
        rs, faults = self._rs, self._rs.faults
        ang_vel_w = rotate_to_world(truth.quaternion_wxyz, truth.ang_vel_b)
        arm_w = rotate_to_world(truth.quaternion_wxyz, rs.lever_arm_b)
        self._go_wrong(faults)
        position = rotate_to_body(self._heading_wxyz, truth.position_w + arm_w - self._origin_w) + self._jumped
        lin_vel = rotate_to_body(self._heading_wxyz, truth.lin_vel_w + np.cross(ang_vel_w, arm_w))
        lin_vel = lin_vel + self._drift + rs.noise_std * rs.rng.standard_normal(3)
        ang_vel = rotate_to_body(self._heading_wxyz, ang_vel_w)
        quaternion = _relative(self._heading_wxyz, truth.quaternion_wxyz)
        spoilt = math.nan if Fault.NAN in faults else 0.0
        return SimpleNamespace(
            translation=_raw(position + spoilt),
            velocity=_raw(lin_vel + spoilt),
            angular_velocity=_raw(ang_vel + spoilt),
            rotation=SimpleNamespace(**vars(_raw(quaternion[1:])), w=float(quaternion[0])),
            tracker_confidence=0 if Fault.BLIND in faults else 3,
        )

    def _go_wrong(self, faults: Fault) -> None:
        drift = min(self._drift[1] + DRIFT / RATE_HZ, MAX_DRIFT) if Fault.DRIFTING in faults else 0.0
        self._drift = np.array([0.0, drift, 0.0])  # to the left of where it started
        self._jumped = self._jumped + self._drift / RATE_HZ
        if Fault.JUMPING in faults and self._rs.rng.random() < JUMPS_PER_S / RATE_HZ:
            direction = self._rs.rng.standard_normal(3)
            self._jumped = self._jumped + JUMP_M * direction / np.linalg.norm(direction)


def _raw(vector: NDArray[np.floating[Any]]) -> SimpleNamespace:
    """A vector (3,), x forward, y left, z up, in the camera's axes: x right, y up, z back."""
    forward, left, up = (float(part) for part in vector)
    return SimpleNamespace(x=-left, y=up, z=-forward)


def _relative(heading_wxyz: Float64Array, quaternion_wxyz: Float64Array) -> Float64Array:
    """The quaternion (4,) with the heading (a turn about z) taken away: conjugate(heading) * quaternion."""
    c, s = heading_wxyz[0], -heading_wxyz[3]
    w, x, y, z = quaternion_wxyz
    return np.array([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w])
