import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot import go1
from robot.driver import DriverFault, RobotState
from robot.supervisor import LATCHING, SINKING_S, Mode, ModeError, SafetyEvent, Supervisor, event_names

STAND = go1.DEFAULT_JOINT_POS
PATH = {
    Mode.PASSIVE: [],
    Mode.STAND: [Mode.STAND],
    Mode.READY: [Mode.STAND, Mode.READY],
    Mode.POLICY: [Mode.STAND, Mode.READY, Mode.POLICY],
    Mode.DAMPING: [Mode.DAMPING],
}
ALLOWED = {
    (Mode.PASSIVE, Mode.STAND), (Mode.STAND, Mode.READY), (Mode.READY, Mode.STAND), (Mode.READY, Mode.POLICY), (Mode.POLICY, Mode.STAND),
}  # fmt: skip


def state_at(stamp_s, **changes):
    level = RobotState(
        stamp_s=stamp_s,
        joint_pos=STAND.copy(),
        joint_vel=np.zeros(12),
        joint_torque=np.zeros(12),
        quaternion_wxyz=np.array([1.0, 0.0, 0.0, 0.0]),
        gyro_b=np.zeros(3),
        accelerometer_b=np.array([0.0, 0.0, 9.81]),
        foot_force=np.full(4, 30.0),
    )
    return replace(level, **changes)


def rolled(degrees):
    half = math.radians(degrees) / 2
    return np.array([math.cos(half), math.sin(half), 0.0, 0.0])


def supervisor_in(mode):
    """A supervisor in `mode` that last saw a good state at 0.98 s."""
    supervisor = Supervisor(20.0, 0.5)
    for i, step in enumerate(PATH[mode]):
        supervisor.decide(state_at(0.9 + 0.02 * i), 0.9 + 0.02 * i, step, lambda _: STAND)
    supervisor.decide(state_at(0.98), 0.98, supervisor.mode, lambda _: STAND)
    assert supervisor.mode is mode
    return supervisor


def decide(supervisor, requested=None, target=STAND, now=1.0, **changes):
    state = state_at(**({"stamp_s": 1.0} | changes))
    return supervisor.decide(state, now, requested or supervisor.mode, lambda _: np.asarray(target, dtype=np.float64))


@pytest.mark.parametrize(("mode", "requested"), list(itertools.product(Mode, Mode)))
def test_every_mode_meets_every_request(mode, requested):
    decision = decide(supervisor_in(mode), requested)
    if Mode.DAMPING in (mode, requested):
        assert decision.mode is Mode.DAMPING
    else:
        assert decision.mode is (requested if (mode, requested) in ALLOWED else mode)


def lie_still(supervisor, first_s=1.0):
    """As many periods of DAMPING as a robot needs to sink."""
    for stamp_s in first_s + 0.02 * np.arange(round(SINKING_S / 0.02)):
        assert decide(supervisor, stamp_s=stamp_s, now=stamp_s).mode is Mode.DAMPING


BROKEN = {
    "nan_pos": ({"joint_pos": np.full(12, np.nan)}, SafetyEvent.NON_FINITE_STATE),
    "inf_vel": ({"joint_vel": np.full(12, np.inf)}, SafetyEvent.NON_FINITE_STATE),
    "nan_quaternion": ({"quaternion_wxyz": np.full(4, np.nan)}, SafetyEvent.NON_FINITE_STATE),
    "silent_imu": ({"quaternion_wxyz": np.zeros(4)}, SafetyEvent.BROKEN_QUATERNION),
    "fallen": ({"quaternion_wxyz": rolled(61)}, SafetyEvent.TILT),
    "upside_down": ({"quaternion_wxyz": rolled(180)}, SafetyEvent.TILT),
    "joint_beyond_its_stop": ({"joint_pos": np.zeros(12)}, SafetyEvent.JOINT_OUT_OF_RANGE),  # a calf cannot be straight
    "impossible_speed": ({"joint_vel": np.full(12, 100.0)}, SafetyEvent.JOINT_OUT_OF_RANGE),
    "old": ({"now": 1.061}, SafetyEvent.STALE_STATE),
    "from_the_future": ({"now": 0.99}, SafetyEvent.STALE_STATE),
    "backwards": ({"stamp_s": 0.97, "now": 1.0}, SafetyEvent.STALE_STATE),
    "nan_stamp": ({"stamp_s": math.nan}, SafetyEvent.STALE_STATE),
    "nan_clock": ({"now": math.nan}, SafetyEvent.STALE_STATE),
    "drivers_fault": ({"faults": DriverFault.MOTOR_HOT}, SafetyEvent.DRIVER),
    "long_quaternion": ({"quaternion_wxyz": np.array([1.021, 0.0, 0.0, 0.0])}, SafetyEvent.BROKEN_QUATERNION),
    "short_quaternion": ({"quaternion_wxyz": np.array([0.979, 0.0, 0.0, 0.0])}, SafetyEvent.BROKEN_QUATERNION),
    "a_little_from_the_future": ({"now": 0.9985}, SafetyEvent.STALE_STATE),
}


