"""A simulated Go1 in a process of its own, in real time, behind a UDP port as the real one: it can be left, frozen and lied to.

    python -m twin.robot_server WORLD PORT SEED

It answers the last one that commanded it, at 500 Hz, and holds its last command for ever. On PORT + 1 it takes orders that a real robot
gets from the world (`Orders`: a hand that tips it over, a remote, an empty battery, a bad cable) and tells the truth about itself.
"""

from __future__ import annotations

import contextlib
import json
import select
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.realtime import Priority, prioritise
from robot import go1
from twin import wire
from twin.live import LiveTwin
from twin.pyrealsense2 import camera_faults
from twin.world import find_world

PERIOD_S = 0.002
GYRO_NOISE, ACCELEROMETER_NOISE = 0.005, 0.05  # rad/s and m/s^2, standard deviations, chosen: sensors that are never quite still
MAX_STEPS = 20  # physics steps at once after a hold-up; more time than this is lost
REMOTE_ON = (0x55, 0x51)
_B = 1 << 1
_TO_SDK = go1.order_map(go1.JOINT_NAMES, go1.SDK_JOINT_NAMES)  # SDK order = policy order[_TO_SDK]
_FROM_SDK = go1.order_map(go1.SDK_JOINT_NAMES, go1.JOINT_NAMES)
_FEET_TO_SDK = go1.order_map(go1.LEGS, go1.SDK_LEGS)
MODES = ("none", "torque", "damping")


@dataclass
class Orders:
    """What the world does to the robot and its cable; stays until it is ordered otherwise."""

    remote: bool = True  # switched on
    remote_stop: bool = False  # its B pressed
    battery_percent: int = 80
    temperature: int = 40  # of all motors, degrees centigrade
    overheated: bool = False  # one motor goes into the vendor's mode for that
    silent: bool = False  # no answers
    frozen: bool = False  # always the same answer
    stuck: bool = False  # its clock goes on, its sensors do not
    nan: bool = False  # answers with numbers that are none
    garbled: bool = False  # answers whose checksum fails
    restarted: bool = False  # the tick counts from zero again
    unpowered_imu: bool = False  # a quaternion of zeros
    camera: str = ""  # names of twin.pyrealsense2.Fault, separated by "|": what goes wrong with the camera on its back


@dataclass(frozen=True)
class Received:
    """From this time on the motors were commanded so."""

    stamp_s: float  # time.monotonic
    mode: str  # one of MODES
    port: int  # of the sender


