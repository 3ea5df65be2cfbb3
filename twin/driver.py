"""One simulated robot behind the driver that a real one has; nobody who holds it can tell the difference."""

from __future__ import annotations

import numpy as np

from robot import go1
from robot.driver import BaseVelocity, DriverError, JointCommand, RobotState
from twin.batch import BatchTwin
from twin.world import World


class TwinDriver:
    """A RobotDriver: `write` lets one control period pass in simulation; its stamps are simulated time.

    A robot whose physics blew up has fallen: until it is placed anew it is one that lies on its back.
    """

    def __init__(self, world: World, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.twin = BatchTwin(world, 1, rng=self._rng)
        self._periods = 0
        self._connected = False
        self.newest = self.twin.read()  # what was last read; in simulated time writing moves the world on
        self.place()

    def place(self) -> None:
        """Set the robot upright, a little different each time: what a person does after a fall."""
        self.twin.reset(np.ones(1, dtype=np.bool_), self._rng)

    def connect(self) -> None:
        """Nothing to open."""
        self._connected = True

    def read(self) -> RobotState:
        """The state after the last control period."""
        self._check_connected()
        self.newest = state = self.twin.read()
        if self.lost:
            return _on_its_back(self._simulated_time())
        return RobotState(
            stamp_s=self._simulated_time(),
            joint_pos=state.joint_pos[0],
            joint_vel=state.joint_vel[0],
            joint_torque=state.joint_torque[0],
            quaternion_wxyz=state.quaternion_wxyz[0],
            gyro_b=state.base_ang_vel_b[0],
            accelerometer_b=state.accelerometer_b[0],
            foot_force=state.foot_force[0],
        )

    @property
    def lost(self) -> bool:
        """Whether the physics blew up: what the engine holds is no robot any more."""
        return bool(self.twin.diverged[0])

    def write(self, command: JointCommand) -> JointCommand:
        """Hold the command for one control period; a target that is not a number is refused with DriverError."""
        self._check_connected()
        if not all(np.isfinite(part).all() for part in (command.joint_pos_target, command.kp, command.kd)):
            raise DriverError("the joint command holds a value that is not a number; nothing was sent")
        self.twin.set_gains(command.kp, command.kd)
        self.twin.step_unlimited(command.joint_pos_target[None])
        self._periods += 1
        return command

    @property
    def status(self) -> None:
        """Nothing to tell."""

    def close(self) -> None:
        """Stop the engine."""
        self._connected = False
        self.twin.close()

    def _simulated_time(self) -> float:
        return self._periods * go1.CONTROL_DT

    def _check_connected(self) -> None:
        if not self._connected:
            raise DriverError("the twin is not connected; call connect() first")


class TwinVelocity:
    """The twin's true trunk velocity, with white noise of the size of a tracking camera's."""

    name = "twin"

    def __init__(self, driver: TwinDriver, seed: int, noise_std: float = 0.02) -> None:
        self._driver = driver
        self._rng = np.random.default_rng(seed)
        self._noise_std = noise_std  # m/s and rad/s

    def read(self, state: RobotState) -> BaseVelocity:
        """Truth at the moment of `state`, the newest that was read, plus noise; in the body frame. Not valid once the physics blew up."""
        truth = self._driver.newest
        noise = self._noise_std * self._rng.standard_normal((2, 3))
        return BaseVelocity(truth.base_lin_vel_b[0] + noise[0], truth.base_ang_vel_b[0] + noise[1], self.name, 0.0, not self._driver.lost)


def _on_its_back(stamp_s: float) -> RobotState:
    """A robot that lies still with its legs up and lets nobody doubt that it fell."""
    nothing = np.zeros(go1.NUM_JOINTS)
    return RobotState(
        stamp_s=stamp_s,
        joint_pos=go1.DEFAULT_JOINT_POS,
        joint_vel=nothing,
        joint_torque=nothing,
        quaternion_wxyz=np.array([0.0, 1.0, 0.0, 0.0]),
        gyro_b=np.zeros(3),
        accelerometer_b=np.array([0.0, 0.0, -9.81]),
        foot_force=np.zeros(len(go1.LEGS)),
    )
