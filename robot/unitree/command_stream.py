"""The process that streams commands to the motors at 500 Hz, whatever becomes of the process that decides them.

    python -m robot.unitree.command_stream FD MODULE IP PORT LOCAL_PORT POWER_LEVEL PARENT

started by robot/unitree/driver.py. Reads commands from the link and writes states to it; robot/unitree/failsafe.py decides. It ends after
a command that says `closing`, or some time after the control process died; with the motors damped, which they then stay, or at rest
without torque: the robot itself holds the last command that it got for ever. That is also why the stream begins with damping, for
SINKING_S: the robot may still stand by the last command of a stream that was killed. After that motors that never had torque get none:
until somebody asks for stiffness, asking for damping alone asks for nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.realtime import Priority, prioritise, spare_the_garbage_collector
from robot import go1
from robot.driver import NO_FAULT, DriverError, DriverFault
from robot.supervisor import DAMPING_KD, SINKING_S
from robot.unitree.failsafe import RESTING, CommandSeen, Events, Failsafe, Phase, advance, command_seen
from robot.unitree.link import STATE, Link
from robot.unitree.sdk_port import Address, SdkPort, load_sdk
from robot.unitree.watch import Watch

PERIOD_S = 0.002
LAST_WORDS_S = 0.1  # how long damping is repeated before the end: datagrams get lost
ORPHAN_S = 5.0  # how long damping goes on without a control process: until the robot lies
GUARDIAN_AFTER_S = 0.5  # without a sign of life of the guardian, which gives 100 a second
GAINS = ((0.0, 0.0), (0.0, DAMPING_KD), (go1.KP, go1.KD))  # N m / rad and N m s / rad of PASSIVE, of DAMPING, and of all other modes

_NONE = np.zeros(go1.NUM_JOINTS)
_DAMPING = np.full(go1.NUM_JOINTS, DAMPING_KD)


class CommandStream:
    """Cycles of the stream. `cycle` is one of them; the caller keeps time."""

    def __init__(self, link: Link, port: SdkPort) -> None:
        self._link, self._port = link, port
        self._watch = Watch()
        self.failsafe, self._had_torque = _left_behind(link)
        self._number = 0
        self._command: NDArray[Any] | None = None  # the newest that is sound
        self._command_s = 0.0  # when it was first seen
        self._state = np.zeros((), dtype=STATE)
        self._heard_s = math.inf  # when the robot first answered: not before can it sink
        self._cycles, self._late_cycles, self._longest_gap_s, self._last_s = 0, 0, 0.0, 0.0
        self._late_fault = NO_FAULT  # found while sending, after the failsafe of that cycle
        self._beats, self._beat_s = 0, -math.inf  # of the guardian

    @property
    def closing(self) -> bool:
        """Whether the control process said that this is the end."""
        return self._command is not None and bool(self._command["closing"])

    def cycle(self, now: float, boot_s: float, extra: DriverFault = NO_FAULT) -> None:
        """Receive, judge, send, tell. `now` and `boot_s`: see Watch.faults; `extra` are faults that the caller knows of."""
        reading = self._port.receive()
        moving = self.failsafe.phase in (Phase.FOLLOW, Phase.HOLD)
        guarded = self._guarded(now)
        faults = self._watch.faults(reading, now, boot_s, moving) | self._take_command(now) | self._late_fault | extra
        if not math.isnan(self._watch.stamp_s):
            self._heard_s = min(self._heard_s, now)
        if not (guarded or moving):  # a robot that walks is safer so than on its way down
            faults |= DriverFault.GUARDIAN_LOST
        self.failsafe = advance(self.failsafe, Events(self._seen(now), faults, now - self._heard_s >= SINKING_S))
        self._had_torque = self._had_torque or self.failsafe.phase not in RESTING
        self._late_fault = NO_FAULT if self._send() else DriverFault.POWER
        self._tell(reading, now, self.failsafe.cause or faults, guarded)

    def _guarded(self, now: float) -> bool:
        """Whether the guardian has shown a sign of life lately."""
        beats = int(self._link.guardian_beats[0])
        if beats != self._beats:
            self._beats, self._beat_s = beats, now
        return now - self._beat_s <= GUARDIAN_AFTER_S

    def _take_command(self, now: float) -> DriverFault:
        """Look into the mailbox; a command that is not sound is not taken."""
        message = self._link.commands.read(after=self._number)
        if message is None:
            return NO_FAULT
        number, command = message
        if not is_sound(command):
            return DriverFault.COMMAND_BROKEN
        self._number, self._command, self._command_s = number, command, now
        return NO_FAULT

    def _seen(self, now: float) -> CommandSeen:
        if self._command is None:
            return CommandSeen.NONE
        may_damp = self._had_torque or self.failsafe.phase is Phase.SINK
        torque = self._command["kp"].any() or (may_damp and self._command["kd"].any())
        return command_seen(now - self._command_s, bool(torque))

    def _send(self) -> bool:
        target, kp, kd = self._chosen()
        return self._port.send(target, kp, kd)

    def _chosen(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        phase, command = self.failsafe.phase, self._command
        if phase in (Phase.DAMPING, Phase.SINK):
            return _NONE, _NONE, _DAMPING
        if phase is Phase.IDLE or command is None:
            return _NONE, _NONE, _NONE
        return command["joint_pos_target"], command["kp"], command["kd"]

    def _tell(self, reading: NDArray[Any], now: float, faults: DriverFault, guarded: bool) -> None:
        state = self._state
        state["reading"], state["stamp_s"], state["beat_s"] = reading, self._watch.stamp_s, now
        state["phase"], state["faults"], state["guarded"] = self.failsafe.phase.value, int(faults), guarded
        state["had_torque"] = self._had_torque
        gap_s = now - self._last_s if self._cycles else 0.0
        self._late_cycles += gap_s > 2 * PERIOD_S
        self._longest_gap_s = max(gap_s, self._longest_gap_s)
        self._cycles, self._last_s = self._cycles + 1, now
        state["cycles"], state["late_cycles"], state["longest_gap_s"] = self._cycles, self._late_cycles, self._longest_gap_s
        self._link.states.write(state)


def _left_behind(link: Link) -> tuple[Failsafe, bool]:
    """How a stream begins, and whether the motors have had torque: who takes the place of one that died damps what had not come to rest."""
    message = link.states.read()
    if message is None:
        return Failsafe(Phase.SINK), False
    state = message[1]
    phase = Phase(int(state["phase"]))
    return Failsafe(phase) if phase in RESTING else Failsafe(Phase.DAMPING, DriverFault.DRIVER_LOST), bool(state["had_torque"])


def is_sound(command: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether COMMAND records (...) are of numbers, with targets within the joints' limits and the gains of a mode, for all joints alike.

    Written so that NaN is not sound.
    """
    target, kp, kd = command["joint_pos_target"], command["kp"], command["kd"]
    within = (target >= go1.JOINT_POS_LOWER - 1e-9) & (target <= go1.JOINT_POS_UPPER + 1e-9)
    known = np.any([(kp == stiffness).all(axis=-1) & (kd == damping).all(axis=-1) for stiffness, damping in GAINS], axis=0)
    return np.asarray(within.all(axis=-1) & known)


