"""The trunk's velocity from any odometry, such as nav_msgs/Odometry of another camera, by the rules of robot.velocity.tracked."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.array_types import Float64Array
from robot.driver import BaseVelocity, RobotState
from robot.rotation import rotate_to_world
from robot.safety import QUATERNION_TOLERANCE
from robot.velocity.tracked import Glitch, PoseSample, PoseVelocity


class OdometryVelocity:
    """A VelocitySource (robot.driver) that is handed its messages: `receive` in any thread, `read` in the control loop's.

    lever_arm_b: the place (3,) in the body frame, m, of what the odometry tracks (its child frame); its axes are the body's.
    """

    name = "odometry"

    def __init__(self, lever_arm_b: Float64Array | None = None) -> None:
        self._newest: PoseSample | None = None
        self._velocity = PoseVelocity(self.name, lambda: self._newest, np.zeros(3) if lever_arm_b is None else lever_arm_b)

    @property
    def glitch(self) -> Glitch:
        """Why the last reading was not valid."""
        return self._velocity.glitch

    def receive(
        self, stamp_s: float, position_w: ArrayLike, quaternion_wxyz: ArrayLike, lin_vel_b: ArrayLike, ang_vel_b: ArrayLike
    ) -> None:
        """Take a message that arrived at `stamp_s` (monotonic): pose in the odometry's world, (3,) m and (4,); twist in the child frame.

        lin_vel_b (3,) m/s, ang_vel_b (3,) rad/s, as nav_msgs/Odometry has it. What is not finite is taken and found by `read`;
        ValueError for what has not these shapes.
        """
        position_w, quaternion = _vector(position_w, 3), _vector(quaternion_wxyz, 4)
        with np.errstate(all="ignore"):
            length = float(np.linalg.norm(quaternion))
            if abs(length - 1.0) <= QUATERNION_TOLERANCE:  # otherwise it is no rotation, and stays as it is
                quaternion = quaternion / length
            lin_vel_w, ang_vel_w = rotate_to_world(quaternion, np.stack([_vector(lin_vel_b, 3), _vector(ang_vel_b, 3)]))
        self._newest = PoseSample(stamp_s, position_w, np.asarray(lin_vel_w), np.asarray(ang_vel_w), quaternion)

    def read(self, state: RobotState) -> BaseVelocity:
        """The velocity of the newest message; `valid` is False where any rule of Glitch applies."""
        return self._velocity.read(state)


def _vector(values: ArrayLike, size: int) -> Float64Array:
    """A copy, so that a message that its sender fills again does not change what was received."""
    return np.array(values, dtype=np.float64).reshape(size)
