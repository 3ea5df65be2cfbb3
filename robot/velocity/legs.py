"""The trunk's velocity from legs and IMU alone: a foot that stands on the floor does not move.

v_b = -(d p_foot / dt + w_b x p_foot) for a foot in stance. Within a stride the estimate swings with impacts, slipping and the foot's
rolling; its mean over a stride is what a tracking camera sees along the floor: on the released Go1 logs 0.08 m/s apart forward and 0.09
sideways (results/velocity.json; the gyro there is the camera's). Upwards it is not to be believed: feet leave a soft floor late.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array, FloatArray
from robot import go1
from robot.driver import BaseVelocity, RobotState
from robot.kinematics import foot_pos_b, foot_vel_b

STRIDE_STEPS = 17  # control periods, 0.34 s: a cycle of the 3 Hz trot
STANCE_FORCE = 15.0  # N, half of what a foot of a standing Go1 carries
MAX_SLIDE = 1.0  # m/s, how much the velocity that one foot implies may change within a stride in which that foot stood all the time


def foot_velocity(joint_pos: FloatArray, joint_vel: FloatArray, gyro_b: FloatArray) -> Float64Array:
    """The trunk's velocity (..., 4, 3), m/s, that each foot implies if it stands; arguments as for `stance_velocity`."""
    return np.asarray(-(foot_vel_b(joint_pos, joint_vel) + np.cross(gyro_b[..., None, :], foot_pos_b(joint_pos))))


def stance_velocity(joint_pos: FloatArray, joint_vel: FloatArray, gyro_b: FloatArray, stance: NDArray[np.bool_]) -> Float64Array:
    """Sum over the feet in stance of the trunk's velocity (..., 3), m/s, that each implies; divide by their number.

    joint_pos (..., 12) rad, joint_vel (..., 12) rad/s, gyro_b (..., 3) rad/s, stance (..., 4).
    """
    return np.asarray(np.where(stance[..., None], foot_velocity(joint_pos, joint_vel, gyro_b), 0.0).sum(axis=-2))


def stride_velocity(joint_pos: FloatArray, joint_vel: FloatArray, gyro_b: FloatArray, stance: NDArray[np.bool_]) -> Float64Array:
    """The trunk's velocity (T, 3), m/s, in each row of a recording: the mean over the stride around it, NaN where no foot stood.

    Rows whose measurements are not numbers count as if no foot stood.
    """
    measured = np.isfinite(np.concatenate([joint_pos, joint_vel, gyro_b], axis=1)).all(axis=1)
    stance = np.logical_and(stance, measured[:, None])
    sums = stance_velocity(np.nan_to_num(joint_pos), np.nan_to_num(joint_vel), np.nan_to_num(gyro_b), stance)
    counts = over_a_stride(stance.sum(axis=1).astype(np.float64))
    smooth = np.stack([over_a_stride(sums[:, axis]) for axis in range(3)], axis=1)
    return np.asarray(np.where(counts[:, None] > 0.5, smooth / np.maximum(counts, 1)[:, None], np.nan))


def over_a_stride(values: FloatArray) -> Float64Array:
    """Sum (T,) of values (T,) over the stride around each row; less at both ends."""
    total = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    rows = np.arange(len(values))
    ahead = np.minimum(rows + STRIDE_STEPS // 2 + 1, len(values))
    return np.asarray(total[ahead] - total[np.maximum(rows - STRIDE_STEPS // 2, 0)])


class LegVelocity:
    """A VelocitySource (robot.driver) without any camera: the mean over the stride that has just passed, so half a stride late.

    `stance_force` is the reading of a foot sensor above which the foot stands, N on the twin; a Go1 reports raw numbers. The trunk's
    vertical speed, which legs cannot tell, is given as its long-term mean, 0.
    """

    name = "legs"

    def __init__(self, stance_force: float = STANCE_FORCE) -> None:
        self._stance_force = stance_force
        # Of each row, what the feet imply (4, 3) m/s and whether they stood (4,).
        self._last: deque[tuple[Float64Array, NDArray[np.bool_]]] = deque(maxlen=STRIDE_STEPS)
        self._stamp_s = -np.inf

    def read(self, state: RobotState) -> BaseVelocity:
        """Valid once a foot has stood in the last stride; a state that is not made of numbers makes no foot stand.

        Not valid while a foot seems to stand that swings: with a sensor that reads too much, the mean over a stride would be near 0
        however fast the robot walks.
        """
        if not 0 <= state.stamp_s - self._stamp_s < STRIDE_STEPS * go1.CONTROL_DT:  # another walk
            self._last.clear()
        self._stamp_s = state.stamp_s
        parts = state.joint_pos, state.joint_vel, state.gyro_b
        measured = all(np.isfinite(part).all() for part in parts)
        implied_now = foot_velocity(*parts) if measured else np.zeros((4, 3))
        self._last.append((implied_now, measured & (state.foot_force > self._stance_force)))
        implied, stood = (np.array(column) for column in zip(*self._last, strict=True))  # (n, 4, 3), (n, 4)
        velocity = np.full(3, np.nan)
        if stood.any():
            velocity = implied[stood].mean(axis=0) * np.array([1.0, 1.0, 0.0])
        valid = bool(stood.any() and np.isfinite(state.gyro_b).all() and not _slides(implied, stood))
        return BaseVelocity(velocity, state.gyro_b, self.name, age_s=STRIDE_STEPS / 2 * go1.CONTROL_DT, valid=valid)


def _slides(implied: Float64Array, stood: NDArray[np.bool_]) -> bool:
    """Whether some foot that stood in all rows of a whole stride (n, 4) cannot have stood, by what it implied (n, 4, 3) m/s."""
    change = np.ptp(implied[..., :2], axis=0).max(axis=-1)
    return len(stood) == STRIDE_STEPS and bool((change[stood.all(axis=0)] > MAX_SLIDE).any())
