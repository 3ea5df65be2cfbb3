"""A simulated Go1 to connect to: starts twin/robot_server.py, gives it orders, and tells what it received."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from common.child_process import last_line, start_module
from robot.driver import DriverError
from robot.unitree.driver import Go1Config
from robot.unitree.sdk_port import Address
from twin.world import WORLDS, find_world

SDK_DOUBLE = "twin.robot_interface"
START_TIMEOUT_S = 30.0  # for Python to start, with the physics engine, on a busy machine
ANSWER_TIMEOUT_S = 0.25


class Control:
    """What the world does to the robot on this port, and the truth about it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(("127.0.0.1", port))
        self._socket.settimeout(ANSWER_TIMEOUT_S)
        self._number = 0

    def order(self, **orders: Any) -> dict[str, Any]:
        """Change fields of twin.robot_server.Orders, or `tip_over` (rad), `lie_down`; returns the truth: see RobotServer.

        DriverError if the robot refuses or does not answer.
        """
        self._number += 1
        for _ in range(3):  # a datagram may be lost, and an order may be given twice
            try:
                self._socket.send(json.dumps(orders | {"number": self._number}).encode())
                answer = self._answer()
            except OSError:
                continue
            if "error" in answer:
                raise DriverError(f"the simulated robot refuses: {answer['error']}")
            return answer
        raise DriverError("the simulated robot does not answer")

    def _answer(self) -> dict[str, Any]:
        """The answer to the newest order, past those that came too late for an earlier one."""
        while True:
            answer: dict[str, Any] = json.loads(self._socket.recv(65536))
            if answer.get("number") == self._number:
                return answer

    def close(self) -> None:
        """Idempotent."""
        self._socket.close()


class RobotProcess:
    """A robot on its belly in `world` (a name or a YAML file), in real time, in a process of its own. Close it, or leave the context."""

    def __init__(self, world: str = "flat", seed: int = 0) -> None:
        """WorldError if there is no such world, DriverError if the robot does not start."""
        self.world = find_world(world)
        if world not in WORLDS:
            world = str(Path(world).absolute())  # the process runs elsewhere
        port, local_port = _free_ports()
        self.config = Go1Config(Address("127.0.0.1", port, local_port), module=SDK_DOUBLE)
        pipe = subprocess.PIPE
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  kept open as long as the process writes to it
        self._process = start_module("twin.robot_server", [world, port, seed], orders=pipe, output=pipe, complaints=self._complaints)
        self._control = Control(port + 1)
        self._await_ready()

    @property
    def pid(self) -> int:
        """The robot's process id."""
        return self._process.pid

    @property
    def camera(self) -> str:
        """What robot.velocity.t265_process.T265Process takes for the camera on this robot's back."""
        return f"twin.robot_camera:camera_at:{self.config.address.port + 1}"

    def order(self, **orders: Any) -> dict[str, Any]:
        """See Control.order."""
        return self._control.order(**orders)

    def truth(self) -> dict[str, Any]:
        """Its true pose, what its motors were commanded last, and the last changes of that.

        `joint_pos_target`, `kp`, `kd` in the policy's joint order; `received` (stamp_s, mode, port), oldest first.
        """
        return self.order()

    def close(self) -> None:
        """Switch the robot off. Idempotent."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._complaints):
            if file is not None:
                file.close()
        self._control.close()

    def _await_ready(self) -> None:
        said = self._process.stdout
        in_time = said is not None and bool(select.select([said], [], [], START_TIMEOUT_S)[0])
        if said is not None and in_time and said.readline().strip() == b"ready":
            return
        complaint = last_line(self._complaints) or "it said nothing"
        self.close()
        late = "" if in_time else f" within {START_TIMEOUT_S:g} s"
        raise DriverError(f"the simulated robot did not start{late}: {complaint}")

    def __enter__(self) -> RobotProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free_ports() -> tuple[int, int]:
    """A port whose successor is free too, for the robot, and one for its client."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as first, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as second:
            first.bind(("127.0.0.1", 0))
            port = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as third:
                third.bind(("", 0))
                return port, third.getsockname()[1]