@pytest.mark.parametrize("name", list(BROKEN))
@pytest.mark.parametrize("mode", [Mode.STAND, Mode.READY, Mode.POLICY])
def test_every_broken_state_damps_every_mode_that_moves(mode, name):
    changes, event = BROKEN[name]
    supervisor = supervisor_in(mode)
    decision = decide(supervisor, **changes)
    assert decision.mode is Mode.DAMPING
    assert decision.events == event and supervisor.cause == event
    assert_damping(decision.command)


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_broken_state_is_reported_but_does_not_latch_a_passive_robot(name):
    changes, event = BROKEN[name]
    decision = decide(supervisor_in(Mode.PASSIVE), **changes)
    assert decision.mode is Mode.PASSIVE and decision.events == event
    assert not decision.command.kp.any() and not decision.command.kd.any()
    assert np.isfinite(decision.command.joint_pos_target).all()


@pytest.mark.parametrize("name", list(BROKEN))
def test_a_robot_with_a_broken_state_does_not_stand_up(name):
    assert decide(supervisor_in(Mode.PASSIVE), Mode.STAND, **BROKEN[name][0]).mode is Mode.DAMPING


def test_within_the_limits_nothing_happens():
    decision = decide(supervisor_in(Mode.POLICY), quaternion_wxyz=rolled(59), now=1.059, joint_pos=STAND + 0.1)
    assert decision.mode is Mode.POLICY and decision.events == SafetyEvent(0)


@pytest.mark.parametrize(
    ("joint", "most", "outward"), [(0, 1.247, 1), (0, -1.247, -1), (1, 3.166, 1), (1, -0.863, -1), (2, -0.637, 1), (2, -2.921, -1)]
)
def test_a_joint_is_out_of_range_a_fifth_of_a_radian_beyond_either_limit(joint, most, outward):
    for beyond, mode in ((-1e-6, Mode.POLICY), (1e-6, Mode.DAMPING)):
        joint_pos = np.where(np.arange(12) == joint, most + outward * beyond, STAND)
        assert decide(supervisor_in(Mode.POLICY), joint_pos=joint_pos).mode is mode


@pytest.mark.parametrize(("joint", "fastest"), [(0, 90.3), (1, 90.3), (2, 60.18)])  # three times 30.1 and 20.06 rad/s
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_speed_is_out_of_range_beyond_three_times_the_motors_either_way(joint, fastest, sign):
    for beyond, mode in ((-1e-6, Mode.POLICY), (1e-6, Mode.DAMPING)):
        joint_vel = np.where(np.arange(12) == joint, sign * (fastest + beyond), 0.0)
        assert decide(supervisor_in(Mode.POLICY), joint_vel=joint_vel).mode is mode


@pytest.mark.parametrize("mode", [Mode.STAND, Mode.READY, Mode.POLICY])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_broken_target_damps(mode, bad):
    decision = decide(supervisor_in(mode), target=np.where(np.arange(12) == 7, bad, STAND))
    assert decision.mode is Mode.DAMPING and decision.events == SafetyEvent.NON_FINITE_ACTION
    assert_damping(decision.command)


@pytest.mark.parametrize(
    ("target", "joint_pos", "event"),
    [
        (np.where(np.arange(12) == 2, -0.5, STAND), STAND, SafetyEvent.POSITION_LIMIT),
        (np.where(np.arange(12) == 2, -2.75, STAND), np.where(np.arange(12) == 2, -2.0, STAND), SafetyEvent.SLEW_LIMIT),
        (np.where(np.arange(12) == 0, 0.9, STAND), np.where(np.arange(12) == 0, -0.5, STAND), SafetyEvent.TORQUE_LIMIT),
    ],
)
def test_a_limited_target_is_reported_and_the_robot_goes_on(target, joint_pos, event):
    decision = decide(supervisor_in(Mode.POLICY), target=target, joint_pos=joint_pos)
    assert decision.mode is Mode.POLICY and event in decision.events and not decision.events & LATCHING


