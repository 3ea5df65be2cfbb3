"""Who may move the motors and how: the modes of the robot, what latches it into damping, and the limits on every command.

    PASSIVE -> STAND -> READY -> POLICY      a stop leads from POLICY back to STAND
    any mode -> DAMPING                      latched; only `rearm()`, called by a person once it lies still, leads out, to PASSIVE

Pure: no input or output, and the clock is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntFlag

import numpy as np

from common.array_types import Float64Array
from common.errors import QuadloopError
from robot import go1
from robot.driver import JointCommand, RobotState
from robot.safety import (
    MAX_CLOCK_SKEW_S,
    MAX_OVERRUNS,
    MAX_STATE_AGE_S,
    LimitFlags,
    has_fallen,
    is_rotation,
    joints_plausible,
    limit_joint_pos_target,
)


class ModeError(QuadloopError):
    """A request that the robot's present mode does not allow."""


class Mode(Enum):
    """What the motors are doing."""

    PASSIVE = "passive"  # no torque
    STAND = "stand"  # moving to the default posture
    READY = "ready"  # holding the default posture
    POLICY = "policy"  # the policy acts
    DAMPING = "damping"  # latched: the joints sink slowly


class SafetyEvent(IntFlag):
    """What the supervisor saw or did in one tick; the bits of an episode log's `safety_events`."""

    # Reported: a limit changed the target, or a state came twice.
    POSITION_LIMIT = 1 << 0
    SLEW_LIMIT = 1 << 1
    TORQUE_LIMIT = 1 << 2
    REPEATED_STATE = 1 << 3
    # Latching: the robot is damped.
    NON_FINITE_ACTION = 1 << 8
    NON_FINITE_STATE = 1 << 9
    BROKEN_QUATERNION = 1 << 10  # not of length 1, such as the zeros of an IMU that has not started
    JOINT_OUT_OF_RANGE = 1 << 11  # a position or velocity that no Go1 can have
    STALE_STATE = 1 << 12  # too old, repeated for too long, from the future, or older than the one before
    TILT = 1 << 13
    ESTOP = 1 << 14
    FAULT = 1 << 15  # the control program itself failed
    DRIVER = 1 << 16  # the driver reports a fault (robot.driver.DriverFault) and damps by itself
    OVERRUN = 1 << 17  # the policy missed too many deadlines in a row


LATCHING = SafetyEvent(0x3FF00)


def event_names(events: SafetyEvent) -> str:
    """The events' names in a message, such as "TILT, ESTOP"."""
    return ", ".join(str(event.name) for event in SafetyEvent if event & events)


# What each mode may turn into on request. DAMPING is always allowed and never left on request.
TRANSITIONS: dict[Mode, frozenset[Mode]] = {
    Mode.PASSIVE: frozenset({Mode.STAND}),
    Mode.STAND: frozenset({Mode.READY}),
    Mode.READY: frozenset({Mode.STAND, Mode.POLICY}),
    Mode.POLICY: frozenset({Mode.STAND}),
    Mode.DAMPING: frozenset(),
}

# N m s / rad, chosen: ten times the walking gain, so that a standing robot sinks instead of dropping; not yet tried on a Go1.
DAMPING_KD = 5.0

# s of DAMPING before it may be re-armed. PASSIVE has no torque at all: a robot that still sinks would drop. On the twin's flat floor one
# that is re-armed 0.1, 0.3, 0.6, 1 and 1.5 s after a stop falls at up to 1.7, 1.5, 1.2, 0.5 and 0.04 m/s; from 1.8 s on it lies.
SINKING_S = 2.0


@dataclass(frozen=True)
class Decision:
    """What the supervisor allows for one control period."""

    mode: Mode
    command: JointCommand
    events: SafetyEvent  # of this period; in DAMPING also what latched it