def stream(link: Link, port: SdkPort, parent: int, extra: DriverFault = NO_FAULT) -> None:
    """Cycle until the control process closes, or has been dead for ORPHAN_S. Ends with the motors damped, if they ever had torque.

    `parent` is the process id of the control process.
    """
    commands = CommandStream(link, port)
    deadline = time.monotonic()
    end_s: float | None = None
    while end_s is None or time.monotonic() < end_s:
        now, boot_s = time.monotonic(), time.clock_gettime(time.CLOCK_BOOTTIME)
        ending = commands.closing or os.getppid() != parent
        if ending and end_s is None:
            end_s = now + (LAST_WORDS_S if commands.closing else ORPHAN_S)
        commands.cycle(now, boot_s, extra if not ending else extra | DriverFault.COMMAND_LOST)
        deadline = max(deadline + PERIOD_S, now)  # what was missed is not caught up
        time.sleep(max(0.0, deadline - time.monotonic()))


def main(arguments: list[str]) -> int:
    """The process."""
    fd, module, ip, port, local_port, power_level, parent = arguments
    ignore_interrupts()
    try:
        link, sdk = Link(int(fd)), load_sdk(module)
        connection = SdkPort(sdk, Address(ip, int(port), int(local_port)), int(power_level))
    except (DriverError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    for refused in prioritise(Priority.COMMAND_STREAM):
        print(f"warning: {refused}", file=sys.stderr)
    spare_the_garbage_collector()
    with hushed():
        stream(link, connection, int(parent))
    return 0


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Nothing is kept of what the vendor's library complains of, perhaps 500 times a second for hours, nor of what it
    prints while it crashes; an exception that ends this is told again."""
    said, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(said, 2)
        os.close(said)
        os.close(nowhere)


def ignore_interrupts() -> None:
    """Ctrl-C and a polite kill reach the whole group of processes; those at the motors end when the control process has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