def test_a_state_may_repeat_twice_but_not_for_60_ms_even_if_the_clock_stands_still_with_it():
    supervisor = supervisor_in(Mode.POLICY)
    decisions = [decide(supervisor, stamp_s=0.98, now=0.98) for _ in range(3)]
    assert [d.mode for d in decisions] == [Mode.POLICY, Mode.POLICY, Mode.DAMPING]
    assert [d.events for d in decisions[:2]] == [SafetyEvent.REPEATED_STATE] * 2
    assert supervisor.cause == SafetyEvent.STALE_STATE


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize(("late", "damped"), [(9, False), (10, True)])
def test_a_policy_that_misses_every_deadline_is_damped_and_nothing_else_is(mode, late, damped):
    supervisor = supervisor_in(mode)
    before = supervisor.cause
    for overrun in [True] * 9 + [False] + [True] * late:
        supervisor.note_pace(overrun)
    assert supervisor.cause == (SafetyEvent.OVERRUN if damped and mode is Mode.POLICY else before)


def test_deadlines_that_were_missed_before_a_stop_do_not_count_after_it():
    supervisor = supervisor_in(Mode.POLICY)
    for _ in range(10):
        supervisor.note_pace(overrun=True)
    supervisor.note_pace(overrun=True)
    lie_still(supervisor)
    supervisor.rearm()
    for i, step in enumerate(PATH[Mode.POLICY]):
        decide(supervisor, step, stamp_s=4.0 + 0.02 * i, now=4.0 + 0.02 * i)
    supervisor.note_pace(overrun=True)
    assert supervisor.mode is Mode.POLICY


@pytest.mark.parametrize("mode", list(Mode))
def test_a_trip_takes_effect_at_once_in_every_mode(mode):
    supervisor = supervisor_in(mode)
    supervisor.trip(SafetyEvent.ESTOP)
    assert supervisor.mode is Mode.DAMPING
    decision = decide(supervisor, Mode.POLICY)
    assert decision.mode is Mode.DAMPING and SafetyEvent.ESTOP in decision.events
    assert_damping(decision.command)


@pytest.mark.parametrize("mode", [mode for mode in Mode if mode is not Mode.DAMPING])
def test_rearm_is_refused_where_nothing_is_latched(mode):
    with pytest.raises(ModeError, match=mode.value):
        supervisor_in(mode).rearm()


def test_rearm_leads_to_passive_and_forgets_the_cause_and_the_old_clock():
    supervisor = supervisor_in(Mode.DAMPING)
    lie_still(supervisor)
    supervisor.rearm()
    assert supervisor.mode is Mode.PASSIVE and not supervisor.cause
    assert decide(supervisor, Mode.STAND, stamp_s=0.1, now=0.1).mode is Mode.STAND  # the driver was restarted meanwhile


def rearms(supervisor):
    """Whether it may be re-armed; if not, it stays damped by what damped it."""
    cause = supervisor.cause
    try:
        supervisor.rearm()
    except ModeError as error:
        assert str(error) == "the robot may still be sinking: wait until it lies still, 2 s after it was damped, then re-arm"
        assert supervisor.mode is Mode.DAMPING and supervisor.cause == cause
        return False
    return True


@pytest.mark.parametrize("jump_s", [0.0, 10.0, -10.0, math.nan])
def test_rearm_is_refused_while_the_robot_sinks_whatever_the_clock_says_and_however_often_it_is_stopped(jump_s):
    supervisor = supervisor_in(Mode.POLICY)
    supervisor.trip(SafetyEvent.ESTOP)
    refused = 0
    while not rearms(supervisor):
        now = 1.0 + 0.02 * refused + (jump_s if refused > 5 else 0.0)
        decide(supervisor, stamp_s=now, now=now)
        supervisor.trip(SafetyEvent.ESTOP)
        refused += 1
    assert refused == 100 and not supervisor.sinking


def test_what_a_silent_robot_is_told_does_not_let_it_sink():
    supervisor = supervisor_in(Mode.POLICY)
    supervisor.trip(SafetyEvent.ESTOP)
    for step in range(300):
        decide(supervisor, stamp_s=1.0, now=1.0 + 0.02 * step)
    assert not rearms(supervisor)
    lie_still(supervisor, first_s=8.0)
    assert rearms(supervisor)


def test_the_next_stop_is_waited_for_anew():
    supervisor = supervisor_in(Mode.POLICY)
    for _ in range(2):
        supervisor.trip(SafetyEvent.ESTOP)
        assert not rearms(supervisor)
        lie_still(supervisor)
        assert rearms(supervisor)


@pytest.mark.parametrize("mode", list(Mode))
def test_proposals_are_asked_for_only_where_the_motors_follow(mode):
    asked = []
    supervisor_in(mode).decide(state_at(1.0), 1.0, mode, lambda m: asked.append(m) or STAND)
    assert asked == ([] if mode in (Mode.PASSIVE, Mode.DAMPING) else [mode])


