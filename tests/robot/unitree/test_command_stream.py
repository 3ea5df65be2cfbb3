"""Cycles of the command stream with a clock of the test's own and a stand-in for the SDK: what is let through to the motors."""

import itertools
import math
import os
import time
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot import go1
from robot.control_loop import STAND_TIME_S, ControlLoop
from robot.driver import NO_FAULT, DriverFault, JointCommand
from robot.still_driver import StillContract
from robot.supervisor import DAMPING_KD, SINKING_S, Mode, Supervisor
from robot.unitree import command_stream
from robot.unitree.command_stream import GUARDIAN_AFTER_S, LAST_WORDS_S, PERIOD_S, CommandStream, hushed, is_sound, stream
from robot.unitree.failsafe import DAMP_AFTER_S, HOLD_AFTER_S, Phase
from robot.unitree.link import COMMAND, Link, command_record, robot_state
from robot.unitree.sdk_port import POS_STOP, SERVO, VEL_STOP, Address, SdkPort
from tests.robot.unitree.strict_sdk import MOTORS, StandInSdk

STAND = go1.DEFAULT_JOINT_POS
ALL = np.ones(12)
FOLLOWING = JointCommand(STAND, 20.0 * ALL, 0.5 * ALL)
SINKING = JointCommand(STAND, 0.0 * ALL, DAMPING_KD * ALL)
PASSIVE = JointCommand(STAND, 0.0 * ALL, 0.0 * ALL)
Q, DQ, TAU, STIFFNESS, DAMPING = 1, 2, 3, 4, 5


class Bench:
    """A stream on the bench: a robot that answers, a guardian that lives, a control process that writes when it is told to.

    Its first moments are over, unless it is `new`.
    """

    def __init__(self, new=False):
        self.sdk = StandInSdk(protect=False)
        self.link = Link()
        self.stream = CommandStream(self.link, SdkPort(self.sdk, Address(), 5))
        self.now, self.robot_ms, self.tick, self.guarded = 100.0, 1000.0, 1000, True
        if not new:
            self.cycle()
            assert self.cycle(by_s=SINKING_S) is Phase.IDLE

    def cycle(self, command=None, by_s=PERIOD_S, answers=True, extra=NO_FAULT, **robot):
        """One cycle, after `command` was written if it was; returns the phase after it."""
        if command is not None:
            self.write(command)
        self.now += by_s
        self.robot_ms += 1e3 * by_s
        self.tick = round(self.robot_ms) if answers else self.tick
        self.sdk.stand_sound(self.tick, **robot)
        self.link.guardian_beats[0] += self.guarded
        self.stream.cycle(self.now, self.now, extra)
        return self.stream.failsafe.phase

    def write(self, command, closing=False):
        record = command if isinstance(command, (np.ndarray, np.void)) else command_record(command, closing)
        self.link.commands.write(record)

    def follow(self):
        for _ in range(3):
            self.cycle(PASSIVE)
        assert self.cycle(FOLLOWING) is Phase.FOLLOW
        return self

    @property
    def state(self):
        return self.link.states.read()[1]

    @property
    def faults(self):
        return DriverFault(int(self.state["faults"]))

    def sent(self):
        """The newest command at the motors: (12, 6) mode, q, dq, tau, Kp, Kd, in the policy's order."""
        return np.array(self.sdk.sent[-1])[MOTORS]


@pytest.fixture
def bench():
    bench = Bench()
    yield bench
    bench.link.block.close()


@pytest.fixture
def new_bench():
    bench = Bench(new=True)
    yield bench
    bench.link.block.close()


def assert_follows(sent, command):
    np.testing.assert_array_equal(sent[:, Q], command.joint_pos_target)
    np.testing.assert_array_equal(sent[:, STIFFNESS], command.kp)
    np.testing.assert_array_equal(sent[:, DAMPING], command.kd)
    assert (sent[:, 0] == SERVO).all() and not sent[:, DQ].any() and not sent[:, TAU].any()


def assert_damps(sent):
    np.testing.assert_array_equal(sent, [(SERVO, POS_STOP, 0.0, 0.0, 0.0, DAMPING_KD)] * 12)


def assert_rests(sent):
    np.testing.assert_array_equal(sent, [(SERVO, POS_STOP, VEL_STOP, 0.0, 0.0, 0.0)] * 12)


# What is let through.


def test_until_torque_is_asked_for_there_is_none(bench):
    for _ in range(10):
        assert bench.cycle() is Phase.IDLE
        assert_rests(bench.sent())
    assert bench.cycle(PASSIVE) is Phase.IDLE
    assert_rests(bench.sent())


