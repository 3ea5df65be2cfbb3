"""Each rule of Watch, on both sides of its threshold, from made readings."""

import math

import numpy as np
import pytest

from robot import go1
from robot.driver import NO_FAULT, DriverFault
from robot.unitree.link import READING
from robot.unitree.watch import (
    BATTERY_TO_GO_ON,
    BATTERY_TO_START,
    BEHIND_S,
    CATCHING_UP_S,
    CLOCKS_APART,
    LATE_FADES,
    MAX_TEMPERATURE,
    MODE_CYCLES,
    REMOTE_AFTER_S,
    SILENCE_S,
    STALL_AFTER_S,
    STATE_AFTER_S,
    STUCK_CYCLES,
    TICKS,
    Lateness,
    Watch,
)

PERIOD_S = 0.002
FIRST_TICK = 1000


def sound_reading(tick=FIRST_TICK, **changes):
    reading = np.zeros((), dtype=READING)
    reading["tick"], reading["joint_pos"], reading["quaternion_wxyz"] = tick, go1.DEFAULT_JOINT_POS, [1.0, 0.0, 0.0, 0.0]
    reading["accelerometer_b"], reading["foot_force"] = [1e-3 * (tick % 7), 0.0, 9.81], 30.0
    reading["motor_temperature"], reading["motor_mode"], reading["battery_percent"] = 40, 0x0A, 80
    reading["remote"][:2] = 0x55, 0x51
    for name, value in changes.items():
        reading[name] = value
    return reading


class Cycles:
    """A watch that sees a reading every `PERIOD_S`, with a clock and a tick that go on; the computer may have been suspended before."""

    def __init__(self, start_s=100.0):
        self.watch, self.now, self.tick, self.suspended_s = Watch(), start_s, FIRST_TICK, 1e4

    def see(self, moving=True, by_s=PERIOD_S, ticks=2, suspended_s=0.0, **changes):
        self.now += by_s
        self.tick += ticks
        self.suspended_s += suspended_s
        return self.watch.faults(sound_reading(**({"tick": self.tick} | changes)), self.now, self.now + self.suspended_s, moving)

    def fall_silent(self, seconds):
        """Cycles without an answer, at rest; the faults of the last."""
        for _ in range(round(seconds / PERIOD_S)):
            faults = self.see(moving=False, ticks=0)
        return faults


@pytest.fixture
def cycles():
    """Has seen one good reading."""
    cycles = Cycles()
    assert cycles.see() == NO_FAULT
    return cycles


@pytest.mark.parametrize("moving", [False, True])
def test_a_sound_robot_has_no_fault(moving):
    cycles = Cycles()
    for _ in range(200):
        assert cycles.see(moving) == NO_FAULT
    assert cycles.watch.stamp_s == cycles.now


def test_before_the_first_answer_only_the_state_is_missed():
    watch = Watch()
    for i in range(10):
        now = 5.0 + i * PERIOD_S
        assert watch.faults(np.zeros((), dtype=READING), now, now, moving=False) == DriverFault.STATE_LOST
        assert math.isnan(watch.stamp_s)


def test_sensors_that_stand_still_while_the_clock_goes_on(cycles):
    quiet = {"accelerometer_b": [0.1, 0.0, 9.81]}
    for _ in range(STUCK_CYCLES):
        assert cycles.see(**quiet) == NO_FAULT
    assert cycles.see(**quiet) == DriverFault.STATE_BROKEN
    assert cycles.see(gyro_b=[1e-9, 0.0, 0.0], **quiet) == NO_FAULT
    for _ in range(2 * STUCK_CYCLES):
        assert cycles.see(moving=False, **quiet) == NO_FAULT  # nobody moves it, so nothing has to change


# An answer that stays away, and one that comes again and again with the same tick.


@pytest.mark.parametrize("moving", [False, True])
def test_the_state_is_lost_after_60_ms_without_a_new_tick(cycles, moving):
    stamp_s = cycles.now
    while cycles.now + PERIOD_S - stamp_s < STATE_AFTER_S - 1e-6:
        assert cycles.see(moving, ticks=0) == NO_FAULT
    assert cycles.watch.stamp_s == stamp_s
    for _ in range(2):
        cycles.see(moving, ticks=0)
    assert cycles.see(moving, ticks=0) == DriverFault.STATE_LOST
    assert cycles.see(moving, ticks=70) == NO_FAULT and cycles.watch.stamp_s == cycles.now


