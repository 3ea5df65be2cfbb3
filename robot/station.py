"""A robot with everything around it that an episode needs; what a stage is handed by whoever knows which robot it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import QuadloopError
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.driver import RobotDriver, VelocitySource
from robot.forward_commands import ForwardCommands
from robot.log.attributes import attributes_of
from robot.log.episode_log import EpisodeWriter
from robot.pace import Pace
from robot.policy.artifact import PolicyArtifact
from robot.run_episode import EpisodePlan, EpisodeSummary, HeldBackError, ThrownOverError, run_episode
from robot.supervisor import Mode, Supervisor

STAND_ATTEMPTS = 5
"""Of an episode: a floor that throws a robot over as often in a row cannot be walked on."""

EMPTY_EPISODES = 10
"""So many in a row without a step say that the robot cannot walk at all, and that asking again does not help."""


@dataclass(frozen=True)
class Station:
    """A connected robot, its velocity source, its clock, and the hand that sets it upright after a fall."""

    driver: RobotDriver
    velocity: VelocitySource
    pace: Pace
    set_upright: Callable[[], None]
    source: str  # for the episode log, such as "go1" or "twin:mattress"


class Collector:
    """Runs logged episodes of a policy at a station, again and again, until somebody has seen enough.

    `rng` draws the actions; None acts with the mean. `session` and `config` (JSON values) go into every log.
    """

    def __init__(
        self, station: Station, policy: PolicyArtifact, rng: np.random.Generator | None, session: str, config: Mapping[str, Any]
    ) -> None:
        self.station = station
        self.session = session
        self._config = config
        self.loop = ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd), rng)
        self._policy = policy

    def use(self, policy: PolicyArtifact) -> None:
        """Act with another policy from the next episode on."""
        self.loop.use(policy)
        self._policy = policy

    def collect(self, path: Path, plan: EpisodePlan) -> EpisodeSummary:
        """One episode, logged to `path` (.hdf5). A robot that was damped is set upright, once it lies still, and re-armed first.

        One that falls over while it stands up, or does not get up, gets STAND_ATTEMPTS in all; whatever else stops it is an error at once.
        """
        falls = 0
        for _ in range(STAND_ATTEMPTS - 1):
            try:
                return replace(self._attempt(path, plan), falls_standing=falls)
            except (ThrownOverError, HeldBackError) as error:  # run_episode has damped it
                falls += isinstance(error, ThrownOverError)
        return replace(self._attempt(path, plan), falls_standing=falls)

    def collect_steps(
        self, directory: Path, steps: int, longest: int, commands: ForwardCommands, rng: np.random.Generator
    ) -> Iterator[EpisodeSummary]:
        """Episodes of up to `longest` control steps, logged to `directory`, until there are `steps`; one at a time, as they are asked for.

        QuadloopError if EMPTY_EPISODES in a row end before their first step.
        """
        number = empty = 0
        while steps > 0:
            summary = self.collect(directory / f"episode_{number:04d}.hdf5", commands.draw(min(longest, steps), rng))
            number, steps = number + 1, steps - summary.steps
            yield summary
            empty = 0 if summary.steps else empty + 1
            if empty == EMPTY_EPISODES:
                raise QuadloopError(f"{EMPTY_EPISODES} episodes in a row ended before their first step; see to the robot, then --resume")

    def _attempt(self, path: Path, plan: EpisodePlan) -> EpisodeSummary:
        station = self.station
        cycle = ControlCycle(station.driver, station.velocity, self.loop, station.pace)
        if self.loop.mode is Mode.DAMPING:
            while self.loop.supervisor.sinking:
                cycle.turn()
                cycle.wait()
            station.set_upright()
            self.loop.rearm()
        attributes = attributes_of(self._policy, station.source, station.velocity, self.session, self._config)
        with EpisodeWriter(path, attributes) as log:
            summary = run_episode(cycle, plan, log)
        if self.loop.mode is Mode.STAND:  # it does not stand by itself: before the next episode somebody sets it upright
            self.loop.request_estop()
        return summary