class Supervisor:
    """Admits modes, watches the state, and limits every target. It cannot be switched off.

    kp and kd are the policy artifact's gains, N m / rad and N m s / rad, for STAND, READY and POLICY. PASSIVE has zero gains,
    DAMPING kp 0 and kd DAMPING_KD. All methods belong to the control thread, except `trip`, which any thread may call.
    """

    def __init__(self, kp: float, kd: float) -> None:
        self.kp, self.kd = kp, kd
        self._active_gains = _each_joint(kp), _each_joint(kd)
        self._passive_gains = _each_joint(0.0), _each_joint(0.0)
        self._damping_gains = _each_joint(0.0), _each_joint(DAMPING_KD)
        self._disarm()
        self._overruns = 0  # in a row
        self._previous_target: Float64Array = go1.DEFAULT_JOINT_POS

    @property
    def mode(self) -> Mode:
        """The present mode: DAMPING from the moment that anything latched it."""
        return Mode.DAMPING if self.cause else self._mode

    @property
    def sinking(self) -> bool:
        """Whether the robot is damped and may still be on its way down, so that `rearm` is refused. A robot that is silent may be, too."""
        return self.mode is Mode.DAMPING and self._damped_periods * go1.CONTROL_DT < SINKING_S

    def trip(self, event: SafetyEvent) -> None:
        """Latch DAMPING because of `event`. It takes effect with the next decision, and nothing but `rearm` undoes it."""
        self.cause |= event

    def rearm(self) -> None:
        """Leave DAMPING for PASSIVE. For a person who has looked at the robot; ModeError in any other mode, or while it sinks."""
        if self.mode is not Mode.DAMPING:
            raise ModeError(f"there is nothing to re-arm: the robot is {self.mode.value}, not damping")
        if self.sinking:
            raise ModeError(f"the robot may still be sinking: wait until it lies still, {SINKING_S:g} s after it was damped, then re-arm")
        self._disarm()

    def decide(self, state: RobotState, now: float, requested: Mode, propose: Callable[[Mode], Float64Array]) -> Decision:
        """Turn a state, the time `now` (s, the clock of state.stamp_s) and a requested mode into a command.

        A request that TRANSITIONS does not allow is ignored. `propose` gives the joint targets (12,) rad for the admitted mode;
        it is called only in STAND, READY and POLICY, and only for a state that passed every check.
        """
        events = self._watch(state, now)
        self._admit(requested, events)
        if self.mode in (Mode.PASSIVE, Mode.DAMPING):
            return self._decision(self._rest(state), events)
        target, flags = limit_joint_pos_target(
            propose(self.mode), self._previous_target, state.joint_pos, state.joint_vel, self.kp, self.kd, go1.CONTROL_DT
        )
        if flags.non_finite:
            self.trip(SafetyEvent.NON_FINITE_ACTION)
            target = self._rest(state)
        return self._decision(target, events | _limit_events(flags))

    def note_pace(self, overrun: bool) -> None:
        """Whether the period that has just ended missed its deadline: a policy that always does moves at half its rate, or slower."""
        self._overruns = self._overruns + 1 if overrun and self.mode is Mode.POLICY else 0
        if self._overruns >= MAX_OVERRUNS:
            self.trip(SafetyEvent.OVERRUN)

    def damping_command(self, state: RobotState | None = None) -> JointCommand:
        """The command of DAMPING, also where no decision can be made: the target is joint_pos if known, else the last one."""
        kp, kd = self._damping_gains
        return JointCommand(self._previous_target if state is None else self._rest(state), kp, kd)

    def _disarm(self) -> None:
        self.cause = SafetyEvent(0)  # what latched DAMPING; none means not latched
        self._mode = Mode.PASSIVE
        self._damped_periods = 0  # without a break, of a robot that answers; counted, so that no clock that jumps shortens the wait
        self._last_stamp_s = -math.inf
        self._repeats = 0

    @property
    def _answers(self) -> bool:
        """Whether states have not been the same for too long, by counted periods. A silent robot may still stand, by an earlier command."""
        return (self._repeats + 0.5) * go1.CONTROL_DT < MAX_STATE_AGE_S

    def _admit(self, requested: Mode, events: int) -> None:
        """Enter the requested mode if it may follow; latch if motors that move would meet a bad state."""
        if requested is Mode.DAMPING and self.mode is not Mode.DAMPING:  # what is damped already keeps its cause
            self.trip(SafetyEvent.ESTOP)
        if requested in TRANSITIONS[self.mode]:
            self._mode = requested
        if self._mode is not Mode.PASSIVE and events & LATCHING:
            self.trip(SafetyEvent(events & LATCHING))

    def _decision(self, target: Float64Array, events: int) -> Decision:
        self._previous_target = target
        mode = self.mode
        self._damped_periods = self._damped_periods + 1 if mode is Mode.DAMPING and self._answers else 0
        gains = {Mode.PASSIVE: self._passive_gains, Mode.DAMPING: self._damping_gains}.get(mode, self._active_gains)
        return Decision(mode, JointCommand(target, *gains), SafetyEvent(events | self.cause))

    def _rest(self, state: RobotState) -> Float64Array:
        """A target that asks for no motion: where the joints are, or the previous target where they are not known."""
        if not np.isfinite(state.joint_pos).all():
            return self._previous_target
        return np.clip(state.joint_pos, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER)

    def _watch(self, state: RobotState, now: float) -> int:
        """Events of one state: its stamp first, then its values, which are looked at only if they are numbers."""
        events = self._watch_stamp(state.stamp_s, now) | (SafetyEvent.DRIVER if state.faults else 0)
        if not all(all(map(math.isfinite, values.tolist())) for values in (state.joint_pos, state.joint_vel, state.quaternion_wxyz)):
            return events | SafetyEvent.NON_FINITE_STATE
        if not is_rotation(state.quaternion_wxyz.tolist()):
            events |= SafetyEvent.BROKEN_QUATERNION
        elif has_fallen(state.gravity_b):
            events |= SafetyEvent.TILT
        plausible = joints_plausible(state.joint_pos.tolist(), state.joint_vel.tolist())
        return events if plausible else events | SafetyEvent.JOINT_OUT_OF_RANGE

    def _watch_stamp(self, stamp_s: float, now: float) -> int:
        """The age by the caller's clock, and by counted ticks in case that clock is the state's own."""
        repeated = stamp_s == self._last_stamp_s
        self._repeats = self._repeats + 1 if repeated else 0
        in_time = -MAX_CLOCK_SKEW_S <= now - stamp_s <= MAX_STATE_AGE_S
        moving = stamp_s >= self._last_stamp_s and self._answers
        self._last_stamp_s = stamp_s
        events = int(SafetyEvent.REPEATED_STATE) if repeated else 0
        return events if in_time and moving else events | SafetyEvent.STALE_STATE


def _each_joint(gain: float) -> Float64Array:
    gains = np.full(go1.NUM_JOINTS, gain)
    gains.flags.writeable = False
    return gains


def _limit_events(flags: LimitFlags) -> int:
    acted = (
        (flags.position, SafetyEvent.POSITION_LIMIT), (flags.slew, SafetyEvent.SLEW_LIMIT), (flags.torque, SafetyEvent.TORQUE_LIMIT)
    )  # fmt: skip
    return sum(event for flag, event in acted if flag)
