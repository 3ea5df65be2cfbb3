"""Damps the motors if the command stream itself dies or freezes: the robot would hold the last command for ever.

    python -m robot.unitree.guardian FD MODULE IP PORT LOCAL_PORT POWER_LEVEL PARENT STREAM_FD

started by robot/unitree/driver.py beside the stream, which STREAM_FD is a pidfd of. It sleeps, with everything loaded, until the stream
has shown no sign of life for STALL_AFTER_S or is dead without having damped the motors; then it makes sure that the stream is dead,
takes its place and lets nothing but damping through.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from common.realtime import Priority, prioritise, spare_the_garbage_collector
from robot.driver import DriverError, DriverFault
from robot.unitree.command_stream import hushed, ignore_interrupts, stream
from robot.unitree.failsafe import Phase
from robot.unitree.link import Link
from robot.unitree.sdk_port import Address, SdkPort, load_sdk
from robot.unitree.watch import STALL_AFTER_S

LOOK_EVERY_S = 0.01


def must_take_over(link: Link, stream_fd: int, parent: int) -> bool:
    """Wait until the stream has ended; True if the motors need somebody, False if it left them damped as it should.

    A time in which the guardian was held up itself, as by a computer that sleeps, says nothing about the stream.
    """
    death = _death_of(stream_fd)
    number, silent_s, looked_s = 0, 0.0, time.monotonic()
    while not death.poll(LOOK_EVERY_S * 1e3):
        link.guardian_beats[0] += 1
        message, now = link.states.read(), time.monotonic()
        alive = message is None or message[0] != number  # or not begun yet
        silent_s = 0.0 if alive else silent_s + min(now - looked_s, 2 * LOOK_EVERY_S)
        number, looked_s = (0 if message is None else message[0]), now
        if silent_s > STALL_AFTER_S:
            return True
    message, command = link.states.read(), link.commands.read()
    if message is None:
        return False  # it never got to send anything
    ended = os.getppid() != parent or (command is not None and bool(command[1]["closing"]))
    phase = Phase(int(message[1]["phase"]))
    return not (ended and phase in (Phase.DAMPING, Phase.IDLE))


def _death_of(stream_fd: int) -> select.poll:
    """Of the process behind a pidfd, to be waited for; select.select would fail for a descriptor beyond 1023."""
    death = select.poll()
    death.register(stream_fd, select.POLLIN)
    return death


def main(arguments: list[str]) -> int:
    """The process."""
    fd, module, ip, port, local_port, power_level, parent, pidfd = arguments
    ignore_interrupts()
    try:
        link, sdk = Link(int(fd)), load_sdk(module)
    except (DriverError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    stream_fd = int(pidfd)
    prioritise(Priority.GUARDIAN)
    spare_the_garbage_collector()
    with hushed():  # already here: nothing that may fail comes between a dead stream and the motors
        if not must_take_over(link, stream_fd, int(parent)):
            return 0
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(stream_fd, signal.SIGKILL)
        _death_of(stream_fd).poll()  # its socket is free once it is gone
        connection = SdkPort(sdk, Address(ip, int(port), int(local_port)), int(power_level))
        stream(Link(int(fd)), connection, int(parent), DriverFault.DRIVER_LOST)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
