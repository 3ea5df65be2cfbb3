"""What a motor does between the target that is sent and the torque that acts: delay and top speed.

An ideal motor applies the PD law's torque, clipped at its limit. Each departure from it is switched on by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array, IntArray
from common.checks import NOT_NEGATIVE, Rule, require, require_rising
from robot import go1

MAX_DELAY_S = 0.1  # s, five control periods; a robot that answers later than this is broken


@dataclass(frozen=True)
class ActuatorConfig:
    """How far the motors are from ideal ones. The defaults are ideal."""

    delay_s: tuple[float, float] = (0.0, 0.0)
    """range of the time between sending a target and the motors following it, s, rounded to physics steps of 5 ms"""
    torque_speed_limit: bool = False
    """torque falls from its limit at rest to nothing at the motor's top speed; costs a third of the physics' speed"""

    def __post_init__(self) -> None:
        require(self, NOT_NEGATIVE, "delay_s")
        require(self, Rule(f"at most {MAX_DELAY_S} s", lambda value: value <= MAX_DELAY_S), "delay_s")
        require_rising(self, "delay_s")


IDEAL = ActuatorConfig()


class Motors(NamedTuple):
    """The PD law and torque limit of motors, each a number or an array (..., 12)."""

    kp: Float64Array | float = go1.KP  # N m / rad
    kd: Float64Array | float = go1.KD  # N m s / rad
    torque_limit: Float64Array = go1.TORQUE_LIMIT  # N m


STANDARD_MOTORS = Motors()


def asked_torque(
    joint_pos_target: Float64Array, joint_pos: Float64Array, joint_vel: Float64Array, motors: Motors = STANDARD_MOTORS
) -> Float64Array:
    """The PD law's torque (..., 12), N m: kp (target - q) - kd qd, before any limit."""
    return np.asarray(motors.kp * (joint_pos_target - joint_pos) - motors.kd * joint_vel)


def speed_limited_torque(torque: Float64Array, joint_vel: Float64Array, torque_limit: Float64Array = go1.TORQUE_LIMIT) -> Float64Array:
    """Torque (..., 12) within what a DC motor gives at joint_vel (..., 12).

    Driving, the most it gives falls linearly from torque_limit at rest to 0 at JOINT_VEL_LIMIT; braking, it is torque_limit.
    """
    share = joint_vel / go1.JOINT_VEL_LIMIT
    upper = torque_limit * np.clip(1 - share, 0, 1)
    lower = -torque_limit * np.clip(1 + share, 0, 1)
    return np.asarray(np.clip(torque, lower, upper))


def target_within_speed_limit(
    joint_pos_target: Float64Array, joint_pos: Float64Array, joint_vel: Float64Array, motors: Motors = STANDARD_MOTORS
) -> Float64Array:
    """The target (..., 12) rad whose PD torque is `speed_limited_torque` of the given target's.

    A joint without stiffness, such as a damped one, keeps its target: it does not follow any.
    """
    stiff = np.asarray(motors.kp) > 0.0
    torque = speed_limited_torque(asked_torque(joint_pos_target, joint_pos, joint_vel, motors), joint_vel, motors.torque_limit)
    limited = joint_pos + (torque + motors.kd * joint_vel) / np.where(stiff, motors.kp, 1.0)
    return np.where(stiff, limited, joint_pos_target)


def physics_steps(delay_s: float) -> int:
    """A delay in physics steps."""
    return round(delay_s / go1.PHYSICS_DT)


class DelayLine:
    """Targets on their way to the motors of N robots, each with its own delay in physics steps."""

    def __init__(self, num_robots: int, longest: int) -> None:
        self.longest = longest
        self.steps: IntArray = np.zeros(num_robots, dtype=np.int64)
        self.sent = np.tile(go1.DEFAULT_JOINT_POS, (num_robots, longest + go1.DECIMATION, 1))  # oldest first, a row a physics step

    def fill(self, where: NDArray[np.bool_], target: Float64Array) -> None:
        """Forget what is on its way to the masked robots: they have been following target (n, 12)."""
        self.sent[where] = target[:, None]

    def push(self, target: Float64Array) -> Float64Array:
        """Send targets (N, 12) for one control period; returns what the motors follow in each of its physics steps, (N, 4, 12)."""
        if self.longest == 0:
            self.sent[:] = target[:, None]
            return self.sent
        self.sent[:, : self.longest] = self.sent[:, go1.DECIMATION :].copy()
        self.sent[:, self.longest :] = target[:, None]
        rows = self.longest + np.arange(go1.DECIMATION) - self.steps[:, None]
        return np.take_along_axis(self.sent, rows[..., None], axis=1)

    def delivered(self) -> Float64Array:
        """What the motors followed in the last physics step (N, 12)."""
        return self.sent[np.arange(len(self.steps)), self.longest + go1.DECIMATION - 1 - self.steps]