def test_no_proposal_is_asked_for_on_a_state_that_failed_a_check():
    asked = []
    supervisor_in(Mode.POLICY).decide(state_at(1.0, quaternion_wxyz=rolled(90)), 1.0, Mode.POLICY, lambda m: asked.append(m) or STAND)
    assert asked == []


def test_damping_rests_where_the_joints_are_or_were_last_sent():
    supervisor = supervisor_in(Mode.POLICY)
    decide(supervisor, target=STAND + 0.1)
    broken = decide(supervisor, stamp_s=1.02, now=1.02, joint_pos=np.full(12, np.nan))
    np.testing.assert_array_equal(broken.command.joint_pos_target, STAND + 0.1)
    known = decide(supervisor, stamp_s=1.04, now=1.04, joint_pos=STAND - 0.2)
    np.testing.assert_array_equal(known.command.joint_pos_target, STAND - 0.2)


def test_what_else_happens_to_a_damped_robot_is_added_to_its_cause():
    supervisor = supervisor_in(Mode.POLICY)
    assert decide(supervisor, quaternion_wxyz=rolled(90)).events == SafetyEvent.TILT
    supervisor.trip(SafetyEvent.FAULT)
    assert decide(supervisor, Mode.DAMPING, stamp_s=1.02, now=1.02).events == SafetyEvent.TILT | SafetyEvent.FAULT
    assert supervisor.cause == SafetyEvent.TILT | SafetyEvent.FAULT


def test_the_command_for_a_program_that_failed_damps_with_and_without_a_state():
    supervisor = supervisor_in(Mode.POLICY)
    for state, target in ((None, STAND), (state_at(1.0, joint_pos=STAND - 0.2), STAND - 0.2)):
        command = supervisor.damping_command(state)
        assert_damping(command)
        np.testing.assert_array_equal(command.joint_pos_target, target)


def test_the_latching_events_are_told_from_the_reported_ones():
    reported = SafetyEvent.POSITION_LIMIT | SafetyEvent.SLEW_LIMIT | SafetyEvent.TORQUE_LIMIT | SafetyEvent.REPEATED_STATE
    for event in SafetyEvent:
        assert bool(event & LATCHING) != bool(event & reported)
    assert event_names(SafetyEvent.TILT | SafetyEvent.ESTOP) == "TILT, ESTOP"


hostile = st.one_of(st.floats(width=64), st.floats(-3.0, 3.0))
ticks = st.lists(
    st.tuples(
        st.sampled_from(list(Mode)),
        st.floats(-0.02, 0.08) | st.just(math.nan),  # by how much the stamp moves
        st.sampled_from([0.0, 0.0, 0.0, 0.05, 0.1, -1.0, math.inf]),  # the state's age
        st.integers(0, 47),  # which value is hostile
        hostile,
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


@given(ticks)
@settings(max_examples=400, deadline=None)
def test_whatever_comes_commands_are_sound_and_damping_stays(run):
    supervisor, stamp_s, damped = supervisor_in(Mode.POLICY), 1.0, False
    for requested, advance, age, index, value, poison in run:
        stamp_s += advance
        values = np.concatenate([STAND, np.zeros(12), [1.0, 0.0, 0.0, 0.0], np.zeros(8), STAND])
        values[index] = value if poison else values[index]
        state = state_at(stamp_s, joint_pos=values[:12], joint_vel=values[12:24], quaternion_wxyz=values[24:28])
        decision = supervisor.decide(state, stamp_s + age, requested, lambda _, target=values[36:]: target)
        damped = damped or decision.mode is Mode.DAMPING
        assert (decision.mode is Mode.DAMPING) == damped
        assert_sound(decision.command, state)


def assert_sound(command, state):
    target = command.joint_pos_target
    assert np.isfinite(target).all() and np.isfinite(command.kp).all() and np.isfinite(command.kd).all()
    assert (target >= go1.JOINT_POS_LOWER).all() and (target <= go1.JOINT_POS_UPPER).all()
    if command.kp.any():
        torque = command.kp * (target - state.joint_pos) - command.kd * state.joint_vel
        at_a_stop = (target == go1.JOINT_POS_LOWER) | (target == go1.JOINT_POS_UPPER)
        assert ((np.abs(torque) <= go1.TORQUE_LIMIT + 1e-9) | at_a_stop).all()


def assert_damping(command):
    assert (command.kp == 0.0).all() and (command.kd == 5.0).all()
    assert np.isfinite(command.joint_pos_target).all()
