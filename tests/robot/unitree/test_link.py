import os

import numpy as np

from robot import go1
from robot.driver import NO_FAULT, DriverFault, JointCommand, RobotState
from robot.unitree.link import COMMAND, READING, STATE, Link, command_record, robot_state

JOINTS = np.arange(12.0)


def filled_state():
    state = np.zeros((), dtype=STATE)
    reading = state["reading"]
    reading["tick"], reading["joint_pos"], reading["joint_vel"], reading["joint_torque"] = 7, JOINTS, JOINTS + 100, JOINTS + 200
    reading["quaternion_wxyz"], reading["gyro_b"], reading["accelerometer_b"] = [1, 2, 3, 4], [5, 6, 7], [8, 9, 10]
    reading["foot_force"] = [11, 12, 13, 14]
    state["stamp_s"], state["faults"] = 1.5, int(DriverFault.REMOTE_STOP | DriverFault.POWER)
    return state


def test_a_command_becomes_a_record():
    command = JointCommand(go1.DEFAULT_JOINT_POS, JOINTS, JOINTS + 0.5)
    made = command_record(command)
    assert made.dtype == COMMAND and made.shape == () and made["closing"] == 0
    np.testing.assert_array_equal(made["joint_pos_target"], go1.DEFAULT_JOINT_POS)
    np.testing.assert_array_equal(made["kp"], JOINTS)
    np.testing.assert_array_equal(made["kd"], JOINTS + 0.5)
    assert command_record(command, closing=True)["closing"] == 1


def test_a_record_becomes_a_robot_state():
    state = robot_state(filled_state())
    expected = RobotState(
        1.5, JOINTS, JOINTS + 100, JOINTS + 200, np.array([1.0, 2, 3, 4]), np.array([5.0, 6, 7]), np.array([8.0, 9, 10]),
        np.array([11.0, 12, 13, 14]), DriverFault.REMOTE_STOP | DriverFault.POWER,
    )  # fmt: skip
    for name in RobotState.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(state, name), getattr(expected, name), err_msg=name)
    assert all(getattr(state, name).dtype == np.float64 for name in ("joint_pos", "quaternion_wxyz", "foot_force"))


def test_a_robot_state_is_a_copy():
    record = filled_state()
    state = robot_state(record)
    record["reading"]["joint_pos"] = -1.0
    np.testing.assert_array_equal(state.joint_pos, JOINTS)


def test_no_faults_are_no_faults():
    record = filled_state()
    record["faults"] = 0
    assert robot_state(record).faults == NO_FAULT and not robot_state(record).faults


def test_every_fault_and_all_of_them_fit():
    everything = DriverFault(sum(DriverFault))
    record = filled_state()
    record["faults"] = int(everything)
    assert robot_state(record).faults == everything


def test_commands_states_and_beats_do_not_touch_each_other():
    here = Link()
    there = Link(os.dup(here.block.fd))
    command = command_record(JointCommand(go1.DEFAULT_JOINT_POS, JOINTS, JOINTS))
    for i in range(1, 5):
        here.commands.write(command)
        there.states.write(filled_state())
        there.guardian_beats[0] += 1
        assert here.guardian_beats[0] == i
    assert there.commands.read()[0] == here.states.read()[0] == 4
    assert there.commands.read()[1] == command
    assert here.states.read()[1] == filled_state()
    here.block.close()
    there.block.close()


def test_beats_are_aligned_so_that_they_are_written_at_once():
    link = Link()
    assert link.guardian_beats.ctypes.data % 8 == 0
    link.block.close()


def test_a_reading_is_zeros_until_there_is_an_answer():
    assert not np.zeros((), dtype=READING)["quaternion_wxyz"].any()
