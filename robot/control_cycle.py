"""One control period of a robot, with its input and output: read, decide, write."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from common.array_types import Float64Array
from robot.control_loop import ControlLoop, Tick
from robot.driver import BaseVelocity, JointCommand, RobotDriver, RobotState, VelocitySource
from robot.pace import Pace


@dataclass
class Period:
    """One control period as it went."""

    state: RobotState
    velocity: BaseVelocity
    tick: Tick
    command: Float64Array  # (15,)
    sent: JointCommand  # as handed to the driver
    latency_s: float  # from the state in hand to the command on its way
    overrun: bool = False  # whether the next period had begun before this one ended


def _nobody(_period: Period) -> None:
    return


class ControlCycle:
    """A robot, its control loop and its clock. Whoever holds it turns it, one period at a time; all in one thread.

    `observe` is told of every period when its command is on its way; it must be quick and may not raise.
    """

    def __init__(
        self, driver: RobotDriver, velocity: VelocitySource, loop: ControlLoop, pace: Pace, observe: Callable[[Period], None] = _nobody
    ) -> None:
        self.driver, self.velocity, self.loop, self.pace, self._observe = driver, velocity, loop, pace, observe
        self.state: RobotState | None = None  # the newest

    def turn(self) -> Period:
        """Read, decide, write; then the velocity, which the policy does not see."""
        self.state = state = self.driver.read()
        started_s = time.monotonic()
        command = self.loop.step(state, self.pace.now(state))
        sent = self.driver.write(command)
        latency_s = time.monotonic() - started_s
        velocity = self.velocity.read(state)
        period = Period(state, velocity, self.loop.last_tick, self.loop.command, sent, latency_s)
        self._observe(period)
        return period

    def wait(self) -> bool:
        """Wait for the next period; True if it had begun already. Too often in a row, while the policy acts, damps the robot."""
        overrun = self.pace.wait_next()
        self.loop.supervisor.note_pace(overrun)
        return overrun

    def damp(self) -> None:
        """For a program that failed: latch DAMPING and send it. Never raises: a driver that cannot write damps by itself."""
        with suppress(Exception):
            self.driver.write(self.loop.fail(self.state))