def test_a_new_stream_damps_until_a_robot_that_stood_must_have_sunk(new_bench):
    begin_s, commands = new_bench.now + PERIOD_S, itertools.cycle([None, PASSIVE])
    while new_bench.cycle(next(commands)) is Phase.SINK:
        assert_damps(new_bench.sent())
    assert new_bench.now - begin_s == pytest.approx(SINKING_S, abs=2 * PERIOD_S)
    for command in (None, PASSIVE, SINKING):
        assert_rests(new_bench.sent())
        assert new_bench.cycle(command) is Phase.IDLE and not new_bench.state["had_torque"]


def test_a_robot_sinks_from_its_first_answer_on(new_bench):
    new_bench.tick = 0  # a cable that is not yet plugged in
    for _ in range(round(1.5 * SINKING_S / PERIOD_S)):
        assert new_bench.cycle(PASSIVE, answers=False) is Phase.SINK
    assert_damps(new_bench.sent())
    assert new_bench.cycle(PASSIVE) is Phase.SINK
    assert new_bench.cycle(PASSIVE, by_s=0.9 * SINKING_S) is Phase.SINK
    assert new_bench.cycle(PASSIVE, by_s=0.2 * SINKING_S) is Phase.IDLE


def test_a_new_stream_follows_at_once_and_does_not_sink_again(new_bench):
    new_bench.follow()
    assert_follows(new_bench.sent(), FOLLOWING)
    assert new_bench.cycle(PASSIVE) is Phase.IDLE
    assert_rests(new_bench.sent())


def test_a_new_stream_damps_on_where_that_is_asked_for(new_bench):
    new_bench.cycle(SINKING)
    for i in range(round(1.5 * SINKING_S / PERIOD_S)):
        new_bench.cycle(SINKING if i % 10 == 0 else None)
        assert_damps(new_bench.sent())


@pytest.mark.parametrize("fault", [DriverFault.REMOTE_LOST, DriverFault.STATE_LOST, DriverFault.POWER])
def test_a_new_stream_damps_whatever_is_wrong_and_nothing_latches(new_bench, fault):
    for _ in range(10):
        assert new_bench.cycle(PASSIVE, extra=fault) is Phase.SINK
        assert_damps(new_bench.sent())
    assert new_bench.cycle(PASSIVE, by_s=SINKING_S) is Phase.IDLE


def test_a_command_is_passed_on_in_the_cycle_in_which_it_comes_and_again_until_the_next(bench):
    bench.follow()
    assert_follows(bench.sent(), FOLLOWING)
    bench.cycle()
    assert_follows(bench.sent(), FOLLOWING)
    other = JointCommand(STAND + 0.1, FOLLOWING.kp, FOLLOWING.kd)
    bench.cycle(other)
    assert_follows(bench.sent(), other)


@pytest.mark.parametrize("joint", range(12))
def test_each_joint_of_a_command_reaches_its_motor(bench, joint):
    target = np.where(np.arange(12) == joint, STAND + 0.2, STAND)
    bench.follow().cycle(JointCommand(target, 20.0 * ALL, 0.5 * ALL))
    np.testing.assert_array_equal(bench.sent()[:, Q], target)


def test_late_commands_are_held_then_lost_and_then_it_is_too_late(bench):
    bench.follow()
    phases, start_s = [], bench.now
    while bench.now - start_s < DAMP_AFTER_S + 2 * PERIOD_S:
        phases.append((bench.cycle(), round(bench.now - start_s, 6)))
        if phases[-1][0] in (Phase.FOLLOW, Phase.HOLD):
            assert_follows(bench.sent(), FOLLOWING)
        else:
            assert_damps(bench.sent())
    held = [age for phase, age in phases if phase is Phase.HOLD]
    damped = [age for phase, age in phases if phase is Phase.DAMPING]
    assert HOLD_AFTER_S - 1e-6 <= held[0] <= HOLD_AFTER_S + PERIOD_S + 1e-6
    assert DAMP_AFTER_S - 1e-6 <= damped[0] <= DAMP_AFTER_S + PERIOD_S + 1e-6
    assert bench.faults == DriverFault.COMMAND_LOST
    for _ in range(5):
        assert bench.cycle(FOLLOWING) is Phase.DAMPING  # it came back, but a person has to look first
        assert_damps(bench.sent())
    assert bench.cycle(PASSIVE) is Phase.IDLE
    assert_rests(bench.sent())
    assert bench.cycle(FOLLOWING) is Phase.FOLLOW


def test_a_command_that_comes_while_the_last_is_held_is_followed_again(bench):
    bench.follow()
    while bench.cycle() is not Phase.HOLD:
        pass
    assert bench.cycle(FOLLOWING) is Phase.FOLLOW and bench.faults == NO_FAULT


