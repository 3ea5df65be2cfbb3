"""The driver of a real Go1: starts the command stream and its guardian, and exchanges states and commands with them."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.child_process import last_line, start_module
from robot import go1
from robot.driver import DriverError, DriverStatus, JointCommand, RobotState
from robot.supervisor import DAMPING_KD
from robot.unitree.exclusive import Exclusive
from robot.unitree.failsafe import Phase
from robot.unitree.link import Link, command_record, robot_state
from robot.unitree.sdk_port import VENDOR_MODULE, Address

START_TIMEOUT_S = 15.0  # of the processes at the motors: a third of a second, on a computer that is not busy
ANSWER_TIMEOUT_S = 3.0  # of the robot
CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Go1Config:
    """How to reach the robot and how strong it may be."""

    address: Address = field(default_factory=Address)
    """the motor controller"""
    power_level: int = 5
    """the vendor's power protection, in tenths of full power, 1 to 10"""
    module: str = VENDOR_MODULE
    """the SDK's Python module; twin.robot_interface has the same names and drives a simulated robot"""

    def __post_init__(self) -> None:
        if not 1 <= self.power_level <= 10:
            raise DriverError(f"the power level is {self.power_level}; it must be 1 to 10")


class Go1Driver:
    """A RobotDriver (robot.driver) over unitree_legged_sdk. One at a time for a robot: a second one's `connect` is refused."""

    def __init__(self, config: Go1Config) -> None:
        self.config = config
        self._link: Link | None = None
        self._stream: subprocess.Popen[bytes] | None = None
        self._guardian: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._lock = Exclusive(f"go1-{config.address.ip}-{config.address.port}")

    def connect(self) -> None:
        """Start the processes at the motors; returns once the robot has answered.

        The motors are damped for SINKING_S, in case the robot still stands by an earlier command; then they have no torque.
        """
        self._lock.acquire()
        try:
            self._start()
            self._await_answer()
        except BaseException:
            self.close()
            raise

    def read(self) -> RobotState:
        """The newest state; DriverError while there is none. A stream that died shows by the state's age and `faults`."""
        return robot_state(self._newest())

    def write(self, command: JointCommand) -> JointCommand:
        """Hand the command to the stream, which sends it until the next; a target that is not a number is refused with DriverError.

        The answer is what was handed over. While the stream damps by itself (`status.phase`) the motors get that instead.
        """
        if not all(all(map(math.isfinite, part.tolist())) for part in (command.joint_pos_target, command.kp, command.kd)):
            raise DriverError("the joint command holds a value that is not a number; nothing was sent")
        self._connected().commands.write(command_record(command))
        return command

    @property
    def status(self) -> DriverStatus:
        """How the command stream is doing; DriverError while there is no state."""
        state = self._newest()
        return DriverStatus(
            Phase(int(state["phase"])), int(state["reading"]["battery_percent"]), int(state["reading"]["motor_temperature"].max()),
            int(state["cycles"]), int(state["late_cycles"]), float(state["longest_gap_s"]), bool(state["guarded"]),
        )  # fmt: skip

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of "stream" and "guardian", for whoever wants to kill them."""
        return {name: process.pid for name, process in self._processes()}

    def close(self) -> None:
        """Damp the motors and end the processes. Idempotent. Motors that never had torque are left without, if SINKING_S are over."""
        if self._link is not None:
            damping = JointCommand(go1.DEFAULT_JOINT_POS, np.zeros(go1.NUM_JOINTS), np.full(go1.NUM_JOINTS, DAMPING_KD))
            self._link.commands.write(command_record(damping, closing=True))
        for _, process in self._processes():
            try:
                process.wait(CLOSE_TIMEOUT_S)
            except subprocess.TimeoutExpired:  # the guardian takes over from a stream that is killed
                process.kill()
                process.wait()
        self._stream = self._guardian = None
        if self._complaints is not None:
            self._complaints.close()
        if self._link is not None:
            self._link.block.close()
        self._link = self._complaints = None
        self._lock.release()

    def _start(self) -> None:
        config, address, link = self.config, self.config.address, Link()
        self._link, self._complaints = link, tempfile.TemporaryFile()  # noqa: SIM115  kept open as long as the processes write to it
        place = [address.ip, address.port, address.local_port]
        shared = [link.block.fd, config.module, *place, config.power_level, os.getpid()]
        self._stream = self._process("robot.unitree.command_stream", shared)
        try:
            stream_fd = os.pidfd_open(self._stream.pid)  # now, while its pid is sure to be its own
        except OSError as error:
            raise DriverError(f"the stream cannot be watched over ({error.strerror}); it ends with the motors damped") from error
        try:
            self._guardian = self._process("robot.unitree.guardian", [*shared, stream_fd], stream_fd)
        finally:
            os.close(stream_fd)

    def _process(self, module: str, arguments: list[Any], *files: int) -> subprocess.Popen[bytes]:
        """A process that sees the link and keeps the lock. What the vendor's library prints, at 500 Hz perhaps, is not kept."""
        link, lock = self._connected(), self._lock
        return start_module(module, arguments, (link.block.fd, lock.fd, *files), complaints=self._complaints)

    def _await_answer(self) -> None:
        """Returns once both processes live and the robot has answered; the robot's time begins when they are there to hear it."""
        link, start_s, up_s = self._connected(), time.monotonic(), math.inf
        while True:
            message, now = link.states.read(), time.monotonic()
            if message is not None and message[1]["guarded"]:
                if np.isfinite(message[1]["stamp_s"]):
                    return
                up_s = min(up_s, now)
            for name, process in self._processes():
                if process.poll() is not None:
                    raise DriverError(f"the {name} ended at once: {self._complaint()}")
            if now - up_s > ANSWER_TIMEOUT_S:
                address = f"{self.config.address.ip}:{self.config.address.port}"
                raise DriverError(f"the Go1 at {address} does not answer; check the cable and that the robot is in low-level mode")
            if up_s == math.inf and now - start_s > START_TIMEOUT_S:
                raise DriverError(f"the processes at the motors do not start within {START_TIMEOUT_S:g} s; is this computer too busy?")
            time.sleep(0.01)

    def _complaint(self) -> str:
        """The last line that the processes printed."""
        return (last_line(self._complaints) if self._complaints is not None else "") or "it said nothing"

    def _newest(self) -> NDArray[Any]:
        message = self._connected().states.read()
        if message is None:
            raise DriverError("the robot has not answered yet")
        return message[1]

    def _connected(self) -> Link:
        if self._link is None:
            raise DriverError("the driver is not connected; call connect() first")
        return self._link

    def _processes(self) -> list[tuple[str, subprocess.Popen[bytes]]]:
        named = (("stream", self._stream), ("guardian", self._guardian))
        return [(name, process) for name, process in named if process is not None]

    def __enter__(self) -> Go1Driver:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
