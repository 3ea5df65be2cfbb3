"""A robot with everything around it that an episode needs; what a stage is handed by whoever knows which robot it is."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from robot import go1
from robot.artifact_metadata import layout_json
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.driver import RobotDriver, VelocitySource
from robot.episode import EpisodeAttributes
from robot.episode_log import EpisodeWriter
from robot.observation import trot_command
from robot.pace import Pace
from robot.policy_artifact import PolicyArtifact
from robot.run_episode import EpisodePlan, EpisodeSummary, HeldBackError, ThrownOverError, run_episode
from robot.supervisor import Mode, Supervisor

STAND_ATTEMPTS = 5
"""Of an episode: a floor that throws a robot over as often in a row cannot be walked on."""

HOLD_S = 4.0
"""For which a commanded speed stays."""

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


def attributes_of(
    policy: PolicyArtifact, source: str, velocity: VelocitySource, session: str, config: Mapping[str, Any]
) -> EpisodeAttributes:
    """What every log of a sitting carries; `source` is the robot's name, `config` holds JSON values."""
    metadata = policy.metadata
    return EpisodeAttributes(
        robot=metadata.robot,
        policy_sha256=policy.sha256,
        control_dt_s=metadata.control_dt_s,
        layout_json=layout_json(metadata.layout),
        config_json=json.dumps(config),
        session=session,
        source=source,
        velocity_source=velocity.name,
    )


def fresh_seed() -> int:
    """From the operating system's entropy, so that no two sittings share their luck; 0 to 2^31 - 1, which every interface takes."""
    return secrets.randbits(31)


@dataclass(frozen=True)
class ForwardCommands:
    """Forward speeds for an episode: a new one every HOLD_S, uniform in a range. At the end run_episode slows the robot down."""

    vx_low: float  # m/s
    vx_high: float  # m/s

    def draw(self, max_steps: int, rng: np.random.Generator) -> EpisodePlan:
        """A plan of up to `max_steps` control steps with commands drawn now."""
        hold = round(HOLD_S / go1.CONTROL_DT)
        speeds = rng.uniform(self.vx_low, self.vx_high, max_steps // hold + 1)
        commands: list[NDArray[np.float64]] = [trot_command(speed) for speed in speeds]
        return EpisodePlan(max_steps, lambda step: commands[step // hold])