@pytest.mark.parametrize(("by_s", "fault"), [(STATE_AFTER_S - 1e-6, NO_FAULT), (STATE_AFTER_S + 1e-6, DriverFault.STATE_LOST)])
def test_the_threshold_of_a_lost_state(cycles, by_s, fault):
    assert cycles.see(by_s=by_s, ticks=0) == fault


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("tick", [0, 1, FIRST_TICK + 1])
def test_a_clock_that_runs_backwards_is_a_robot_that_started_anew_and_never_sound_again(cycles, tick, moving):
    assert cycles.see(moving, tick=tick) == DriverFault.RESTARTED
    cycles.tick = tick
    for _ in range(1000):
        assert cycles.see(moving) == DriverFault.RESTARTED


@pytest.mark.parametrize("first", [1, FIRST_TICK, TICKS // 2 - 1, TICKS // 2, TICKS - 1])
@pytest.mark.parametrize(
    ("ahead", "fault"),
    [(1, NO_FAULT), (TICKS // 2 - 1, NO_FAULT), (TICKS // 2, DriverFault.RESTARTED), (TICKS - 1, DriverFault.RESTARTED)],
)
def test_which_way_the_clock_went_is_told_across_its_end(first, ahead, fault):
    cycles = Cycles()
    assert cycles.see(tick=first) == NO_FAULT
    assert cycles.see(tick=(first + ahead) % TICKS) == fault
    assert cycles.see(tick=(first + ahead + 2) % TICKS) == fault


def test_a_clock_that_leaps_ahead_is_new(cycles):
    assert cycles.see(ticks=10_000_000) == NO_FAULT
    for _ in range(200):
        assert cycles.see() == NO_FAULT


def test_a_clock_that_counts_microseconds_is_no_fault_and_its_silence_is():
    cycles = Cycles()
    cycles.tick = TICKS - 100_000
    for _ in range(200):
        tick = (cycles.tick + 2000) % TICKS
        assert cycles.see(tick=tick, ticks=2000) == NO_FAULT
    assert cycles.see(tick=tick, by_s=STATE_AFTER_S + 1e-3) == DriverFault.STATE_LOST


# Answers that are new and yet old, since they waited on the way.


@pytest.mark.parametrize("moving", [False, True])
def test_answers_that_come_later_and_later_are_found_though_each_is_new(cycles, moving):
    start_s = cycles.now
    while (fault := cycles.see(moving, ticks=1)) == NO_FAULT:  # 1 ms in 2 ms
        assert cycles.now - start_s < 1.0
    assert fault == DriverFault.STATE_LOST
    assert cycles.now - start_s == pytest.approx(2 * STATE_AFTER_S, abs=0.01)


def test_a_queue_that_does_not_grow_remains_a_fault_until_it_is_gone(cycles):
    for _ in range(100):
        cycles.see()
    cycles.see(by_s=0.09)  # the stream was held up: 88 ms of answers wait, and one is taken a cycle
    start_s = cycles.now
    while cycles.see() == DriverFault.STATE_LOST:
        assert cycles.now - start_s < 60.0
    assert cycles.now - start_s > 0.8 * (0.088 - STATE_AFTER_S) / LATE_FADES  # it ends because clocks may run apart
    cycles.see(by_s=0.09)
    assert cycles.see() == DriverFault.STATE_LOST
    assert cycles.see(ticks=2 * 88 + 2) == NO_FAULT


def test_a_hold_up_between_the_clock_and_the_answer_makes_no_later_answer_old(cycles):
    """The answer is then younger than the time that it is looked at with."""
    for _ in range(100):
        cycles.see()
    assert cycles.see(ticks=2 + 50) == NO_FAULT
    assert cycles.see(by_s=0.052, ticks=2) == NO_FAULT
    for _ in range(100):
        assert cycles.see() == NO_FAULT
    assert cycles.see(by_s=STATE_AFTER_S - 1e-3, ticks=0) == NO_FAULT
    assert cycles.see(ticks=60) == NO_FAULT


def test_a_robot_that_was_waited_for_is_not_late():
    cycles = Cycles()
    for _ in range(2500):
        cycles.see(tick=0, ticks=0)
    cycles.tick = 0
    for _ in range(200):
        assert cycles.see() == NO_FAULT


def test_a_robot_that_was_switched_off_and_on_is_found_though_its_clock_is_ahead_of_where_it_was(cycles):
    assert cycles.fall_silent(60.0) == DriverFault.STATE_LOST
    cycles.see(ticks=20_000)  # its clock has begun anew, and is only 20 s further than it was
    for _ in range(round(CATCHING_UP_S / PERIOD_S) - 1):
        assert cycles.see() == DriverFault.STATE_LOST  # or answers that waited on the way: they may come sooner and sooner
    for _ in range(100):
        assert DriverFault.RESTARTED in cycles.see()


@pytest.mark.parametrize(
    ("silence_s", "behind_s", "fault"),
    [
        (10.0, BEHIND_S, NO_FAULT), (10.0, BEHIND_S + 0.02, DriverFault.RESTARTED),
        (100.0, BEHIND_S + 0.09, NO_FAULT), (100.0, BEHIND_S + 0.11, DriverFault.RESTARTED),  # and a thousandth of the silence
    ],
)  # fmt: skip
def test_how_far_a_clock_falls_behind_in_a_silence_if_it_began_anew(cycles, silence_s, behind_s, fault):
    cycles.fall_silent(silence_s)
    cycles.see(ticks=round(1e3 * (silence_s - behind_s)))
    for _ in range(round(CATCHING_UP_S / PERIOD_S) + 1):
        found = cycles.see()
    assert found & DriverFault.RESTARTED == fault


def test_answers_that_a_network_kept_back_are_late_and_of_no_robot_that_started_anew(cycles):
    cycles.fall_silent(1.5)
    late = 0
    while cycles.see(ticks=16) == DriverFault.STATE_LOST:  # eight in each cycle, of which the newest is seen: 14 ms are caught up
        late += 1
    assert late == pytest.approx((1.5 - STATE_AFTER_S - 1.5 * CLOCKS_APART) / 0.014, abs=2)
    for _ in range(1000):
        assert cycles.see() == NO_FAULT


def test_a_network_that_falls_silent_again_before_all_has_come_is_no_robot_that_started_anew(cycles):
    cycles.fall_silent(1.5)
    assert cycles.see(ticks=2) == DriverFault.STATE_LOST  # the oldest of what waited
    assert cycles.fall_silent(2.0) == DriverFault.STATE_LOST
    cycles.see(ticks=3_500)
    for _ in range(1000):
        assert cycles.see() == NO_FAULT


@pytest.mark.parametrize("silence_s", [0.5 * SILENCE_S, 2 * SILENCE_S, 60.0])
def test_a_cable_that_was_pulled_is_no_robot_that_started_anew(cycles, silence_s):
    cycles.fall_silent(silence_s)
    for ticks in (round(1e3 * silence_s), 2, 2):
        assert cycles.see(ticks=ticks) == NO_FAULT


def test_a_stream_that_was_held_up_does_not_take_the_answers_that_waited_for_those_of_a_robot_that_started_anew(cycles):
    cycles.see()
    assert cycles.see(by_s=10.0) == DriverFault.STALLED | DriverFault.STATE_LOST
    assert cycles.see() == DriverFault.STATE_LOST
    assert cycles.see(ticks=9_998) == NO_FAULT


@pytest.mark.parametrize("faster", [-1e-2, -2e-3, -5e-4, -5e-5, 0.0, 5e-5, 5e-4, 2e-3])
def test_clocks_that_run_apart_make_nothing_late_in_an_hour(faster):
    lateness = Lateness()
    assert max(lateness.of(1e4 + (1 + faster) * now, now) for now in np.arange(0.0, 3600.0, go1.CONTROL_DT).tolist()) < 1e-3


def test_a_delay_that_grows_is_found_unless_clocks_may_run_apart_so_far():
    for growth, found in ((1.5 * CLOCKS_APART, True), (0.75 * CLOCKS_APART, False)):
        lateness = Lateness()
        latest = max(lateness.of(now - growth * now, now) for now in np.arange(0.0, 60.0, go1.CONTROL_DT).tolist())
        assert (latest > STATE_AFTER_S) == found


def test_how_late_an_answer_is():
    lateness = Lateness()
    assert lateness.of(7.0, 100.0) == -math.inf  # nobody knows yet
    assert lateness.of(7.002, 100.002) == pytest.approx(-0.002, abs=1e-4)  # too small by a cycle
    assert lateness.of(7.002, 100.032) == pytest.approx(0.028, abs=1e-3)  # silence
    assert lateness.of(7.034, 100.034) == pytest.approx(-0.002, abs=1e-3)  # it has caught up
    assert lateness.of(9.0, 100.036) < 0.0  # a clock that leapt ahead
    assert lateness.of(9.002, 100.038) == pytest.approx(-0.002, abs=1e-3)


# The stream itself.


def test_a_computer_that_was_suspended_was_held_up_though_its_other_clock_stood_still(cycles):
    assert cycles.see(suspended_s=STALL_AFTER_S - PERIOD_S - 1e-6, ticks=99) == NO_FAULT
    assert cycles.see(suspended_s=3600.0, ticks=3_600_000) == DriverFault.STALLED
    for _ in range(100):
        assert cycles.see() == NO_FAULT


def test_answers_that_waited_while_the_computer_was_suspended_are_late(cycles):
    cycles.see()
    assert cycles.see(suspended_s=3600.0) == DriverFault.STALLED | DriverFault.STATE_LOST
    assert cycles.see() == DriverFault.STATE_LOST
    assert cycles.see(ticks=3_600_000) == NO_FAULT


@pytest.mark.parametrize(
    ("by_s", "stalled"),
    [(STALL_AFTER_S - 1e-6, False), (STALL_AFTER_S + 1e-6, True), (3600.0, True), (-1e-6, True), (0.0, False), (math.inf, True)],
)
def test_a_cycle_that_comes_late_or_before_the_one_before(cycles, by_s, stalled):
    assert bool(cycles.see(by_s=by_s) & DriverFault.STALLED) == stalled


def test_a_clock_that_is_no_number_is_no_good_state(cycles):
    assert cycles.see(by_s=math.nan, ticks=0) & DriverFault.STATE_LOST


def test_a_stall_is_over_in_the_next_cycle(cycles):
    assert cycles.see(by_s=1.0) & DriverFault.STALLED
    assert cycles.see() == NO_FAULT


# The remote.


@pytest.mark.parametrize("moving", [False, True])
def test_a_remote_that_was_never_on_is_lost_at_once(moving):
    assert Cycles().see(moving, remote=0) == DriverFault.REMOTE_LOST


@pytest.mark.parametrize("moving", [False, True])
def test_a_remote_is_lost_after_half_a_second(cycles, moving):
    seen_s = cycles.now
    while cycles.now + PERIOD_S - seen_s < REMOTE_AFTER_S - 1e-6:
        assert cycles.see(moving, remote=0) == NO_FAULT
    for _ in range(2):
        cycles.see(moving, remote=0)
    assert cycles.see(moving, remote=0) == DriverFault.REMOTE_LOST
    assert cycles.see(moving) == NO_FAULT


@pytest.mark.parametrize("moving", [False, True])
def test_b_stops_at_once_and_as_long_as_it_is_pressed(cycles, moving):
    pressed = np.zeros(40, dtype=np.uint8)
    pressed[:4] = 0x55, 0x51, 0, 1 << 1
    assert cycles.see(moving, remote=pressed) == DriverFault.REMOTE_STOP
    assert cycles.see(moving, remote=pressed) == DriverFault.REMOTE_STOP
    assert cycles.see(moving) == NO_FAULT


# What the robot measures.

BROKEN = {
    "nan_joint": {"joint_pos": np.where(np.arange(12) == 3, np.nan, go1.DEFAULT_JOINT_POS)},
    "inf_joint": {"joint_pos": np.where(np.arange(12) == 3, np.inf, go1.DEFAULT_JOINT_POS)},
    "nan_speed": {"joint_vel": np.nan},
    "minus_inf_speed": {"joint_vel": -np.inf},
    "nan_torque": {"joint_torque": np.nan},
    "inf_torque": {"joint_torque": np.inf},
    "nan_quaternion": {"quaternion_wxyz": [np.nan, 0.0, 0.0, 0.0]},
    "inf_quaternion": {"quaternion_wxyz": [np.inf, 0.0, 0.0, 0.0]},
    "no_quaternion": {"quaternion_wxyz": 0.0},
    "long_quaternion": {"quaternion_wxyz": [1.0201, 0.0, 0.0, 0.0]},
    "short_quaternion": {"quaternion_wxyz": [0.0, 0.9799, 0.0, 0.0]},
    "nan_gyro": {"gyro_b": np.nan},
    "nan_accelerometer": {"accelerometer_b": [0.0, np.nan, 9.81]},
    "inf_accelerometer": {"accelerometer_b": [0.0, np.inf, 9.81]},
}


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("name", list(BROKEN))
def test_an_answer_that_no_go1_can_give(cycles, name, moving):
    assert cycles.see(moving, **BROKEN[name]) == DriverFault.STATE_BROKEN
    assert cycles.see(moving) == NO_FAULT


@pytest.mark.parametrize("joint", range(12))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_joint_may_be_a_fifth_of_a_radian_beyond_its_stop(cycles, joint, sign):
    stop = (go1.JOINT_POS_UPPER if sign > 0 else go1.JOINT_POS_LOWER)[joint]

    def at(excess):
        return {"joint_pos": np.where(np.arange(12) == joint, stop + sign * excess, go1.DEFAULT_JOINT_POS)}

    assert cycles.see(**at(0.1999)) == NO_FAULT
    assert cycles.see(**at(0.2001)) == DriverFault.STATE_BROKEN


@pytest.mark.parametrize("joint", range(12))
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_joint_may_be_three_times_as_fast_as_it_can_be(cycles, joint, sign):
    limit = 3.0 * go1.JOINT_VEL_LIMIT[joint]
    assert cycles.see(joint_vel=np.where(np.arange(12) == joint, sign * (limit - 1e-6), 0.0)) == NO_FAULT
    assert cycles.see(joint_vel=np.where(np.arange(12) == joint, sign * (limit + 1e-6), 0.0)) == DriverFault.STATE_BROKEN


def test_a_quaternion_may_be_two_percent_off(cycles):
    assert cycles.see(quaternion_wxyz=[0.0, 0.0, 0.0, 1.0199]) == NO_FAULT
    assert cycles.see(quaternion_wxyz=[0.9801, 0.0, 0.0, 0.0]) == NO_FAULT


def test_a_foot_without_a_sensor_is_no_fault(cycles):
    assert cycles.see(foot_force=np.nan) == NO_FAULT


# Battery and motors.


@pytest.mark.parametrize(
    ("percent", "moving", "fault"),
    [
        (BATTERY_TO_START, False, NO_FAULT),
        (BATTERY_TO_START - 1, False, DriverFault.BATTERY),
        (BATTERY_TO_START - 1, True, NO_FAULT),
        (BATTERY_TO_GO_ON, True, NO_FAULT),
        (BATTERY_TO_GO_ON - 1, True, DriverFault.BATTERY),
        (0, False, DriverFault.BATTERY),
        (0, True, DriverFault.BATTERY),
        (100, True, NO_FAULT),
        (255, True, NO_FAULT),
    ],
)
def test_a_battery_that_would_do_to_go_on_does_not_do_to_start(cycles, percent, moving, fault):
    assert cycles.see(moving, battery_percent=percent) == fault


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("motor", range(12))
def test_one_hot_motor_is_too_much(cycles, motor, moving):
    at = [np.where(np.arange(12) == motor, temperature, 40) for temperature in (MAX_TEMPERATURE, MAX_TEMPERATURE + 1)]
    assert cycles.see(moving, motor_temperature=at[0]) == NO_FAULT
    assert cycles.see(moving, motor_temperature=at[1]) == DriverFault.MOTOR_HOT


def test_frost_is_not_heat(cycles):
    assert cycles.see(motor_temperature=-20) == NO_FAULT


@pytest.mark.parametrize("moving", [False, True])
@pytest.mark.parametrize("motor", range(12))
def test_the_vendors_overheat_mode_counts_at_once(cycles, motor, moving):
    assert cycles.see(moving, motor_mode=np.where(np.arange(12) == motor, 0x08, 0x0A)) == DriverFault.MOTOR_HOT


@pytest.mark.parametrize("mode", [0x00, 0x01, 0xFF])
def test_a_motor_that_does_not_follow_for_a_tenth_of_a_second(cycles, mode):
    odd = np.where(np.arange(12) == 7, mode, 0x0A)
    for _ in range(MODE_CYCLES):
        assert cycles.see(motor_mode=odd) == NO_FAULT
    assert cycles.see(motor_mode=odd) == DriverFault.MOTOR_MODE
    assert cycles.see() == NO_FAULT
    assert cycles.see(motor_mode=odd) == NO_FAULT  # it is counted anew


def test_motors_may_rest_while_nobody_asks_them_to_move(cycles):
    for _ in range(3 * MODE_CYCLES):
        assert cycles.see(moving=False, motor_mode=0x00) == NO_FAULT
    assert cycles.see(moving=True, motor_mode=0x00) == NO_FAULT


def test_faults_add_up(cycles):
    pressed = np.zeros(40, dtype=np.uint8)
    pressed[3] = 1 << 1
    faults = cycles.see(by_s=0.2, tick=1, joint_pos=np.nan, battery_percent=1, motor_temperature=99, remote=pressed)
    expected = DriverFault.STALLED | DriverFault.RESTARTED | DriverFault.STATE_BROKEN
    assert faults == expected | DriverFault.BATTERY | DriverFault.MOTOR_HOT | DriverFault.REMOTE_STOP


def test_no_reading_there_is_makes_the_watch_fail():
    random = np.random.default_rng(0)
    cycles, size = Cycles(), np.dtype(READING).itemsize
    with np.errstate(all="ignore"):
        for _ in range(5000):
            reading = np.frombuffer(random.bytes(size), dtype=READING)[0]
            cycles.now += PERIOD_S
            assert isinstance(cycles.watch.faults(reading, cycles.now, cycles.now, bool(random.integers(2))), DriverFault)