def test_the_same_command_again_counts_as_new(bench):
    bench.follow()
    for i in range(500):
        assert bench.cycle(FOLLOWING if i % 10 == 0 else None) is Phase.FOLLOW


def test_damping_asked_for_by_the_supervisor_is_passed_on_as_a_command(bench):
    bench.follow()
    assert bench.cycle(SINKING) is Phase.FOLLOW
    assert_damps(bench.sent())


def test_motors_that_never_had_torque_get_none_when_damping_is_asked_for(bench):
    bench.cycle(PASSIVE)
    for _ in range(3):
        assert bench.cycle(SINKING) is Phase.IDLE and not bench.state["had_torque"]
        assert_rests(bench.sent())
    assert bench.cycle(FOLLOWING) is Phase.FOLLOW and bench.state["had_torque"]
    bench.cycle(PASSIVE)
    assert_rests(bench.sent())
    bench.cycle(SINKING)  # now they have had it
    assert_damps(bench.sent())


def test_a_robot_that_was_forbidden_to_begin_stays_damped_when_damping_is_asked_for(bench):
    bench.cycle(PASSIVE)
    assert bench.cycle(FOLLOWING, extra=DriverFault.BATTERY) is Phase.DAMPING
    for _ in range(3):
        assert bench.cycle(SINKING) is Phase.DAMPING
        assert_damps(bench.sent())


def broken(**changes):
    record = command_record(FOLLOWING)
    for name, (joint, value) in changes.items():
        record[name][joint] = value
    return record


