"""The border to the vendor's SDK (unitree_legged_sdk 3.8.6, module `robot_interface`): its names, its joint order, its units.

The module is named, not imported, so that a double with the vendor's names (twin/robot_interface.py) can stand in: everything on this
side of the names runs in tests as it runs on the robot.
"""

from __future__ import annotations

import importlib
import ipaddress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.extras import BY_HAND
from robot import go1
from robot.driver import DriverError
from robot.unitree.link import READING

VENDOR_MODULE = "robot_interface"
LOWLEVEL = 0xFF  # [sdk] comm.h
SERVO, OVERHEATED = 0x0A, 0x08  # [sdk] comm.h, a motor's mode
POS_STOP, VEL_STOP = 2.146e9, 16000.0  # [sdk] comm.h: no position, no velocity is asked for
MAX_RECEIVES = 8  # a cycle, in which a robot sends one: enough to catch up 50 ms in four cycles, too few for a flood to hold a cycle up
TICKS = 2**32  # of the robot's clock, ms, which then begins anew: after 50 days
OVERTAKEN_MS = 100  # most that an answer is older than one that came before it by another way; a clock that began anew is further back
_FROM_SDK = go1.order_map(go1.SDK_JOINT_NAMES, go1.JOINT_NAMES)  # policy order = SDK order[_FROM_SDK]
_FEET_FROM_SDK = go1.order_map(go1.SDK_LEGS, go1.LEGS)


@dataclass(frozen=True)
class Address:
    """Where the robot is, from the point of view of the computer that runs the SDK."""

    ip: str = "192.168.123.10"  # [sdk] udp.h: the motor controller
    port: int = 8007
    local_port: int = 8080

    def __post_init__(self) -> None:
        """DriverError unless the address is spelt in the one way that every lock of its robot has in its name."""
        try:
            ipaddress.IPv4Address(self.ip)
        except ValueError:
            raise DriverError(f"the robot's address is '{self.ip[:40]}'; give four numbers, as in {Address.ip}") from None


def load_sdk(module: str) -> Any:
    """The SDK's module; DriverError with what to do if there is none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DriverError(f"the module {module} cannot be imported ({error}); {BY_HAND[VENDOR_MODULE]}") from error


class SdkPort:
    """One open connection to the motors. `power_level` 1 to 10 is the vendor's power protection, in tenths of full power."""

    def __init__(self, sdk: Any, address: Address, power_level: int) -> None:
        self._power_level = power_level
        self._udp = sdk.UDP(LOWLEVEL, address.local_port, address.ip, address.port)
        self._safety = sdk.Safety(sdk.LeggedType.Go1)
        self._command, self._state = sdk.LowCmd(), sdk.LowState()
        self._udp.InitCmdData(self._command)
        # The wrapper makes a list at every access, but of the same motors.
        motors, feelers = self._command.motorCmd, self._state.motorState
        self._motors = [motors[index] for index in _FROM_SDK]
        self._feelers = [feelers[index] for index in _FROM_SDK]
        self._reading: NDArray[Any] | None = None  # the newest

    def receive(self) -> NDArray[Any]:
        """The newest whole answer (READING). The SDK drops what fails its checksum; then this is the answer before, its tick too, as it
        is where one came last that another had overtaken.

        Recv takes one datagram at most and waits for none. Taken one a cycle, those that a hold-up left waiting would stay ahead of all
        later ones.
        """
        for _ in range(MAX_RECEIVES):
            tick = self._state.tick
            self._udp.Recv()
            self._udp.GetRecv(self._state)
            if self._state.tick == tick:
                break
        if self._reading is None or not was_overtaken(self._state.tick, int(self._reading["tick"])):
            self._reading = self._read()
        return self._reading

    def _read(self) -> NDArray[Any]:
        state, imu, feelers = self._state, self._state.imu, self._feelers
        reading = np.zeros((), dtype=READING)
        reading["tick"] = state.tick
        reading["joint_pos"] = [motor.q for motor in feelers]
        reading["joint_vel"] = [motor.dq for motor in feelers]
        reading["joint_torque"] = [motor.tauEst for motor in feelers]
        reading["quaternion_wxyz"], reading["gyro_b"], reading["accelerometer_b"] = imu.quaternion, imu.gyroscope, imu.accelerometer
        reading["foot_force"] = np.asarray(state.footForce)[_FEET_FROM_SDK]
        reading["motor_temperature"] = [motor.temperature for motor in feelers]
        reading["motor_mode"] = [motor.mode for motor in feelers]
        reading["battery_percent"] = state.bms.SOC
        reading["remote"] = state.wirelessRemote
        return reading

    def send(self, target: NDArray[np.float64], kp: NDArray[np.float64], kd: NDArray[np.float64]) -> bool:
        """Send targets (12,) rad and gains (12,) N m / rad, N m s / rad; False if the vendor's protection stepped in.

        A joint without stiffness is asked for no position, so that its target cannot matter. Where none has any the protection of power,
        which would take the damping too, is not asked: damping takes energy out of a robot and is what all else falls back to.
        """
        for motor, q, stiffness, damping in zip(self._motors, target.tolist(), kp.tolist(), kd.tolist(), strict=True):
            motor.mode = SERVO
            motor.q = q if stiffness > 0.0 else POS_STOP
            motor.dq = 0.0 if damping > 0.0 else VEL_STOP
            motor.Kp, motor.Kd, motor.tau = stiffness, damping, 0.0
        self._safety.PositionLimit(self._command)
        stiff = bool((kp > 0.0).any())
        allowed = not stiff or int(self._safety.PowerProtect(self._command, self._state, self._power_level)) >= 0
        self._udp.SetSend(self._command)
        self._udp.Send()
        return allowed


def was_overtaken(tick: int, newest: int) -> bool:
    """Whether an answer is a little older than the newest, by the robot's clock: datagrams may arrive in another order."""
    return (newest - tick) % TICKS in range(1, OVERTAKEN_MS + 1)
