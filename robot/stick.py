"""Where somebody else tells the robot to go: the newest velocity command, and what becomes of it when nobody renews it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.checks import POSITIVE, require
from robot.command import trot_command
from robot.gait import Gait

STALE_AFTER_S = 0.5  # ten messages of a joystick at 20 Hz


@dataclass(frozen=True)
class VelocityLimits:
    """What is made of a command at most, whatever is asked for. The defaults are within what every preset of `quadloop pretrain` trains."""

    vx: float = 1.5
    """forward, m/s"""
    vx_backward: float = 0.6
    """backward, m/s"""
    vy: float = 0.4
    """sideways, m/s"""
    yaw_rate: float = 0.8
    """rad/s"""

    def __post_init__(self) -> None:
        require(self, POSITIVE, "vx", "vx_backward", "vy", "yaw_rate")


FASTEST = VelocityLimits(vx=2.0, vx_backward=2.0, vy=1.0, yaw_rate=3.0)
"""What a person may set as the limit of a robot in real time, in `collect` as in ROS 2. The released logs were told up to 2 m/s."""


class Stick:
    """`receive` belongs to any one thread, `command` to the control thread; neither waits for the other.

    Without a command for STALE_AFTER_S the robot is told to stand on the spot: a stick whose wire broke says nothing.
    """

    def __init__(self, limits: VelocityLimits, gait: Gait, max_age_s: float = STALE_AFTER_S) -> None:
        self.gait = gait
        self.refused = 0  # commands that were not numbers
        self._lowest = -np.array([limits.vx_backward, limits.vy, limits.yaw_rate])
        self._highest = np.array([limits.vx, limits.vy, limits.yaw_rate])
        self._max_age_s = max_age_s
        self._newest = (-np.inf, np.zeros(3))  # time.monotonic of its arrival, and vx, vy, yaw_rate

    def receive(self, vx: float, vy: float, yaw_rate: float) -> None:
        """A new command, m/s and rad/s. One that is not of numbers is refused: it counts as none."""
        velocity = np.array([vx, vy, yaw_rate], dtype=np.float64)
        if not np.isfinite(velocity).all():
            self.refused += 1
            return
        self._newest = time.monotonic(), np.clip(velocity, self._lowest, self._highest)

    def is_fresh(self, now: float) -> bool:
        """Whether somebody commands the robot at `now`, time.monotonic."""
        return bool(now - self._newest[0] <= self._max_age_s)

    def command(self, now: float) -> NDArray[np.float64]:
        """The unscaled command (15,) for `now`."""
        stamp_s, velocity = self._newest
        fresh = now - stamp_s <= self._max_age_s
        return self.gait.of(trot_command(*(velocity if fresh else np.zeros(3))))