BROKEN = {
    "nan_target": broken(joint_pos_target=(3, math.nan)),
    "infinite_target": broken(joint_pos_target=(3, math.inf)),
    "beyond_the_upper_stop": broken(joint_pos_target=(2, -0.8)),
    "beyond_the_lower_stop": broken(joint_pos_target=(0, -1.05)),
    "nan_kp": broken(kp=(0, math.nan)),
    "nan_kd": broken(kd=(11, math.nan)),
    "infinite_kp": broken(kp=(0, math.inf)),
    "negative_kp": broken(kp=(0, -1e-9)),
    "negative_kd": broken(kd=(0, -0.5)),
    "stiffer_than_any_mode": broken(kp=(5, go1.KP * 1.0001)),
    "more_damping_than_any_mode": broken(kd=(5, go1.KD * 1.0001)),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_command_never_reaches_the_motors_and_damps(bench, name):
    bench.follow()
    assert bench.cycle(BROKEN[name]) is Phase.DAMPING
    assert bench.faults == DriverFault.COMMAND_BROKEN
    assert_damps(bench.sent())


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_robot_that_rests_goes_on_resting_when_a_broken_command_comes(bench, name):
    bench.cycle(PASSIVE)
    assert bench.cycle(BROKEN[name]) is Phase.IDLE and bench.faults == DriverFault.COMMAND_BROKEN
    assert_rests(bench.sent())
    assert bench.cycle(FOLLOWING) is Phase.FOLLOW  # the broken one was not latched: nothing moved


def test_a_broken_first_command_gives_no_torque(bench):
    assert bench.cycle(BROKEN["nan_target"]) is Phase.IDLE
    assert_rests(bench.sent())


def test_targets_at_the_stops_are_sound():
    for stop in (go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER):
        assert is_sound(command_record(JointCommand(stop, 20.0 * ALL, 0.5 * ALL)))


# Faults of the robot.

FAULTS = {
    DriverFault.STATE_BROKEN: lambda sdk: setattr(sdk.answer.imu, "quaternion", [0.0] * 4),
    DriverFault.REMOTE_STOP: lambda sdk: sdk.answer.wirelessRemote.__setitem__(3, 2),
    DriverFault.BATTERY: lambda sdk: setattr(sdk.answer.bms, "SOC", 4),
    DriverFault.MOTOR_HOT: lambda sdk: setattr(sdk.answer.motorState[3], "temperature", 81),
    DriverFault.RESTARTED: lambda sdk: setattr(sdk.answer, "tick", 3),
}


def cycle_with(bench, spoil):
    """One cycle in which the robot's answer is spoilt."""
    sound = bench.sdk.stand_sound
    bench.sdk.stand_sound = lambda *arguments, **more: (sound(*arguments, **more), spoil(bench.sdk))
    try:
        return bench.cycle(FOLLOWING)
    finally:
        bench.sdk.stand_sound = sound


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_damps_in_the_same_cycle_and_stays_though_it_goes_away(bench, fault):
    bench.follow()
    assert cycle_with(bench, FAULTS[fault]) is Phase.DAMPING and bench.faults == fault
    assert_damps(bench.sent())
    for _ in range(5):
        assert bench.cycle(FOLLOWING) is Phase.DAMPING and bench.faults == fault
    assert bench.cycle(PASSIVE) is Phase.IDLE and bench.faults == fault & DriverFault.RESTARTED


def test_a_robot_that_started_anew_gets_no_torque_from_this_stream_any_more(bench):
    bench.robot_ms = 0.0
    for _ in range(3):
        for _ in range(100):
            assert bench.cycle(PASSIVE) is Phase.IDLE
        assert bench.faults == DriverFault.RESTARTED
        assert bench.cycle(FOLLOWING) is Phase.DAMPING
        assert_damps(bench.sent())


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_forbids_to_begin(bench, fault):
    for _ in range(3):
        bench.cycle(PASSIVE)
    assert cycle_with(bench, FAULTS[fault]) is Phase.DAMPING


@pytest.mark.parametrize("fault", list(DriverFault))
def test_what_the_caller_knows_damps_too(bench, fault):
    bench.follow()
    assert bench.cycle(FOLLOWING, extra=fault) is Phase.DAMPING and bench.faults == fault


def test_a_silent_robot_is_damped_after_60_ms(bench):
    bench.follow()
    start_s = bench.now
    while bench.cycle(FOLLOWING, answers=False) is not Phase.DAMPING:
        assert bench.now - start_s < 0.07
    assert bench.now - start_s >= 0.06 - 1e-6
    assert bench.faults == DriverFault.STATE_LOST


def test_a_robot_whose_answers_queue_up_is_damped(bench):
    bench.follow()
    start_s = bench.now
    while bench.cycle(FOLLOWING) is Phase.FOLLOW:
        bench.robot_ms -= 1.0  # the next answer that is taken is older by so much
        assert bench.now - start_s < 1.0
    assert bench.faults == DriverFault.STATE_LOST
    assert_damps(bench.sent())


def test_a_stream_that_was_held_up_damps(bench):
    bench.follow()
    assert bench.cycle(FOLLOWING, by_s=0.2) is Phase.DAMPING and bench.faults == DriverFault.STALLED


def test_the_vendors_power_protection_damps_in_the_next_cycle(bench):
    bench.follow()
    bench.sdk.allowed = -1
    bench.cycle(FOLLOWING)
    bench.sdk.allowed = 0
    assert bench.cycle(FOLLOWING) is Phase.DAMPING and bench.faults == DriverFault.POWER


def test_the_state_of_the_robot_is_told_every_cycle(bench):
    joint_pos = STAND + np.arange(12) * 0.01
    bench.follow().cycle(joint_pos=joint_pos)
    state = robot_state(bench.state)
    np.testing.assert_array_equal(state.joint_pos, joint_pos)
    assert state.stamp_s == bench.now and state.faults == NO_FAULT
    stamp_s = bench.now
    bench.cycle(answers=False)
    assert robot_state(bench.state).stamp_s == stamp_s and bench.state["beat_s"] == bench.now
    assert bench.state["phase"] == Phase.FOLLOW.value


def test_lateness_is_counted(new_bench):
    for by_s in (PERIOD_S, PERIOD_S, 0.0041, 0.03, 0.0039):
        new_bench.cycle(by_s=by_s)
    assert new_bench.state["cycles"] == 5 and new_bench.state["late_cycles"] == 2
    assert new_bench.state["longest_gap_s"] == pytest.approx(0.03)


# The guardian.


def test_without_a_guardian_nobody_begins(new_bench):
    new_bench.guarded = False
    for _ in range(3):
        new_bench.cycle(PASSIVE)
    assert new_bench.faults == DriverFault.GUARDIAN_LOST and not new_bench.state["guarded"]
    assert new_bench.cycle(FOLLOWING) is Phase.DAMPING


def test_a_guardian_that_dies_lets_the_robot_walk_on_but_not_begin_again(bench):
    bench.follow()
    bench.guarded = False
    start_s = bench.now
    while bench.now - start_s < 2 * GUARDIAN_AFTER_S:
        assert bench.cycle(FOLLOWING) is Phase.FOLLOW and bench.faults == NO_FAULT
        assert bool(bench.state["guarded"]) == (bench.now - start_s <= GUARDIAN_AFTER_S)
    assert bench.cycle(PASSIVE) is Phase.IDLE
    assert bench.cycle(PASSIVE) is Phase.IDLE and bench.faults == DriverFault.GUARDIAN_LOST
    assert bench.cycle(FOLLOWING) is Phase.DAMPING


def test_a_guardian_that_comes_back_is_enough(bench):
    bench.guarded = False
    bench.cycle(PASSIVE)
    bench.guarded = True
    bench.cycle(PASSIVE)
    assert bench.state["guarded"] and bench.cycle(FOLLOWING) is Phase.FOLLOW


@pytest.fixture
def inherit(bench):
    """Lets another stream take the place of the one on the bench, where there is no command that is sound, and turn one cycle."""
    heirs = []

    def inherit():
        heirs.append(CommandStream(Link(os.dup(bench.link.block.fd)), SdkPort(bench.sdk, Address(), 5)))
        heirs[-1].cycle(bench.now + 0.1, bench.now + 0.1, DriverFault.DRIVER_LOST)
        return heirs[-1]

    yield inherit
    for heir in heirs:
        heir._link.block.close()


@pytest.mark.parametrize("left", [FOLLOWING, SINKING, BROKEN["nan_target"]])
@pytest.mark.parametrize("phase", [Phase.FOLLOW, Phase.HOLD, Phase.DAMPING])
def test_whoever_takes_the_streams_place_damps_whatever_command_is_left(bench, inherit, phase, left):
    bench.follow()
    while bench.cycle() is not phase:
        pass
    bench.write(left)
    number = bench.link.states.read()[0]
    assert inherit().failsafe.phase is Phase.DAMPING
    assert_damps(bench.sent())
    assert bench.link.states.read()[0] == number + 1 and DriverFault.DRIVER_LOST in bench.faults


def test_whoever_takes_the_place_of_a_stream_that_rested_rests_until_torque_is_asked_for(bench, inherit):
    bench.cycle(PASSIVE)
    for left in (PASSIVE, SINKING, BROKEN["nan_target"]):
        bench.write(left)
        assert inherit().failsafe.phase is Phase.IDLE
        assert_rests(bench.sent())
    bench.write(FOLLOWING)
    assert inherit().failsafe.phase is Phase.DAMPING
    assert_damps(bench.sent())


@pytest.mark.parametrize("left", [None, PASSIVE])
def test_whoever_takes_the_place_of_a_stream_that_let_the_robot_sink_does_so_too(new_bench, left):
    new_bench.cycle(left)
    new_bench.stream = CommandStream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5))
    begin_s = new_bench.now + PERIOD_S
    while new_bench.cycle(left, extra=DriverFault.DRIVER_LOST) is Phase.SINK:
        assert_damps(new_bench.sent())
    assert new_bench.now - begin_s == pytest.approx(SINKING_S, abs=2 * PERIOD_S)
    assert_rests(new_bench.sent())


