import itertools

import numpy as np
import pytest

from robot import go1
from robot.driver import DriverError
from robot.unitree.sdk_port import LOWLEVEL, MAX_RECEIVES, POS_STOP, SERVO, VEL_STOP, Address, SdkPort, load_sdk
from tests.robot.unitree.strict_sdk import FOOT_OF, MOTOR_OF, MOTORS, StandInSdk

KP, KD, ZERO = np.full(12, 20.0), np.full(12, 0.5), np.zeros(12)
MODE, Q, DQ, TAU, STIFFNESS, DAMPING = range(6)


def opened(protect=True, level=5):
    sdk = StandInSdk(protect)
    return sdk, SdkPort(sdk, Address("10.0.0.1", 8007, 8080), level)


def test_the_connection_is_opened_as_the_vendor_says():
    sdk, _ = opened()
    assert sdk.arguments == (0xFF, 8080, "10.0.0.1", 8007) and LOWLEVEL == 0xFF
    assert sdk.calls == ["InitCmdData"]
    assert (Address().ip, Address().port, Address().local_port) == ("192.168.123.10", 8007, 8080)  # [sdk] udp.h


def test_a_module_that_is_missing_is_named_with_what_to_do():
    with pytest.raises(DriverError, match=r"no_such_sdk cannot be imported .*; build unitree_legged_sdk 3.8") as error:
        load_sdk("no_such_sdk")
    assert "\n" not in str(error.value)


def test_a_module_that_is_there_is_loaded():
    assert load_sdk("twin.robot_interface").LowCmd


@pytest.mark.parametrize("name", go1.JOINT_NAMES)
def test_a_command_for_one_joint_reaches_its_motor_alone(name):
    sdk, port = opened(protect=False)
    joint = go1.JOINT_NAMES.index(name)
    only = np.arange(12) == joint
    assert port.send(np.where(only, 0.25, 0.0), np.where(only, 20.0, 0.0), np.where(only, 0.5, 0.0))
    nothing = (SERVO, POS_STOP, VEL_STOP, 0.0, 0.0, 0.0)
    expected = [(SERVO, 0.25, 0.0, 0.0, 20.0, 0.5) if motor == MOTOR_OF[name] else nothing for motor in range(12)]
    assert sdk.sent == [expected]


@pytest.mark.parametrize("name", go1.JOINT_NAMES)
def test_what_one_motor_measures_is_its_joints(name):
    sdk, port = opened()
    motor = sdk.answer.motorState[MOTOR_OF[name]]
    motor.q, motor.dq, motor.tauEst, motor.temperature, motor.mode = 0.5, -2.0, 3.0, 55, 8
    reading = port.receive()
    only = np.arange(12) == go1.JOINT_NAMES.index(name)
    values = {"joint_pos": 0.5, "joint_vel": -2.0, "joint_torque": 3.0, "motor_temperature": 55, "motor_mode": 8}
    for field, value in values.items():
        np.testing.assert_array_equal(reading[field], np.where(only, value, 0), err_msg=field)


@pytest.mark.parametrize("leg", go1.LEGS)
def test_what_one_foot_feels_is_its_legs(leg):
    sdk, port = opened()
    sdk.answer.footForce[FOOT_OF[leg]] = 77
    np.testing.assert_array_equal(port.receive()["foot_force"], np.where(np.arange(4) == go1.LEGS.index(leg), 77, 0))


