"""One episode, from standing up to standing still: how every stage, the twin and the robot collect data.

Row t of the log is completed in period t + 1, when it is known what the action led to: its reward, its velocity and whether it
ended the episode. Everything but reading and stepping happens after the command is on its way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float32Array, Float64Array
from common.errors import ConfigError
from robot import go1
from robot.command import VELOCITY, at_rest
from robot.control_cycle import ControlCycle, Period
from robot.control_loop import MAX_SAG, STAND_TIME_S, Tick, furthest_joint
from robot.driver import NO_FAULT, DriverFault, fault_names
from robot.log.episode import END_FALL, END_OPERATOR, END_SAFETY, END_TIME_LIMIT
from robot.log.episode_fields import EpisodeStep
from robot.reward import WEIGHTS, reward_terms, total_reward
from robot.supervisor import LATCHING, Mode, ModeError, SafetyEvent, event_names

VELOCITY_TERMS = ("lin_vel_xy", "ang_vel_z", "lin_vel_z")
LONGEST_S = 600.0  # of an episode in real time: what closes its log holds all of it in memory, several times: 200 MB
LONGEST_STEPS = round(LONGEST_S / go1.CONTROL_DT)
STOP_S = 1.0  # a robot that runs and is made to stand at once trips over its own legs
STOP_STEPS = round(STOP_S / go1.CONTROL_DT)
STAND_STEPS = round((STAND_TIME_S + 2.0) / go1.CONTROL_DT)  # until it is clear that a robot does not get to its posture


def _never() -> bool:
    return False


class EpisodeSink(Protocol):
    """Where an episode's rows go: robot.log.episode_log.EpisodeWriter, or robot.log.recorder.Recording, which never waits for the disk."""

    def append(self, step: EpisodeStep) -> None:
        """Add one row."""

    def close(self, ended: str, final_observation: NDArray[np.floating[Any]]) -> object:
        """The episode is over: see EpisodeWriter.close."""