def test_whoever_takes_the_place_of_a_stream_knows_whether_there_was_torque(bench, inherit):
    bench.follow().cycle(PASSIVE)
    bench.write(SINKING)
    assert inherit().failsafe.phase is Phase.DAMPING
    assert_damps(bench.sent())


# A million commands.

HOSTILE = np.array([np.nan, np.inf, -np.inf, 1e308, -1e308, 5e-324, -0.0, 0.0, 100.0, 20.000001, -1e-12])
MODES = np.array([(0.0, 0.0), (0.0, DAMPING_KD), (20.0, 0.5)])


def hostile_commands(random, count, share):
    """COMMAND records: half are close to what a robot is told, with `share` of their values replaced by hostile ones."""
    commands = np.zeros(count, dtype=COMMAND)
    middle, reach = (go1.JOINT_POS_LOWER + go1.JOINT_POS_UPPER) / 2, (go1.JOINT_POS_UPPER - go1.JOINT_POS_LOWER) / 2
    size = 10.0 ** random.uniform(-2, 2, (count, 1)) * (random.random((count, 1)) < 0.5) + 1.0
    commands["joint_pos_target"] = middle + reach * size * random.uniform(-1, 1, (count, 12))
    modes = MODES[random.integers(len(MODES), size=count)]
    commands["kp"], commands["kd"] = modes[:, :1], modes[:, 1:]
    for name in ("kp", "kd"):
        other = random.random((count, 1)) < 0.2
        commands[name] = np.where(other, 10.0 ** random.uniform(-2, 3, (count, 12)), commands[name])
    for name in ("joint_pos_target", "kp", "kd"):
        spoilt = random.random((count, 12)) < share
        commands[name] = np.where(spoilt, random.choice(HOSTILE, (count, 12)), commands[name])
    return commands


