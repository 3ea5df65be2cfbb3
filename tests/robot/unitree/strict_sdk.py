"""A stand-in for the vendor's module without a network: as picky about types as the wrapper, and with the answers that a test gives it."""

from collections import deque
from types import SimpleNamespace

from robot import go1
from twin import robot_interface as double

# [sdk] quadruped.h: FR_0 = 0, FL_0 = 3, RR_0 = 6, RL_0 = 9.
MOTOR_OF = {
    "FR_hip_joint": 0, "FR_thigh_joint": 1, "FR_calf_joint": 2, "FL_hip_joint": 3, "FL_thigh_joint": 4, "FL_calf_joint": 5,
    "RR_hip_joint": 6, "RR_thigh_joint": 7, "RR_calf_joint": 8, "RL_hip_joint": 9, "RL_thigh_joint": 10, "RL_calf_joint": 11,
}  # fmt: skip
FOOT_OF = {"FR": 0, "FL": 1, "RR": 2, "RL": 3}
MOTORS = [MOTOR_OF[name] for name in go1.JOINT_NAMES]  # policy order -> motor


class StrictMotorCmd:
    """Takes what pybind11 takes: an int for the mode, floats for the others, and no other name."""

    def __init__(self):
        object.__setattr__(self, "mode", 0)
        for name in ("q", "dq", "tau", "Kp", "Kd"):
            object.__setattr__(self, name, 0.0)

    def __setattr__(self, name, value):
        wanted = {"mode": int, "q": float, "dq": float, "tau": float, "Kp": float, "Kd": float}[name]
        if type(value) is not wanted:
            raise TypeError(f"{name} = {value!r}")
        object.__setattr__(self, name, value)


class StrictLowCmd:
    """A new list at every access, but of the same motors, as the wrapper's."""

    def __init__(self):
        self._motors = [StrictMotorCmd() for _ in range(20)]

    @property
    def motorCmd(self):  # noqa: N802
        return list(self._motors)


class StandInSdk:
    """The module. `answer` is what the robot says next; `sent` what it was told, a list of 12 (mode, q, dq, tau, Kp, Kd) each.

    `waiting` are ticks of answers that have arrived, of which Recv takes one.
    """

    LowCmd, LowState, LeggedType = StrictLowCmd, double.LowState, double.LeggedType

    def __init__(self, protect=True):
        self.answer, self.sent, self.calls, self.allowed = double.LowState(), [], [], 0
        self.waiting = deque()
        self.Safety = self._safety if protect else self._no_safety  # noqa: N815, RUF100

    def UDP(self, *arguments):  # noqa: N802
        self.arguments = arguments
        return self

    def InitCmdData(self, command):  # noqa: N802
        self.calls.append("InitCmdData")

    def Recv(self):  # noqa: N802
        self.calls.append("Recv")
        if self.waiting:
            self.answer.tick = self.waiting.popleft()

    def GetRecv(self, state):  # noqa: N802
        self.calls.append("GetRecv")
        state.__dict__.update({name: value for name, value in vars(self.answer).items() if name not in ("motorState", "imu", "bms")})
        for mine, theirs in zip(self.answer.motorState, state.motorState, strict=True):
            theirs.__dict__.update(vars(mine))
        state.imu.__dict__.update(vars(self.answer.imu))
        state.bms.__dict__.update(vars(self.answer.bms))

    def SetSend(self, command):  # noqa: N802
        self.calls.append("SetSend")
        self._command = [(m.mode, m.q, m.dq, m.tau, m.Kp, m.Kd) for m in command.motorCmd[:12]]

    def Send(self):  # noqa: N802
        self.calls.append("Send")
        self.sent.append(self._command)

    def _safety(self, kind):
        vendors = double.Safety(kind)

        def position_limit(command):
            self.calls.append("PositionLimit")
            vendors.PositionLimit(command)

        def power_protect(command, state, level):
            self.calls.append("PowerProtect")
            self.level = level
            return min(self.allowed, vendors.PowerProtect(command, state, level))

        return SimpleNamespace(PositionLimit=position_limit, PowerProtect=power_protect)

    def _no_safety(self, kind):
        return SimpleNamespace(PositionLimit=lambda command: None, PowerProtect=lambda command, state, level: self.allowed)

    def stand_sound(self, tick, joint_pos=go1.DEFAULT_JOINT_POS, joint_vel=(0.0,) * 12, quaternion=(1.0, 0.0, 0.0, 0.0)):
        """Answer as a robot that is well; joints in the policy's order."""
        answer = self.answer
        answer.tick, answer.bms.SOC, answer.wirelessRemote = tick, 80, [0x55, 0x51] + [0] * 38
        answer.imu.quaternion, answer.imu.accelerometer = list(quaternion), [1e-3 * (tick % 7), 0.0, 9.81]
        for motor, q, dq in zip(MOTORS, joint_pos, joint_vel, strict=True):
            state = answer.motorState[motor]
            state.mode, state.temperature, state.q, state.dq = 0x0A, 40, float(q), float(dq)
