"""A robot that stands still, by the wall clock, to be killed while it is logged."""

from __future__ import annotations

import time

from robot import go1
from robot.command import trot_command
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.log.episode import EpisodeAttributes
from robot.observation import GO1_LAYOUT
from robot.pace import RealTime
from robot.policy.metadata import layout_json
from robot.run_episode import EpisodePlan
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import Supervisor

ATTRIBUTES = EpisodeAttributes(go1.NAME, "", go1.CONTROL_DT, layout_json(GO1_LAYOUT), "{}", "rehearsal", "still", velocity_source="still")


def still_cycle() -> ControlCycle:
    """A control cycle whose driver is connected."""
    driver, policy = StillDriver(clock=time.monotonic), StillPolicy()
    driver.connect()
    return ControlCycle(driver, StillVelocity(), ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd)), RealTime())


def standing(steps: int) -> EpisodePlan:
    """An episode of so many steps on the spot."""
    return EpisodePlan(steps, lambda _: trot_command())