def violates(target, kp, kd):
    """What may never be at the motors, told otherwise than in is_sound: any (...) with a joint that is asked for too much."""
    bad = ~np.isfinite(target) | ~np.isfinite(kp) | ~np.isfinite(kd) | np.signbit(kp) & (kp != 0) | np.signbit(kd) & (kd != 0)
    with np.errstate(invalid="ignore"):
        outside = np.abs(np.clip(target, go1.JOINT_POS_LOWER, go1.JOINT_POS_UPPER) - target) > 2e-9
    gains = np.stack([kp, kd], axis=-1)
    unknown = np.ones(kp.shape[:-1], dtype=bool)
    for mode in MODES:
        unknown &= (gains != mode).any(axis=(-2, -1))
    return (bad | outside).any(axis=-1) | unknown


def test_of_a_million_hostile_commands_none_that_counts_as_sound_violates_a_limit():
    random, sound, violations, refused_for_nothing = np.random.default_rng(0), 0, 0, 0
    for share in np.linspace(0.0, 0.1, 10):
        commands = hostile_commands(random, 100_000, share)
        taken, bad = is_sound(commands), violates(commands["joint_pos_target"], commands["kp"], commands["kd"])
        assert taken.shape == (100_000,)
        sound += taken.sum()
        violations += (taken & bad).sum()
        refused_for_nothing += (~taken & ~bad).sum()
    assert violations == 0
    assert sound > 10_000
    assert refused_for_nothing == 0


def test_thousands_of_hostile_commands_through_the_stream_none_violates_a_limit_at_the_motors(bench):
    random = np.random.default_rng(1)
    commands = hostile_commands(random, 6_000, 0.02)
    bench.follow()
    followed = 0
    for record in commands:
        if bench.stream.failsafe.phase is Phase.DAMPING:
            bench.cycle(PASSIVE)
        bench.cycle(record)
        sent = bench.sent()
        assert not sent[:, TAU].any()
        stiff = sent[:, STIFFNESS] > 0.0
        assert (sent[~stiff, Q] == POS_STOP).all()
        assert not violates(np.where(stiff, sent[:, Q], STAND), sent[:, STIFFNESS], sent[:, DAMPING])
        followed += bench.stream.failsafe.phase is Phase.FOLLOW
    assert 300 < followed < 5_700


class HostilePolicy:
    """Asks for anything."""

    def __init__(self, random):
        self.metadata, self._random = StillContract(), random

    def act(self, _history):
        random = self._random
        mean = random.normal(0.0, 10.0 ** random.uniform(-1, 3), 12).astype(np.float32)
        if random.random() < 0.03:
            mean[random.integers(12)] = random.choice([np.nan, np.inf, -np.inf, 3e38])
        return mean, np.full(12, 0.1 if random.random() < 0.99 else np.nan, dtype=np.float32)


def plausible_robot(random, standing):
    """Joints and speeds anywhere that a Go1 can have them, or where it stands; now and then somewhere else."""
    joint_pos = STAND + random.uniform(-0.5, 0.5, 12) if standing else random.uniform(go1.JOINT_POS_LOWER - 0.1, go1.JOINT_POS_UPPER + 0.1)
    joint_vel = go1.JOINT_VEL_LIMIT * random.normal(0.0, 0.4, 12)
    if random.random() < 0.01:
        joint_pos[random.integers(12)] = random.choice([np.nan, np.inf, 7.0])
    if random.random() < 0.01:
        joint_vel[random.integers(12)] = random.choice([np.nan, -np.inf, 500.0])
    return joint_pos, joint_vel


def test_a_hostile_policy_on_a_hostile_robot_never_gets_beyond_a_limit_at_the_motors(bench, monkeypatch):
    """Reading -> link -> control loop, supervisor -> link -> stream -> LowCmd; joint and torque limits of what the motors are told."""
    monkeypatch.setattr("robot.supervisor.SINKING_S", 0.0)  # not waited for
    random = np.random.default_rng(2)
    loop = ControlLoop(HostilePolicy(random), Supervisor(20.0, 0.5), random)
    seen = {mode: 0 for mode in Mode}
    state = None
    for _ in range(8_000):
        if loop.mode is Mode.DAMPING:
            loop.rearm()
            bench.write(loop.step(state, bench.now))  # PASSIVE, which lets the failsafe go
        elif loop.mode is Mode.PASSIVE:
            loop.request_stand()
        elif loop.mode is Mode.READY:
            loop.request_start()
        joint_pos, joint_vel = plausible_robot(random, loop.mode is Mode.STAND)
        bench.cycle(by_s=0.02, joint_pos=joint_pos, joint_vel=joint_vel)
        assert_within_limits(bench.sent(), state)
        state = robot_state(bench.state)
        if loop.mode is Mode.STAND:
            loop._stand_start_s -= STAND_TIME_S  # not waited for
        with np.errstate(all="ignore"):
            bench.write(loop.step(state, bench.now))
        seen[loop.mode] += 1
    assert seen[Mode.POLICY] > 3_000 and seen[Mode.DAMPING] > 100 and seen[Mode.STAND] > 100


