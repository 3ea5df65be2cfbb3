"""A double of the vendor's Python module `robot_interface` (unitree_legged_sdk 3.8) for a simulated robot.

The names and what they do are the vendor's, as far as robot/unitree uses them: LowCmd and LowState hold lists of 20 motors in the SDK's
order, Recv takes one datagram at most and keeps the answer before where a checksum fails, the robot answers whoever commanded it last and
holds its last command for ever. Behind `UDP` is a twin/robot_server.py instead of a Go1; the datagrams are our own (twin/wire.py).
"""

from __future__ import annotations

import enum
import socket

import numpy as np

from robot import go1
from twin import wire

_MOTORS = 20  # of which a Go1 has the first 12
_WATTS_PER_LEVEL = 100.0  # chosen: the vendor does not say; all twelve motors together, mechanical


class LeggedType(enum.Enum):
    """Robots that the SDK knows."""

    Aliengo = 0
    A1 = 1
    Go1 = 2
    B1 = 3


class MotorCmd:
    """What one motor is asked for: rad, rad/s, N m, N m / rad, N m s / rad."""

    def __init__(self) -> None:
        self.mode = 0
        self.q = self.dq = self.tau = self.Kp = self.Kd = 0.0


class MotorState:
    """What one motor measures: rad, rad/s, N m, degrees centigrade."""

    def __init__(self) -> None:
        self.mode = self.temperature = 0
        self.q = self.dq = self.tauEst = 0.0


class IMU:
    """Quaternion wxyz, rad/s, m/s^2."""

    def __init__(self) -> None:
        self.quaternion = [0.0] * 4
        self.gyroscope, self.accelerometer = [0.0] * 3, [0.0] * 3


class BmsState:
    """The battery; SOC in percent."""

    def __init__(self) -> None:
        self.SOC = 0


class LowState:
    """An answer of the robot; all zeros until the first."""

    def __init__(self) -> None:
        self.imu, self.bms = IMU(), BmsState()
        self.motorState = [MotorState() for _ in range(_MOTORS)]
        self.footForce = [0] * 4
        self.tick = 0
        self.wirelessRemote = [0] * 40


class LowCmd:
    """A command to the robot."""

    def __init__(self) -> None:
        self.motorCmd = [MotorCmd() for _ in range(_MOTORS)]


class Safety:
    """The vendor's protections."""

    def __init__(self, kind: LeggedType) -> None:
        if kind is not LeggedType.Go1:
            raise ValueError(f"the twin is a Go1, not {kind.name}")

    def PositionLimit(self, command: LowCmd) -> None:
        """Clip every target to the joint's range."""
        for motor, low, high in zip(command.motorCmd, _LOWER, _UPPER, strict=False):
            motor.q = min(max(motor.q, low), high)

    def PowerProtect(self, command: LowCmd, state: LowState, level: int) -> int:
        """Below zero, and no torque, where the motors together give more than level / 10 of full power."""
        motors = state.motorState[: go1.NUM_JOINTS]
        if sum(abs(motor.tauEst * motor.dq) for motor in motors) <= level * _WATTS_PER_LEVEL:
            return 0
        for motor in command.motorCmd:
            motor.Kp = motor.Kd = motor.tau = 0.0
        return -1


class UDP:
    """A connection; nothing in it waits."""

    def __init__(self, level: int, local_port: int, target_ip: str, target_port: int) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("", local_port))
        self._socket.setblocking(False)
        self._target = target_ip, target_port
        self._command = wire.pack(np.zeros((), dtype=wire.COMMAND))
        self._answer = np.zeros((), dtype=wire.STATE)

    def __del__(self) -> None:
        self._socket.close()

    def InitCmdData(self, command: LowCmd) -> None:
        """Set a command to nothing."""
        for motor in command.motorCmd:
            motor.__init__()  # type: ignore[misc]

    def SetSend(self, command: LowCmd) -> int:
        """Keep a command for the next Send."""
        record = np.zeros((), dtype=wire.COMMAND)
        for name in wire.COMMAND.names or ():
            record[name] = [getattr(motor, name) for motor in command.motorCmd[: go1.NUM_JOINTS]]
        self._command = wire.pack(record)
        return 0

    def Send(self) -> int:
        """Send it; what cannot be sent is lost."""
        try:
            return self._socket.sendto(self._command, self._target)
        except OSError:
            return -1

    def Recv(self) -> int:
        """Take the oldest datagram of those that have arrived; returns its size. One that is no sound answer is lost."""
        try:
            datagram = self._socket.recv(2048)
        except OSError:  # there is none, or the robot is off and its computer says so
            return 0
        answer = wire.unpack(datagram, wire.STATE)
        self._answer = self._answer if answer is None else answer
        return len(datagram)

    def GetRecv(self, state: LowState) -> None:
        """Copy the newest answer into `state`."""
        answer = self._answer
        for name in ("q", "dq", "tauEst", "temperature", "mode"):
            for motor, value in zip(state.motorState, answer[name].tolist(), strict=False):
                setattr(motor, name, value)
        imu = state.imu
        imu.quaternion, imu.gyroscope, imu.accelerometer = (answer[name].tolist() for name in ("quaternion", "gyroscope", "accelerometer"))
        state.footForce, state.wirelessRemote = answer["footForce"].tolist(), answer["wirelessRemote"].tolist()
        state.tick, state.bms.SOC = int(answer["tick"]), int(answer["SOC"])


_FROM_POLICY = go1.order_map(go1.JOINT_NAMES, go1.SDK_JOINT_NAMES)
_LOWER, _UPPER = go1.JOINT_POS_LOWER[_FROM_POLICY].tolist(), go1.JOINT_POS_UPPER[_FROM_POLICY].tolist()
