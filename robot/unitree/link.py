"""What the control process, the command stream and its guardian tell each other: two mailboxes and a heartbeat in shared memory."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.array_types import Float64Array
from common.shared_block import Mailbox, SharedBlock
from robot import go1
from robot.driver import DriverFault, JointCommand, RobotState

_JOINTS = (go1.NUM_JOINTS,)

COMMAND = np.dtype([("joint_pos_target", "<f8", _JOINTS), ("kp", "<f8", _JOINTS), ("kd", "<f8", _JOINTS), ("closing", "<u4")])
"""robot.driver.JointCommand; `closing` says that no more will follow: damp and end."""

READING = np.dtype(
    [
        ("tick", "<u4"),  # the robot's own clock: ms, [sdk] comm.h of v3.8.6 (us in that of v3.8.0)
        ("joint_pos", "<f8", _JOINTS), ("joint_vel", "<f8", _JOINTS), ("joint_torque", "<f8", _JOINTS),
        ("quaternion_wxyz", "<f8", (4,)), ("gyro_b", "<f8", (3,)), ("accelerometer_b", "<f8", (3,)), ("foot_force", "<f8", (4,)),
        ("motor_temperature", "<i2", _JOINTS),  # degrees centigrade
        ("motor_mode", "u1", _JOINTS),  # 0x0A follows commands, 0x00 damps, 0x08 is overheated
        ("battery_percent", "u1"),
        ("remote", "u1", (40,)),
    ]
)  # fmt: skip
"""One answer of the robot, in the policy's joint order; otherwise as robot.driver.RobotState."""

STATE = np.dtype(
    [
        ("reading", READING),
        ("stamp_s", "<f8"),  # time.monotonic at which `reading` arrived; NaN while there was none
        ("beat_s", "<f8"),  # time.monotonic of this message: the stream's sign of life
        ("phase", "<u4"),  # robot.unitree.failsafe.Phase
        ("faults", "<u4"),  # what latched DAMPING, else what would if torque were asked for
        ("cycles", "<u8"),  # of the stream since its start
        ("late_cycles", "<u8"),  # that began more than a period late
        ("longest_gap_s", "<f8"),  # between two cycles, since the start
        ("guarded", "<u4"),  # whether the guardian lives
        ("had_torque", "<u4"),  # whether the motors have had any since the stream's start, damping too, but for that of Phase.SINK
    ]
)


class Link:
    """Both mailboxes. Each has one writer: the control process writes commands, the stream (or its guardian, after it) writes states.

    `guardian_beats` (1,) counts up as long as the guardian lives; 8 aligned bytes are written at once.
    """

    def __init__(self, fd: int | None = None) -> None:
        states, beats = Mailbox.size(COMMAND), Mailbox.size(COMMAND) + Mailbox.size(STATE)
        self.block = SharedBlock(beats + 8, fd)
        self.commands = Mailbox(self.block, COMMAND)
        self.states = Mailbox(self.block, STATE, offset=states)
        self.guardian_beats = self.block.array(np.dtype("<u8"), 1, offset=beats)


def command_record(command: JointCommand, closing: bool = False) -> NDArray[Any]:
    """`command` as it goes into the mailbox."""
    record = np.zeros((), dtype=COMMAND)
    record["joint_pos_target"], record["kp"], record["kd"], record["closing"] = command.joint_pos_target, command.kp, command.kd, closing
    return record


def robot_state(state: NDArray[Any]) -> RobotState:
    """What the control loop reads, from a STATE record."""

    def values(name: str) -> Float64Array:
        return np.array(state["reading"][name])

    return RobotState(
        float(state["stamp_s"]), values("joint_pos"), values("joint_vel"), values("joint_torque"), values("quaternion_wxyz"),
        values("gyro_b"), values("accelerometer_b"), values("foot_force"), DriverFault(int(state["faults"])),
    )  # fmt: skip