@dataclass(frozen=True)
class EpisodePlan:
    """How long, what the robot is told, and when the operator has had enough."""

    max_steps: int  # control steps of the policy
    command_at: Callable[[int], Float64Array]  # unscaled command (15,) for control step 0, 1, ...; after `walking_steps` at rest
    should_stop: Callable[[], bool] = _never  # asked before every step; True ends the episode by the operator, once it has slowed down

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"an episode has at least 1 step, not {self.max_steps}")

    @property
    def walking_steps(self) -> int:
        """Control steps before the robot is slowed down: all but the last second, or all but the last quarter of a short episode."""
        return self.max_steps - min(STOP_STEPS, self.max_steps // 4)


class ThrownOverError(ModeError):
    """A robot that tilted so far that it was damped before it stood, and for no other reason."""


class HeldBackError(ModeError):
    """A robot with a joint that does not get to where it stands: something is in its way, or a motor is too weak."""


@dataclass(frozen=True)
class EpisodeSummary:
    """What came of an episode."""

    steps: int
    episode_return: float  # sum of the rewards
    distance_m: float  # sum of the forward velocity times the control period, over the steps whose velocity is valid
    ended: str  # one of robot.log.episode's reasons
    events: SafetyEvent  # everything that happened while the policy acted, and what ended it
    invalid_velocity: int  # steps whose reward lacks the velocity
    overruns: int  # steps that missed their deadline
    fell_settling: bool  # whether it fell after the policy had ended, on its way to standing still; `ended` and the log do not tell
    faults: DriverFault  # what the driver reported if the robot was damped, while the policy acted or while it settled
    falls_standing: int = 0  # times that it fell over on its way up, before the attempt that this tells of

    @property
    def fell(self) -> bool:
        """Whether the robot fell, while the policy acted or while it settled."""
        return self.ended == END_FALL or self.fell_settling

    @property
    def line(self) -> str:
        """What a person is told."""
        why = ", ".join(filter(None, (event_names(self.events & LATCHING), fault_names(self.faults))))
        told = f"{self.steps} steps, {self.distance_m:.2f} m, return {self.episode_return:.2f}, ended by {self.ended}"
        told += f" ({why})" if why else ""
        reported = event_names(self.events & ~LATCHING)
        return f"{told}; on the way {reported}" if reported else told


def run_episode(cycle: ControlCycle, plan: EpisodePlan, log: EpisodeSink | None) -> EpisodeSummary:
    """Stand up unless READY, let the policy act for up to plan.max_steps, stand still again; only the policy's steps are logged.

    The robot is slowed down before it must stand, whatever the plan commands.
    The driver is connected. Ends READY, DAMPING after a fall or a safety stop, or STAND where a joint is held back. The log is closed;
    where no step was made, there is none.
    `log` is one that the caller has entered. ModeError if the robot is not PASSIVE, STAND or READY, or cannot stand up.
    On any exception the robot is damped, the log stays a `.part`, and the exception goes on.
    """
    loop = cycle.loop
    if loop.mode in (Mode.DAMPING, Mode.POLICY):
        raise ModeError(f"an episode cannot begin while the robot is {loop.mode.value} ({event_names(loop.supervisor.cause) or 'busy'})")
    episode = _Episode(cycle, log)
    try:
        stand_up(cycle)
        ended = episode.act(plan)
        fell_settling = episode.settle()
        if log is not None and episode.steps:
            log.close(ended, episode.final_observation)
    except BaseException:
        cycle.damp()
        raise
    return episode.summary(ended, fell_settling)


def stand_up(cycle: ControlCycle) -> None:
    """Turn the cycle until the robot stands and holds; from READY there is nothing to do.

    ModeError if it may not or cannot stand up, ThrownOverError if it fell over on the way, HeldBackError, in STAND, after STAND_STEPS.
    """
    loop = cycle.loop
    if loop.mode is Mode.READY:
        return
    if loop.mode is not Mode.STAND:
        loop.request_stand()
    for _ in range(STAND_STEPS):
        period = cycle.turn()
        cycle.wait()
        if loop.mode is Mode.DAMPING:
            cause = loop.supervisor.cause
            kind = ThrownOverError if cause & LATCHING == SafetyEvent.TILT else ModeError
            raise kind(f"the robot could not stand up ({event_names(cause)}); see to it, then re-arm")
        if period.tick.mode is Mode.READY:
            return
    joint, off = furthest_joint(period.state.joint_pos)
    raise HeldBackError(f"the robot does not stand: {joint} is {off:.2f} rad from where it should be, more than {MAX_SAG:g}; see to it")


class _Episode:
    """The periods of one episode and what they add up to."""

    def __init__(self, cycle: ControlCycle, log: EpisodeSink | None) -> None:
        self._cycle, self._loop, self._log = cycle, cycle.loop, log
        self.final_observation: Float32Array = np.zeros(0, dtype=np.float32)  # (5, 58) once the policy has ended
        self.steps = 0
        self._last_action: Float32Array = np.zeros(go1.NUM_JOINTS, dtype=np.float32)
        self._return, self._distance_m, self._events, self._invalid, self._overruns = 0.0, 0.0, SafetyEvent(0), 0, 0

    def act(self, plan: EpisodePlan) -> str:
        """Let the policy act; returns why it ended."""
        self._loop.request_start()
        previous: Period | None = None
        stopped, rested = False, STOP_STEPS  # so many steps it has been told to stay where it is
        for step in range(plan.max_steps + 1):
            stopped = stopped or plan.should_stop()
            if step == plan.max_steps or (stopped and rested >= STOP_STEPS):
                self._loop.request_stop()
            else:
                command = plan.command_at(step)
                self._loop.command = at_rest(command) if stopped or step >= plan.walking_steps else command
                rested = 0 if self._loop.command[VELOCITY].any() else rested + 1
            period = self._cycle.turn()
            if previous is not None:
                self._complete(previous, period)
            if period.tick.mode is not Mode.POLICY:
                break
            period.overrun = self._cycle.wait()
            previous = period
        if period.tick.mode is Mode.DAMPING:
            self._events |= period.tick.events  # also where there was no step to complete
        self.final_observation = period.tick.act.observation
        return _why_ended(period.tick, stopped)

    def settle(self) -> bool:
        """Wait until the robot stands still, STAND_STEPS at most, unless it is damped already; returns whether it fell meanwhile."""
        if self._loop.mode is Mode.DAMPING:
            return False
        for _ in range(STAND_STEPS):
            if self._loop.mode is not Mode.STAND:
                break
            self._cycle.wait()
            self._cycle.turn()
        return bool(self._loop.supervisor.cause & SafetyEvent.TILT)

    def summary(self, ended: str, fell_settling: bool) -> EpisodeSummary:
        """What the completed steps add up to."""
        state, damped = self._cycle.state, self._loop.mode is Mode.DAMPING
        return EpisodeSummary(
            self.steps, self._return, self._distance_m, ended, self._events, self._invalid, self._overruns, fell_settling,
            faults=state.faults if damped and state is not None else NO_FAULT,
        )  # fmt: skip

    def _complete(self, period: Period, after: Period) -> None:
        """Turn a period of the policy into a row, now that the state after its action is known."""
        reward, terms = _reward(period, after, self._last_action)
        damped = after.tick.mode is Mode.DAMPING
        events = period.tick.events | (after.tick.events if damped else SafetyEvent(0))
        if self._log is not None:
            self._log.append(_row(period, reward, terms, events))
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


def _reward(period: Period, after: Period, last_action: Float32Array) -> tuple[float, Float64Array]:
    """Reward and its terms (7,). Velocity terms are NaN where the velocity is not valid; what is not finite adds nothing to the reward."""
    # More than a control period where a beat was missed. Never less: the cycle turns once a period, but a stamp says when the robot
    # answered, and where that was late or came twice, a difference of milliseconds would blow the acceleration up.
    passed_s = max(go1.CONTROL_DT, after.state.stamp_s - period.state.stamp_s)  # in this order a NaN counts as one period
    joint_acc = (after.state.joint_vel - period.state.joint_vel) / passed_s
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


def _row(period: Period, reward: float, terms: Float64Array, events: SafetyEvent) -> EpisodeStep:
    """Observation, action, state, velocity and command of `period`; the reward was measured one step later.

    terminated and truncated follow from why the episode ended and are set by EpisodeWriter.close.
    """
    state, act = period.state, period.tick.act
    with np.errstate(over="ignore"):  # the penalty of a broken reading becomes infinity
        logged_terms = terms.astype(np.float32)
    return EpisodeStep(
        observations=act.observation,
        actions=act.action,
        action_mean=act.action_mean,
        log_prob=act.log_prob,
        rewards=reward,
        reward_terms=logged_terms,
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
