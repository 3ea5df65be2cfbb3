"""What the operating system can do for a process that must not be late; what it refuses is told, and the process runs without."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from enum import IntEnum

_LOCK = 1 | 2 | 4  # MCL_CURRENT, MCL_FUTURE, MCL_ONFAULT: what is in memory stays there, but a thread's unused stack is not fetched


_SWITCH_INTERVAL_S = 1e-4  # how long another thread may keep Python's lock from the control loop; Python's own is fifty times that


class Priority(IntEnum):
    """Who goes before whom (SCHED_FIFO); everything that does not matter to a robot comes after all of them."""

    GUARDIAN = 85
    COMMAND_STREAM = 80
    CONTROL = 70
    SIMULATED_ROBOT = 65
    CONTROL_PROCESS = 60  # the other threads beside the control loop: it waits for Python's lock, which one of them may hold


def prioritise(priority: Priority, with_heirs: bool = False) -> list[str]:
    """Run this thread before everything of lower priority, with its memory locked; returns what was refused.

    Threads and processes that it starts have ordinary priority, unless `with_heirs`.
    """
    refused = []
    policy = os.SCHED_FIFO if with_heirs else os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    try:
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    except OSError as error:
        refused.append(f"no real-time priority ({error.strerror}); allow it with: ulimit -r 99")
    if ctypes.CDLL(None, use_errno=True).mlockall(_LOCK) != 0:
        refused.append(f"memory not locked ({os.strerror(ctypes.get_errno())}); allow it with: ulimit -l unlimited")
    return refused


def prepare_control_process() -> list[str]:
    """For the first lines of a program that controls a robot, before it starts threads; returns what was refused."""
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    return prioritise(Priority.CONTROL_PROCESS, with_heirs=True)


def be_ordinary() -> None:
    """Give up a priority that was inherited: for a process that the robot can do without."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def spare_the_garbage_collector() -> None:
    """Take everything that exists from the garbage collector's rounds: what is left to go through takes microseconds.

    For the moment when set-up is over and the loop begins. What an earlier set-up left behind is collected first.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
