"""What a robot is to the rest: something to read a state from and to write a joint command to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError

Float64Array = NDArray[np.float64]


class DriverError(QuadloopError):
    """The robot cannot be reached or answered with something unusable."""


@dataclass(frozen=True)
class RobotState:
    """One reading of the robot's sensors. Joint arrays are in the policy's order; float64 throughout."""

    stamp_s: float  # monotonic time of the reading
    joint_pos: Float64Array  # (12,) rad
    joint_vel: Float64Array  # (12,) rad/s
    joint_torque: Float64Array  # (12,) N m, estimated by the motors
    quaternion_wxyz: Float64Array  # (4,) body to world
    gyro_b: Float64Array  # (3,) rad/s
    accelerometer_b: Float64Array  # (3,) m/s^2, gravity included
    foot_force: Float64Array  # (4,) N, FL FR RL RR


@dataclass(frozen=True)
class JointCommand:
    """Targets and gains of the motors' PD controllers; feed-forward torque is always zero."""

    joint_pos_target: Float64Array  # (12,) rad
    kp: Float64Array  # (12,) N m / rad; zero damps
    kd: Float64Array  # (12,) N m s / rad


@dataclass(frozen=True)
class BaseVelocity:
    """Velocity of the trunk's centre in the body frame, with where it came from and how old it is."""

    lin_vel_b: Float64Array  # (3,) m/s
    ang_vel_b: Float64Array  # (3,) rad/s
    source: str
    age_s: float
    valid: bool


class RobotDriver(Protocol):
    """A robot, real or simulated. Nobody who holds one can tell which."""

    def connect(self) -> None:
        """Open the connection; DriverError if the robot does not answer."""

    def read(self) -> RobotState:
        """The newest state; DriverError if there is none."""

    def write(self, command: JointCommand) -> JointCommand:
        """Send a command for one control period and return what was actually sent."""

    def close(self) -> None:
        """Release the connection and leave the motors damped. Idempotent."""


class VelocitySource(Protocol):
    """Where the trunk's velocity comes from: T265, odometry, leg kinematics, or the twin's truth."""

    @property
    def name(self) -> str:
        """What episode logs call it."""

    def read(self, state: RobotState) -> BaseVelocity:
        """The newest velocity, in the body frame, for the state just read."""