def assert_within_limits(sent, state):
    """`state` is what the command was made from."""
    target, kp, kd = sent[:, Q], sent[:, STIFFNESS], sent[:, DAMPING]
    stiff = kp > 0.0
    assert not sent[:, TAU].any() and np.isin(kp, [0.0, 20.0]).all() and np.isin(kd, [0.0, 0.5, DAMPING_KD]).all()
    assert (target[~stiff] == POS_STOP).all()
    if not stiff.any():
        return
    assert (target >= go1.JOINT_POS_LOWER).all() and (target <= go1.JOINT_POS_UPPER).all()
    torque = kp * (target - state.joint_pos) - kd * state.joint_vel
    at_a_stop = (target == go1.JOINT_POS_LOWER) | (target == go1.JOINT_POS_UPPER)
    assert ((np.abs(torque) <= go1.TORQUE_LIMIT + 1e-9) | at_a_stop).all()


moments = st.lists(
    st.tuples(
        st.sampled_from([None, None, None, "follow", "passive", "sink", *BROKEN]),
        st.sampled_from([PERIOD_S, PERIOD_S, PERIOD_S, 0.02, 0.05, 0.09, 0.2]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=40,
)


@given(moments)
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_motors_follow_only_a_young_sound_command_of_a_robot_that_is_well(run):
    bench = Bench()
    commands = {"follow": FOLLOWING, "passive": PASSIVE, "sink": SINKING, **BROKEN}
    bench.follow()
    taken_s, last_reading_s = bench.now, bench.now
    for name, by_s, answers, guarded in run:
        bench.guarded = guarded
        phase = bench.cycle(None if name is None else commands[name], by_s=by_s, answers=answers)
        taken_s = bench.now if name in ("follow", "passive", "sink") else taken_s
        last_reading_s = bench.now if answers else last_reading_s
        sent = bench.sent()
        if (sent[:, STIFFNESS] > 0.0).any():
            assert phase in (Phase.FOLLOW, Phase.HOLD) and name not in BROKEN
            assert bench.now - taken_s < DAMP_AFTER_S and bench.now - last_reading_s <= 0.06 + 1e-9 and by_s <= 0.1
        assert not violates(np.where(sent[:, STIFFNESS] > 0.0, sent[:, Q], STAND), sent[:, STIFFNESS], sent[:, DAMPING])
    bench.link.block.close()


# The loop around the cycles: `stream`, by a clock that sleeping moves.


class Clock:
    """The clocks and time.sleep of the stream; `at` calls something at a moment."""

    def __init__(self, monkeypatch, bench):
        self.now, self.bench, self.events, self.parent, self.suspended_s = 50.0, bench, [], 1234, 0.0
        clocks = {time.CLOCK_BOOTTIME: lambda: self.now + self.suspended_s}
        fake = SimpleNamespace(
            monotonic=lambda: self.now, sleep=self.sleep, clock_gettime=lambda clock: clocks[clock](), CLOCK_BOOTTIME=time.CLOCK_BOOTTIME
        )
        monkeypatch.setattr(command_stream, "time", fake)
        monkeypatch.setattr(command_stream, "os", SimpleNamespace(getppid=lambda: self.parent))

    def at(self, s, call):
        self.events.append((self.now + s, call))

    def sleep(self, s):
        self.now += max(s, 1e-5)
        bench = self.bench
        bench.sdk.stand_sound(round(1e3 * self.now))
        bench.link.guardian_beats[0] += 1
        for event in [event for event in self.events if event[0] <= self.now]:
            self.events.remove(event)
            event[1]()
        assert self.now < 200.0, "the stream does not end"


@pytest.fixture
def clock(monkeypatch, new_bench):
    clock = Clock(monkeypatch, new_bench)
    new_bench.sdk.stand_sound(round(1e3 * clock.now))
    return clock


def test_the_stream_ends_soon_after_the_last_command_and_leaves_the_motors_damped(new_bench, clock):
    start_s = clock.now
    for i in range(50):
        clock.at(0.1 + 0.02 * i, lambda: new_bench.write(FOLLOWING))
    clock.at(1.1, lambda: new_bench.write(SINKING, closing=True))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert 1.1 + LAST_WORDS_S <= clock.now - start_s <= 1.1 + LAST_WORDS_S + 0.02
    assert_damps(new_bench.sent())
    assert new_bench.state["phase"] == Phase.DAMPING.value
    assert new_bench.state["cycles"] == pytest.approx((clock.now - start_s) / PERIOD_S, rel=0.05)


def test_closing_a_robot_that_rests_leaves_it_damped_if_it_had_torque_before(new_bench, clock):
    clock.at(0.1, lambda: new_bench.write(FOLLOWING))
    clock.at(0.2, lambda: new_bench.write(PASSIVE))
    clock.at(0.25, lambda: assert_rests(new_bench.sent()))
    clock.at(0.3, lambda: new_bench.write(SINKING, closing=True))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert_damps(new_bench.sent())


@pytest.mark.parametrize("written", [[], [PASSIVE], [SINKING]])
def test_closing_leaves_motors_that_never_had_torque_without(new_bench, clock, written):
    start_s = clock.now
    clock.at(SINKING_S + 0.05, new_bench.sdk.sent.clear)
    for command in written:
        clock.at(SINKING_S + 0.1, lambda command=command: new_bench.write(command))
    clock.at(SINKING_S + 0.2, lambda: new_bench.write(SINKING, closing=True))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    for sent in new_bench.sdk.sent:
        assert_rests(np.array(sent)[MOTORS])
    assert clock.now - start_s == pytest.approx(SINKING_S + 0.2 + LAST_WORDS_S, abs=0.02)


@pytest.mark.parametrize("written", [[], [PASSIVE], [SINKING]])
def test_closing_before_a_robot_that_stood_has_sunk_leaves_it_damped(new_bench, clock, written):
    for command in written:
        clock.at(0.1, lambda command=command: new_bench.write(command))
    clock.at(0.2, lambda: new_bench.write(SINKING, closing=True))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    for sent in new_bench.sdk.sent:
        assert_damps(np.array(sent)[MOTORS])
    assert new_bench.state["phase"] == Phase.DAMPING.value  # the guardian has nothing to do


def test_an_orphan_damps_at_once_for_seconds_and_ends(new_bench, clock):
    start_s = clock.now
    for i in range(50):
        clock.at(0.1 + 0.02 * i, lambda: new_bench.write(FOLLOWING))

    def die():
        assert_follows(new_bench.sent(), FOLLOWING)
        clock.parent = 1

    clock.at(1.0, die)
    clock.at(1.0 + 2 * PERIOD_S, lambda: assert_damps(new_bench.sent()))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert clock.now - start_s == pytest.approx(1.0 + command_stream.ORPHAN_S, abs=0.02)
    assert_damps(new_bench.sent())
    assert new_bench.faults == DriverFault.COMMAND_LOST


def test_an_orphan_that_rests_goes_on_resting(new_bench, clock):
    clock.at(0.1, lambda: new_bench.write(PASSIVE))
    clock.at(0.2, lambda: setattr(clock, "parent", 1))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert_rests(new_bench.sent())


def test_a_hold_up_is_not_caught_up(new_bench, clock):
    clock.at(0.5, lambda: setattr(clock, "now", clock.now + 3.0))
    clock.at(4.0, lambda: new_bench.write(SINKING, closing=True))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert new_bench.state["cycles"] == pytest.approx((1.0 + LAST_WORDS_S) / PERIOD_S, rel=0.05)
    assert new_bench.state["longest_gap_s"] == pytest.approx(3.0, abs=0.01)


def test_a_computer_that_was_suspended_has_held_the_stream_up(new_bench, clock):
    for i in range(50):
        clock.at(0.1 + 0.02 * i, lambda: new_bench.write(FOLLOWING))
    clock.at(0.5, lambda: assert_follows(new_bench.sent(), FOLLOWING))
    clock.at(0.5, lambda: setattr(clock, "suspended_s", 3600.0))
    clock.at(0.5 + 2 * PERIOD_S, lambda: assert_damps(new_bench.sent()))
    clock.at(1.0, lambda: setattr(clock, "parent", 1))
    stream(new_bench.link, SdkPort(new_bench.sdk, Address(), 5), 1234)
    assert DriverFault.STALLED in new_bench.faults
    assert_damps(new_bench.sent())


def test_what_a_library_complains_of_is_lost_and_what_ends_the_process_is_not(capfd):
    with pytest.raises(ZeroDivisionError), hushed():
        os.write(2, b"no answer\n")
        raise ZeroDivisionError
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "the end\n"


def test_a_cycle_is_quick_enough(bench):
    bench.follow()
    times = []
    for i in range(500):
        begin = time.perf_counter()
        bench.stream.cycle(bench.now + PERIOD_S * (i + 1), bench.now + PERIOD_S * (i + 1))
        times.append(time.perf_counter() - begin)
    print(f"a cycle takes {1e6 * np.median(times):.0f} us")
    assert np.median(times) < PERIOD_S
