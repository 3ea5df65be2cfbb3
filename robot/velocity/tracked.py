"""The trunk's velocity in the body frame from a tracker that reports poses in a world frame, such as Intel's T265.

A tracker's glitches must not be learned from: every rule that finds one has a name and a threshold here, and the live source and
the importer of logs share them. (115,520 samples of the released Go1 logs hold 189 above 3 m/s and 49 jumps of more than 0.2 m.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array, FloatArray
from robot import go1
from robot.driver import BaseVelocity, RobotState
from robot.rotation import rotate_to_body
from robot.safety import is_rotation

MAX_SPEED = 3.0  # m/s; commands in the released logs reach 2 m/s
MAX_JUMP = 0.2  # m in one control period of 0.02 s, which is 10 m/s
MAX_AGE_S = 0.1  # five control periods


class Glitch(IntFlag):
    """Why a velocity sample is not to be used."""

    NON_FINITE = 1  # not numbers, or a quaternion that is no rotation
    SPEED = 2  # faster than MAX_SPEED, the tracker or the trunk's centre
    JUMP = 4  # the position moved by more than MAX_JUMP for each control period since the last sample that had one
    AGE = 8  # older than MAX_AGE_S, or from the future by as much
    ABSENT = 16  # there is no sample


@dataclass(frozen=True)
class PoseSample:
    """One reading of a pose tracker, axes x forward, y left, z up (see `from_t265_axes`)."""

    stamp_s: float  # monotonic, the clock of RobotState.stamp_s
    position_w: Float64Array  # (3,) m
    lin_vel_w: Float64Array  # (3,) m/s of the tracker, not of the trunk's centre
    ang_vel_w: Float64Array  # (3,) rad/s
    quaternion_wxyz: Float64Array  # (4,) body to world
    origin: int = 0  # which start of the tracker the position counts from; two starts have nothing in common


class PoseVelocity:
    """A VelocitySource (robot.driver) over a pose tracker that is mounted parallel to the body.

    newest: gives the newest sample, None while there is none. lever_arm_b: the tracker's place (3,) in the body frame, m.
    Where there is no sample the velocities are NaN, the age infinite. `glitch` tells why the last reading was not valid.
    """

    def __init__(self, name: str, newest: Callable[[], PoseSample | None], lever_arm_b: Float64Array) -> None:
        self.name, self._newest, self._lever_arm_b = name, newest, lever_arm_b
        self._last: PoseSample | None = None
        self.glitch = Glitch.ABSENT

    def read(self, state: RobotState) -> BaseVelocity:
        """The newest velocity; `valid` is False where any rule of Glitch applies."""
        sample = self._newest()
        if sample is None:
            self.glitch = Glitch.ABSENT
            unknown = np.full(3, np.nan)
            return BaseVelocity(unknown, unknown, self.name, np.inf, valid=False)
        with np.errstate(all="ignore"):  # what is not finite is found by the rules
            lin_vel_b, ang_vel_b = world_to_body_velocity(sample.quaternion_wxyz, sample.lin_vel_w, sample.ang_vel_w, self._lever_arm_b)
        age_s = state.stamp_s - sample.stamp_s
        self.glitch = self._glitch(sample, age_s, lin_vel_b)
        if np.isfinite([sample.stamp_s, *sample.position_w]).all():  # or nothing could be seen to jump from it
            self._last = sample
        return BaseVelocity(lin_vel_b, ang_vel_b, self.name, age_s, valid=not self.glitch)

    def _glitch(self, sample: PoseSample, age_s: float, lin_vel_b: Float64Array) -> Glitch:
        """The rules of `glitch_reasons`, with the jump measured against the time that really passed, and those of a single sample."""
        last = self._last if self._last and self._last.origin == sample.origin else sample
        periods = max((sample.stamp_s - last.stamp_s) / go1.CONTROL_DT, 1.0)
        reasons = _reasons(sample.position_w, sample.lin_vel_w, last.position_w, periods)
        rotates = is_rotation(sample.quaternion_wxyz.tolist())
        in_time = abs(age_s) <= MAX_AGE_S
        sound = rotates and np.isfinite(sample.ang_vel_w).all()
        fast = math.hypot(*lin_vel_b.tolist()) > MAX_SPEED  # the trunk's centre: a glitch of the angular velocity moves it by the lever arm
        found = (Glitch.NON_FINITE, not sound), (Glitch.AGE, not in_time), (Glitch.SPEED, fast)
        return Glitch(int(reasons) | sum(glitch for glitch, is_one in found if is_one))


def world_to_body_velocity(
    quaternion_wxyz: FloatArray, lin_vel_w: FloatArray, ang_vel_w: FloatArray, lever_arm_b: FloatArray
) -> tuple[Float64Array, Float64Array]:
    """Linear (..., 3) m/s and angular (..., 3) rad/s velocity of the trunk's centre in the body frame.

    v_b = R^T v_w - w_b x r and w_b = R^T w_w, for a tracker at r = `lever_arm_b` (3,) m from the centre that reports its own
    velocity `lin_vel_w` (..., 3) in the world; `quaternion_wxyz` (..., 4) turns body into world.
    """
    ang_vel_b = rotate_to_body(quaternion_wxyz, ang_vel_w)
    lin_vel_b = rotate_to_body(quaternion_wxyz, lin_vel_w) - np.cross(ang_vel_b, lever_arm_b)
    return np.asarray(lin_vel_b, dtype=np.float64), np.asarray(ang_vel_b, dtype=np.float64)


def flag_glitches(position_w: FloatArray, velocity_w: FloatArray) -> NDArray[np.bool_]:
    """Which of T samples of one recording, one a control period, are not to be used (T,); position (T, 3) m, velocity (T, 3) m/s."""
    return np.asarray(glitch_reasons(position_w, velocity_w) != 0)


def glitch_reasons(position_w: FloatArray, velocity_w: FloatArray) -> NDArray[np.uint8]:
    """Why each of T samples of one recording is a glitch: a mask of Glitch (T,), zero where it is none.

    position_w (T, 3) m, velocity_w (T, 3) m/s, one sample a control period. A jump is one from the last sample that has a place; the first
    cannot be one, and after it the samples count again, from the new place.
    """
    rows = np.arange(len(position_w))
    placed = np.maximum.accumulate(np.where(np.isfinite(position_w).all(axis=-1), rows, -1))  # the last row with a place
    last = np.where((before := np.roll(placed, 1)) < 0, rows, before)
    last[:1] = 0
    return _reasons(position_w, velocity_w, position_w[last], np.maximum(rows - last, 1))


def from_t265_axes(vector: FloatArray) -> FloatArray:
    """A raw T265 vector (..., 3), x right, y up, z back, as x forward, y left, z up: (-z, -x, y).

    It also turns the vector part of the T265's quaternion; the real part stays.
    """
    x, y, z = np.moveaxis(vector, -1, 0)
    return np.stack([-z, -x, y], axis=-1)


def _reasons(
    position_w: FloatArray, velocity_w: FloatArray, previous_w: FloatArray, periods: float | NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Mask of Glitch (...), but for the age; `previous_w` (..., 3) is where the tracker was `periods` control periods before."""
    with np.errstate(all="ignore"):
        finite = np.isfinite(position_w).all(axis=-1) & np.isfinite(velocity_w).all(axis=-1)
        fast = np.linalg.norm(velocity_w, axis=-1) > MAX_SPEED
        jumped = np.linalg.norm(position_w - previous_w, axis=-1) > MAX_JUMP * periods
    reasons = np.where(finite, 0, Glitch.NON_FINITE.value) | np.where(fast, Glitch.SPEED.value, 0) | np.where(jumped, Glitch.JUMP.value, 0)
    return np.asarray(reasons, dtype=np.uint8)