def test_everything_else_is_read_too():
    sdk, port = opened()
    answer = sdk.answer
    answer.imu.quaternion, answer.imu.gyroscope, answer.imu.accelerometer = [0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0], [4.0, 5.0, 6.0]
    answer.tick, answer.bms.SOC, answer.wirelessRemote = 2**32 - 1, 77, list(range(216, 256))
    reading = port.receive()
    np.testing.assert_array_equal(reading["quaternion_wxyz"], [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_array_equal(reading["gyro_b"], [1, 2, 3])
    np.testing.assert_array_equal(reading["accelerometer_b"], [4, 5, 6])
    assert reading["tick"] == 2**32 - 1 and reading["battery_percent"] == 77
    np.testing.assert_array_equal(reading["remote"], np.arange(216, 256))


def test_a_reading_is_a_copy():
    sdk, port = opened()
    first = port.receive()
    sdk.answer.tick, sdk.answer.motorState[3].q = 9, 1.0
    assert port.receive()["tick"] == 9 and first["tick"] == 0 and not first["joint_pos"].any()


def test_answers_that_waited_while_the_stream_was_held_up_are_caught_up_with():
    sdk, port = opened()
    ticks = itertools.count(2, 2)
    for _ in range(20):
        sdk.waiting.extend(itertools.islice(ticks, 25))  # 50 ms
        for _ in range(4):
            sdk.waiting.append(next(ticks))
            newest, reading = sdk.waiting[-1], port.receive()
        assert reading["tick"] == newest and not sdk.waiting


def test_a_flood_of_answers_does_not_hold_a_cycle_up():
    sdk, port = opened()
    sdk.waiting.extend(range(1, 1000))
    sdk.calls.clear()
    for cycle in (1, 2):
        assert port.receive()["tick"] == cycle * MAX_RECEIVES
        assert sdk.calls.count("Recv") == sdk.calls.count("GetRecv") == cycle * MAX_RECEIVES


@pytest.mark.parametrize(("newest", "late"), [(3016, 3015), (3016, 2916), (5, 2**32 - 95)])
def test_an_answer_that_another_overtook_is_not_taken_for_the_newest(newest, late):
    sdk, port = opened()
    sdk.waiting.append(newest)
    assert port.receive()["tick"] == newest
    for waiting in ([late], [(newest + 2) % 2**32, late]):
        sdk.waiting.extend(waiting)
        assert port.receive()["tick"] == newest  # of the next cycle
    sdk.waiting.append((newest + 4) % 2**32)
    assert port.receive()["tick"] == (newest + 4) % 2**32


@pytest.mark.parametrize("tick", [3016 - 101, 5])
def test_a_clock_that_began_anew_is_seen(tick):
    sdk, port = opened()
    sdk.waiting.extend([3016, tick])
    assert port.receive()["tick"] == tick


def test_the_vendors_protections_come_before_sending():
    sdk, port = opened(level=3)
    sdk.calls.clear()
    port.send(go1.DEFAULT_JOINT_POS, KP, KD)
    assert sdk.calls == ["PositionLimit", "PowerProtect", "SetSend", "Send"] and sdk.level == 3


def test_the_vendors_veto_is_told_and_yet_something_is_sent():
    sdk, port = opened()
    sdk.allowed = -1
    assert port.send(go1.DEFAULT_JOINT_POS, KP, KD) is False
    assert len(sdk.sent) == 1
    sdk.allowed = 0
    assert port.send(go1.DEFAULT_JOINT_POS, KP, KD) is True


def test_too_much_power_takes_the_torque_away():
    sdk, port = opened(level=5)  # the double's 500 W
    for motor in sdk.answer.motorState[:12]:
        motor.tauEst, motor.dq = 10.0, 4.0
    port.receive()
    assert port.send(go1.DEFAULT_JOINT_POS, KP, KD)  # 12 x 40 W = 480 W
    for motor in sdk.answer.motorState[:12]:
        motor.dq = -4.2
    port.receive()
    assert not port.send(go1.DEFAULT_JOINT_POS, KP, KD)  # 504 W
    assert all(motor[STIFFNESS] == motor[DAMPING] == motor[TAU] == 0.0 for motor in sdk.sent[-1])


def test_a_robot_that_is_being_damped_keeps_its_damping_whatever_the_power():
    sdk, port = opened(level=1)
    for motor in sdk.answer.motorState[:12]:
        motor.tauEst, motor.dq = 20.0, 20.0
    port.receive()
    assert port.send(go1.DEFAULT_JOINT_POS, ZERO, np.full(12, 5.0))
    assert all(motor[DAMPING] == 5.0 for motor in sdk.sent[-1])
    assert not port.send(go1.DEFAULT_JOINT_POS, np.eye(12)[3], np.full(12, 5.0))  # one stiff joint is enough to be protected from


@pytest.mark.parametrize("ip", ["localhost", "127.1", "127.0.0.01", "192.168.123.10 ", "", "::1"])
def test_an_address_has_one_spelling(ip):
    """The lock that keeps a second controller away has it in its name."""
    with pytest.raises(DriverError, match=r"give four numbers, as in 192\.168\.123\.10"):
        Address(ip)


def test_damping_asks_for_no_position():
    sdk, port = opened(protect=False)
    port.send(go1.DEFAULT_JOINT_POS, ZERO, np.full(12, 5.0))
    assert sdk.sent[-1] == [(SERVO, POS_STOP, 0.0, 0.0, 0.0, 5.0)] * 12


def test_nothing_asks_for_no_position_and_no_speed():
    sdk, port = opened(protect=False)
    port.send(go1.DEFAULT_JOINT_POS, KP, KD)
    port.send(go1.DEFAULT_JOINT_POS, ZERO, ZERO)
    assert sdk.sent[-1] == [(SERVO, POS_STOP, VEL_STOP, 0.0, 0.0, 0.0)] * 12


def test_a_command_does_not_linger():
    sdk, port = opened(protect=False)
    port.send(go1.JOINT_POS_UPPER, KP, KD)
    port.send(go1.DEFAULT_JOINT_POS, KP, KD)
    np.testing.assert_array_equal(np.array(sdk.sent[-1])[MOTORS, Q], go1.DEFAULT_JOINT_POS)


def test_the_double_and_the_stand_in_are_told_apart_by_nothing():
    """What SdkPort uses of the vendor's module is there in the double, with the vendor's names."""
    sdk = load_sdk("twin.robot_interface")
    for name in ("UDP", "Safety", "LeggedType", "LowCmd", "LowState"):
        assert hasattr(sdk, name) and hasattr(StandInSdk(), name)
    for name in ("InitCmdData", "SetSend", "Send", "Recv", "GetRecv"):
        assert callable(getattr(sdk.UDP, name)) and callable(getattr(StandInSdk, name))
    assert len(sdk.LowCmd().motorCmd) == len(sdk.LowState().motorState) == 20
