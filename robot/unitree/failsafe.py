"""What the motors do when something goes wrong: a pure function (phase, events) -> phase, and the phase says what is sent.

    SINK -> IDLE                   SINK is how a stream begins
    SINK, IDLE -> FOLLOW <-> HOLD  FOLLOW passes on the control process's commands, HOLD repeats the last one while they are late
    any -> DAMPING                 latched, by a fault or by commands that stay away; a command without torque leads out, to IDLE

It runs beside the SDK, in a process of its own, and needs nobody: not the control process, a network, a log or a learner. Motors
that push nowhere cannot do harm, so in SINK and IDLE nothing latches until torque is asked for.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from robot.driver import DriverFault

HOLD_AFTER_S = 0.06  # three control periods without a new command
DAMP_AFTER_S = 0.15


class Phase(Enum):
    """What is sent to the motors."""

    IDLE = 0  # no torque
    FOLLOW = 1  # the newest command
    HOLD = 2  # the newest command, though it is late
    DAMPING = 3  # kp 0, kd as the supervisor's: the joints sink slowly
    SINK = 4  # the same, not latched: how a stream begins


RESTING = (Phase.SINK, Phase.IDLE)


class CommandSeen(Enum):
    """The newest command of the control process, as the motors' process sees it."""

    NONE = 0  # there has been none
    NO_TORQUE = 1  # fresh, and kp and kd are zero: PASSIVE, which after a stop only a person can ask for
    TORQUE = 2  # fresh
    LATE = 3  # not renewed for HOLD_AFTER_S
    LOST = 4  # not renewed for DAMP_AFTER_S


class Events(NamedTuple):
    """What was seen in one cycle of the command stream."""

    command: CommandSeen
    faults: DriverFault  # of now, not of the past
    sunk: bool  # whether a robot that stood when the stream began must lie by now


class Failsafe(NamedTuple):
    """The failsafe's state."""

    phase: Phase = Phase.IDLE
    cause: DriverFault = DriverFault(0)  # what latched DAMPING; 0 in every other phase


def advance(failsafe: Failsafe, events: Events) -> Failsafe:
    """The state after one cycle. Total: defined for every state and all events."""
    if failsafe.phase is Phase.DAMPING:
        return Failsafe() if events.command is CommandSeen.NO_TORQUE else failsafe
    rest = Failsafe(Phase.SINK) if failsafe.phase is Phase.SINK and not events.sunk else Failsafe()
    if events.command in (CommandSeen.NONE, CommandSeen.NO_TORQUE):
        return rest
    if failsafe.phase in RESTING and events.command is not CommandSeen.TORQUE:
        return rest
    lost = DriverFault.COMMAND_LOST if events.command is CommandSeen.LOST else DriverFault(0)
    if cause := events.faults | lost:
        return Failsafe(Phase.DAMPING, cause)
    return Failsafe(Phase.HOLD if events.command is CommandSeen.LATE else Phase.FOLLOW)


def command_seen(age_s: float | None, torque: bool) -> CommandSeen:
    """How a command of this age (s since it was first seen; None if there has been none) counts. An age that is no number is lost."""
    if age_s is None:
        return CommandSeen.NONE
    if not age_s < DAMP_AFTER_S:
        return CommandSeen.LOST
    if age_s >= HOLD_AFTER_S:
        return CommandSeen.LATE
    return CommandSeen.TORQUE if torque else CommandSeen.NO_TORQUE