class RobotServer:
    """The robot's motors, sensors and sockets. `turn` is one period."""

    def __init__(self, world: str, port: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._twin = LiveTwin(find_world(world), self._rng)
        self._motors, self._control = _bound(port), _bound(port + 1)
        self.orders = Orders()
        self._client: tuple[str, int] | None = None
        self._target, self._kp, self._kd = (np.zeros(go1.NUM_JOINTS) for _ in range(3))
        self._target_s = 0.0  # when a target last changed
        self.history: deque[Received] = deque(maxlen=1000)
        self._violations = 0
        self._started_s = self._simulated_s = time.monotonic()
        self._tick_zero_s = self._started_s - 1.0
        self._frozen = b""  # the newest answer
        self._record = np.zeros((), dtype=wire.STATE)

    def close(self) -> None:
        """Give the ports back."""
        self._motors.close()
        self._control.close()

    def turn(self, now: float) -> None:
        """Hear, move, answer."""
        self._take_commands(now)
        self._take_orders(now)
        self._move(now)
        if self._client is not None and not self.orders.silent:
            with contextlib.suppress(OSError):  # the client is gone; a robot does not mind
                self._motors.sendto(self._answer(now), self._client)

    def _take_commands(self, now: float) -> None:
        for datagram, sender in _arrived(self._motors):
            command = wire.unpack(datagram, wire.COMMAND)
            if command is None:
                continue
            self._client = sender
            target, kp, kd = (command[name][_FROM_SDK].astype(np.float64) for name in ("q", "Kp", "Kd"))
            self._violations += not _is_allowed(target, kp, kd)
            if not np.array_equal(target, self._target):
                self._target_s = now
            self._target, self._kp, self._kd = target, kp, kd
            mode = "torque" if kp.any() else "damping" if kd.any() else "none"
            if not self.history or (mode, sender[1]) != (self.history[-1].mode, self.history[-1].port):
                self.history.append(Received(now, mode, sender[1]))

    def _take_orders(self, now: float) -> None:
        for datagram, sender in _arrived(self._control):
            with contextlib.suppress(OSError):
                self._control.sendto(json.dumps(self._answer_to(datagram, now)).encode(), sender)

    def _answer_to(self, datagram: bytes, now: float) -> dict[str, Any]:
        """To an order: the truth, or why it is refused; with the order's `number`, so that the asker knows what it is an answer to."""
        number = None
        try:
            order = json.loads(datagram)
            number = order.pop("number", None)
            return self._obey(order, now) | {"number": number}
        except Exception as error:  # whatever was ordered, the robot goes on
            return {"error": str(error), "number": number}

    def _obey(self, order: dict[str, Any], now: float) -> dict[str, Any]:
        if "tip_over" in order:
            self._twin.tip_over(float(order.pop("tip_over")))
        if order.pop("lie_down", False):
            self._twin.lie_down()
        for name, value in order.items():
            if name not in vars(self.orders) or type(value) is not type(getattr(self.orders, name)):
                raise ValueError(f"no order '{name}' with the value {value!r}")
            if name == "camera":
                camera_faults(value)  # refused here: who looks at the robot could tell nobody
            setattr(self.orders, name, value)
        if order.get("restarted"):
            self._tick_zero_s = now
        return self._truth(now)

    def _truth(self, now: float) -> dict[str, Any]:
        state = self._twin.read()
        pose = {name: getattr(state, name).tolist() for name in ("base_pos_w", "quaternion_wxyz", "base_lin_vel_w", "base_ang_vel_b")}
        received = [asdict(entry) for entry in list(self.history)[-8:]]
        command = {"joint_pos_target": self._target.tolist(), "kp": self._kp.tolist(), "kd": self._kd.tolist()}
        return pose | command | {
            "now_s": now, "camera": self.orders.camera, "received": received,
            "target_changed_s": self._target_s, "violations": self._violations,
        }  # fmt: skip

    def _move(self, now: float) -> None:
        due = int((now - self._simulated_s) / go1.PHYSICS_DT)
        for _ in range(min(due, MAX_STEPS)):
            self._twin.step(np.clip(self._target, -10.0, 10.0), self._kp, self._kd)
        self._simulated_s += due * go1.PHYSICS_DT

    def _answer(self, now: float) -> bytes:
        orders = self.orders
        if orders.frozen and self._frozen:
            return self._frozen
        if not orders.stuck or not self._frozen:
            self._record = self._measured()
        self._record["tick"] = int((now - self._tick_zero_s) * 1e3)
        datagram = self._frozen = wire.pack(self._record)
        if orders.garbled:
            return datagram[:40] + bytes(byte ^ 0x5A for byte in datagram[40:])
        return datagram

    def _measured(self) -> NDArray[Any]:
        """An answer but for its tick."""
        state, orders = self._twin.read(), self.orders
        record = np.zeros((), dtype=wire.STATE)
        record["q"], record["dq"], record["tauEst"] = (each[_TO_SDK] for each in (state.joint_pos, state.joint_vel, state.joint_torque))
        record["temperature"], record["mode"] = orders.temperature, 0x0A
        if orders.overheated:
            record["mode"][0] = 0x08
        record["quaternion"] = 0.0 if orders.unpowered_imu else state.quaternion_wxyz
        noise = self._rng.standard_normal((2, 3))
        record["gyroscope"] = state.base_ang_vel_b + GYRO_NOISE * noise[0]
        record["accelerometer"] = state.accelerometer_b + ACCELEROMETER_NOISE * noise[1]
        record["footForce"] = np.clip(state.foot_force[_FEET_TO_SDK], 0, 32767)
        record["SOC"] = min(max(orders.battery_percent, 0), 100)
        if orders.remote:
            record["wirelessRemote"][:2], record["wirelessRemote"][3] = REMOTE_ON, _B if orders.remote_stop else 0
        if orders.nan:
            record["q"] = np.nan
        return record


def _bound(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind(("127.0.0.1", port))
    bound.setblocking(False)
    return bound


def _arrived(inbox: socket.socket) -> list[tuple[bytes, tuple[str, int]]]:
    datagrams = []
    with contextlib.suppress(OSError):
        while True:
            datagrams.append(inbox.recvfrom(4096))
    return datagrams


def _is_allowed(target: NDArray[np.float64], kp: NDArray[np.float64], kd: NDArray[np.float64]) -> bool:
    """Whether a command keeps to the Go1's limits: for the tests' sake, since a robot would obey."""
    stiff = kp > 0.0
    within = (target >= go1.JOINT_POS_LOWER - 1e-4) & (target <= go1.JOINT_POS_UPPER + 1e-4)  # float32 on the wire
    return bool((within | ~stiff).all() and np.isfinite(kp).all() and np.isfinite(kd).all())


def main(arguments: list[str]) -> int:
    """The process; runs until it is killed or its standard input ends."""
    world, port, seed = arguments
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    server = RobotServer(world, int(port), int(seed))
    prioritise(Priority.SIMULATED_ROBOT)  # a robot has a computer of its own
    print("ready", flush=True)
    owner = select.poll()
    owner.register(sys.stdin, select.POLLIN)
    deadline = time.monotonic()
    while not owner.poll(0):  # nobody writes to it: it speaks only when it ends
        now = time.monotonic()
        server.turn(now)
        deadline = max(deadline + PERIOD_S, now)
        time.sleep(max(0.0, deadline - time.monotonic()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
