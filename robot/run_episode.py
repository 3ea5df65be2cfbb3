"""One episode, from standing up to standing still: how every stage, the twin and the robot collect data.

Row t of the log is completed in period t + 1, when it is known what the action led to: its reward, its velocity and whether it
ended the episode. Everything but reading and stepping happens after the command is on its way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.errors import ConfigError
from robot import go1
from robot.control_loop import ControlLoop, Tick
from robot.driver import BaseVelocity, JointCommand, RobotDriver, RobotState, VelocitySource
from robot.episode import END_FALL, END_OPERATOR, END_SAFETY, END_TIME_LIMIT
from robot.episode_log import EpisodeStep, EpisodeWriter
from robot.pace import Pace
from robot.reward import WEIGHTS, reward_terms, total_reward
from robot.supervisor import Mode, ModeError, SafetyEvent, event_names

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

VELOCITY_TERMS = ("lin_vel_xy", "ang_vel_z", "lin_vel_z")


def _never() -> bool:
    return False


@dataclass(frozen=True)
class EpisodePlan:
    """How long, what the robot is told, and when the operator has had enough."""

    max_steps: int  # control steps of the policy
    command_at: Callable[[int], Float64Array]  # unscaled command (15,) for control step 0, 1, ...
    should_stop: Callable[[], bool] = _never  # asked before every step; True ends the episode by the operator

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"an episode has at least 1 step, not {self.max_steps}")


@dataclass(frozen=True)
class EpisodeSummary:
    """What came of an episode."""

    steps: int
    episode_return: float  # sum of the rewards
    distance_m: float  # sum of the forward velocity times the control period, over the steps whose velocity is valid
    ended: str  # one of robot.episode's reasons
    events: SafetyEvent  # everything that happened while the policy acted, and what ended it
    invalid_velocity: int  # steps whose reward lacks the velocity
    overruns: int  # steps that missed their deadline
    fell_settling: bool  # whether it fell after the policy had ended, on its way to standing still; `ended` and the log do not tell

    @property
    def fell(self) -> bool:
        """Whether the robot fell, while the policy acted or while it settled."""
        return self.ended == END_FALL or self.fell_settling


@dataclass
class _Period:
    """One control period as it went."""

    state: RobotState
    velocity: BaseVelocity
    tick: Tick
    command: Float64Array  # (15,)
    sent: JointCommand
    latency_s: float
    overrun: bool = False


def run_episode(
    driver: RobotDriver, velocity: VelocitySource, loop: ControlLoop, pace: Pace, plan: EpisodePlan, writer: EpisodeWriter | None
) -> EpisodeSummary:
    """Stand up unless READY, let the policy act for up to plan.max_steps, stand still again; only the policy's steps are logged.

    The driver is connected. Ends READY, or DAMPING after a fall or a safety stop. The log is closed; where no step was made, there is none.
    `writer` is one that the caller has entered. ModeError if the robot is not PASSIVE, STAND or READY, or cannot stand up.
    On any exception the robot is damped, the log stays a `.part`, and the exception goes on.
    """
    if loop.mode in (Mode.DAMPING, Mode.POLICY):
        raise ModeError(f"an episode cannot begin while the robot is {loop.mode.value} ({event_names(loop.supervisor.cause) or 'busy'})")
    episode = _Episode(driver, velocity, loop, pace, writer)
    try:
        episode.get_ready()
        ended = episode.act(plan)
        fell_settling = episode.settle()
        if writer is not None and episode.steps:
            writer.close(ended, episode.final_observation)
    except BaseException:
        with suppress(Exception):  # the first error is the one to tell; a driver that cannot write damps by itself
            driver.write(loop.fail(episode.state))
        raise
    return episode.summary(ended, fell_settling)


class _Episode:
    """The periods of one episode and what they add up to."""

    def __init__(self, driver: RobotDriver, velocity: VelocitySource, loop: ControlLoop, pace: Pace, writer: EpisodeWriter | None) -> None:
        self._driver, self._velocity, self._loop, self._pace, self._writer = driver, velocity, loop, pace, writer
        self.state: RobotState | None = None  # the newest
        self.final_observation: Float32Array = np.zeros(0, dtype=np.float32)  # (5, 58) once the policy has ended
        self.steps = 0
        self._last_action: Float32Array = np.zeros(go1.NUM_JOINTS, dtype=np.float32)
        self._return, self._distance_m, self._events, self._invalid, self._overruns = 0.0, 0.0, SafetyEvent(0), 0, 0

    def get_ready(self) -> None:
        """Stand the robot up and wait until it holds."""
        if self._loop.mode is Mode.PASSIVE:
            self._loop.request_stand()
        while self._loop.mode is not Mode.READY:
            self._period()
            self._pace.wait_next()
            if self._loop.mode is Mode.DAMPING:
                raise ModeError(f"the robot could not stand up ({event_names(self._loop.supervisor.cause)}); see to it, then re-arm")

    def act(self, plan: EpisodePlan) -> str:
        """Let the policy act; returns why it ended."""
        self._loop.request_start()
        previous: _Period | None = None
        for step in range(plan.max_steps + 1):
            stopped = plan.should_stop()
            if step < plan.max_steps:
                self._loop.command = plan.command_at(step)
            if stopped or step == plan.max_steps:
                self._loop.request_stop()
            period = self._period()
            if previous is not None:
                self._complete(previous, period)
            if period.tick.mode is not Mode.POLICY:
                break
            period.overrun = self._pace.wait_next()
            previous = period
        self.final_observation = period.tick.act.observation
        return _why_ended(period.tick, stopped)

    def settle(self) -> bool:
        """Wait until the robot stands still, unless it is damped already; returns whether it fell meanwhile."""
        if self._loop.mode is Mode.DAMPING:
            return False
        while self._loop.mode is Mode.STAND:
            self._pace.wait_next()
            self._period()
        return bool(self._loop.supervisor.cause & SafetyEvent.TILT)

    def summary(self, ended: str, fell_settling: bool) -> EpisodeSummary:
        """What the completed steps add up to."""
        return EpisodeSummary(self.steps, self._return, self._distance_m, ended, self._events, self._invalid, self._overruns, fell_settling)

    def _period(self) -> _Period:
        """Read, decide, write. The velocity is read first: in simulated time writing moves the world on."""
        self.state = state = self._driver.read()
        started_s = time.monotonic()
        velocity = self._velocity.read(state)
        command = self._loop.step(state, self._pace.now(state))
        sent = self._driver.write(command)
        return _Period(state, velocity, self._loop.last_tick, self._loop.command, sent, time.monotonic() - started_s)

    def _complete(self, period: _Period, after: _Period) -> None:
        """Turn a period of the policy into a row, now that the state after its action is known."""
        reward, terms = _reward(period, after, self._last_action)
        damped = after.tick.mode is Mode.DAMPING
        events = period.tick.events | (after.tick.events if damped else SafetyEvent(0))
        if self._writer is not None:
            self._writer.append(_row(period, reward, terms, events))
        self._last_action = period.tick.act.action
        self.steps += 1
        self._return += reward
        self._distance_m += float(after.velocity.lin_vel_b[0]) * go1.CONTROL_DT if after.velocity.valid else 0.0
        self._events |= events
        self._invalid += not after.velocity.valid
        self._overruns += period.overrun


def _why_ended(tick: Tick, stopped: bool) -> str:
    if tick.mode is Mode.DAMPING:
        return END_FALL if tick.events & SafetyEvent.TILT else END_SAFETY
    return END_OPERATOR if stopped else END_TIME_LIMIT


def _reward(period: _Period, after: _Period, last_action: Float32Array) -> tuple[float, Float64Array]:
    """Reward and its terms (7,). Velocity terms are NaN where the velocity is not valid; what is not finite adds nothing to the reward."""
    joint_acc = (after.state.joint_vel - period.state.joint_vel) / go1.CONTROL_DT
    action = period.tick.act.action.astype(np.float64)
    terms = reward_terms(
        after.velocity.lin_vel_b, after.velocity.ang_vel_b, period.command,
        after.state.joint_torque, after.state.joint_vel, joint_acc, action, last_action,
    )  # fmt: skip
    if not after.velocity.valid:
        terms |= {name: np.asarray(np.nan) for name in VELOCITY_TERMS}
    values = np.array([terms[name] for name in WEIGHTS], dtype=np.float64)
    known = np.isfinite(values)
    counted = terms if known.all() else dict(zip(WEIGHTS, np.where(known, values, 0.0), strict=True))
    return float(total_reward(counted)), values


def _row(period: _Period, reward: float, terms: Float64Array, events: SafetyEvent) -> EpisodeStep:
    """Observation, action, state, velocity and command of `period`; the reward was measured one step later.

    terminated and truncated follow from why the episode ended and are set by EpisodeWriter.close.
    """
    state, act = period.state, period.tick.act
    return EpisodeStep(
        observations=act.observation,
        actions=act.action,
        action_mean=act.action_mean,
        log_prob=act.log_prob,
        rewards=reward,
        reward_terms=terms.astype(np.float32),
        terminated=False,
        truncated=False,
        joint_pos=state.joint_pos,
        joint_vel=state.joint_vel,
        joint_torque=state.joint_torque,
        quaternion_wxyz=state.quaternion_wxyz,
        gyro_b=state.gyro_b,
        accelerometer_b=state.accelerometer_b,
        foot_force=state.foot_force,
        base_lin_vel_b=period.velocity.lin_vel_b,
        base_ang_vel_b=period.velocity.ang_vel_b,
        velocity_valid=period.velocity.valid,
        velocity_age_s=period.velocity.age_s,
        command=period.command,
        joint_pos_target=period.sent.joint_pos_target,
        stamp_s=state.stamp_s,
        loop_latency_s=period.latency_s,
        overrun=period.overrun,
        safety_events=int(events),
    )
