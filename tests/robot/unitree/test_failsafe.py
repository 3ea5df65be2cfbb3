"""Every state of the failsafe meets every event, and sequences of them; what must hold is written out."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.driver import NO_FAULT, DriverFault, fault_names
from robot.unitree.failsafe import DAMP_AFTER_S, HOLD_AFTER_S, CommandSeen, Events, Failsafe, Phase, advance, command_seen

ALL_FAULTS = DriverFault(sum(DriverFault))
FAULTS = [NO_FAULT, *DriverFault, ALL_FAULTS]
LATCHED = DriverFault.REMOTE_STOP
STATES = [Failsafe(), Failsafe(Phase.FOLLOW), Failsafe(Phase.HOLD), *(Failsafe(Phase.DAMPING, cause) for cause in FAULTS[1:])]
MOVING = (Phase.FOLLOW, Phase.HOLD)
EVERYTHING = list(itertools.product(STATES, CommandSeen, FAULTS))

# Where no fault is present: (phase before, command) -> phase after. The only table of what is normal.
WITHOUT_FAULTS = {
    (Phase.IDLE, CommandSeen.NONE): Phase.IDLE,
    (Phase.IDLE, CommandSeen.NO_TORQUE): Phase.IDLE,
    (Phase.IDLE, CommandSeen.TORQUE): Phase.FOLLOW,
    (Phase.IDLE, CommandSeen.LATE): Phase.IDLE,
    (Phase.IDLE, CommandSeen.LOST): Phase.IDLE,
    (Phase.FOLLOW, CommandSeen.NONE): Phase.IDLE,
    (Phase.FOLLOW, CommandSeen.NO_TORQUE): Phase.IDLE,
    (Phase.FOLLOW, CommandSeen.TORQUE): Phase.FOLLOW,
    (Phase.FOLLOW, CommandSeen.LATE): Phase.HOLD,
    (Phase.FOLLOW, CommandSeen.LOST): Phase.DAMPING,
    (Phase.HOLD, CommandSeen.NONE): Phase.IDLE,
    (Phase.HOLD, CommandSeen.NO_TORQUE): Phase.IDLE,
    (Phase.HOLD, CommandSeen.TORQUE): Phase.FOLLOW,
    (Phase.HOLD, CommandSeen.LATE): Phase.HOLD,
    (Phase.HOLD, CommandSeen.LOST): Phase.DAMPING,
    (Phase.DAMPING, CommandSeen.NONE): Phase.DAMPING,
    (Phase.DAMPING, CommandSeen.NO_TORQUE): Phase.IDLE,
    (Phase.DAMPING, CommandSeen.TORQUE): Phase.DAMPING,
    (Phase.DAMPING, CommandSeen.LATE): Phase.DAMPING,
    (Phase.DAMPING, CommandSeen.LOST): Phase.DAMPING,
}

# What holds for each (state before, command, faults, state after).
PROPERTIES = {
    "damping_is_left_only_by_a_command_without_torque": lambda before, command, faults, after: (
        before.phase is not Phase.DAMPING or (after.phase is Phase.DAMPING) == (command is not CommandSeen.NO_TORQUE)
    ),
    "damping_keeps_its_cause": lambda before, command, faults, after: (
        before.phase is not Phase.DAMPING or after.phase is not Phase.DAMPING or after.cause == before.cause
    ),
    "a_fault_damps_whoever_wants_torque": lambda before, command, faults, after: (
        not faults or command is not CommandSeen.TORQUE or after.phase is Phase.DAMPING
    ),
    "a_fault_damps_whoever_has_torque": lambda before, command, faults, after: (
        not faults or before.phase not in MOVING or command in (CommandSeen.NONE, CommandSeen.NO_TORQUE) or after.phase is Phase.DAMPING
    ),
    "new_damping_names_all_its_causes": lambda before, command, faults, after: (
        before.phase is Phase.DAMPING
        or after.phase is not Phase.DAMPING
        or after.cause == faults | (DriverFault.COMMAND_LOST if command is CommandSeen.LOST else NO_FAULT)
    ),
    "a_lost_command_damps_whoever_has_torque": lambda before, command, faults, after: (
        before.phase not in MOVING or command is not CommandSeen.LOST or after.phase is Phase.DAMPING
    ),
    "a_late_command_is_held": lambda before, command, faults, after: (
        before.phase not in MOVING or command is not CommandSeen.LATE or faults or after.phase is Phase.HOLD
    ),
    "idle_gets_torque_only_by_a_fresh_command": lambda before, command, faults, after: (
        before.phase is not Phase.IDLE or after.phase is Phase.IDLE or command is CommandSeen.TORQUE
    ),
    "torque_passes_only_without_a_fault": lambda before, command, faults, after: (
        after.phase not in MOVING or (not faults and command in (CommandSeen.TORQUE, CommandSeen.LATE))
    ),
    "without_torque_nothing_latches": lambda before, command, faults, after: (
        command is not CommandSeen.NO_TORQUE or after == Failsafe(Phase.IDLE, NO_FAULT)
    ),
    "only_damping_has_a_cause": lambda before, command, faults, after: bool(after.cause) == (after.phase is Phase.DAMPING),
}


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_in_every_state_with_every_event(name):
    for before, command, faults in EVERYTHING:
        after = advance(before, Events(command, faults))
        assert isinstance(after, Failsafe) and isinstance(after.phase, Phase)
        assert PROPERTIES[name](before, command, faults, after), f"{before} {command} {fault_names(faults)} -> {after}"


def test_everything_was_met():
    assert len(EVERYTHING) == (3 + len(DriverFault) + 1) * 5 * (len(DriverFault) + 2)
    assert set(WITHOUT_FAULTS) == set(itertools.product(Phase, CommandSeen))


@pytest.mark.parametrize(("before", "command"), list(WITHOUT_FAULTS))
def test_where_no_fault_is_present(before, command):
    state = Failsafe(before, LATCHED if before is Phase.DAMPING else NO_FAULT)
    assert advance(state, Events(command, NO_FAULT)).phase is WITHOUT_FAULTS[before, command]


cycles = st.lists(
    st.tuples(st.sampled_from(list(CommandSeen)), st.integers(0, int(ALL_FAULTS)) | st.just(0) | st.just(0)), min_size=1, max_size=60
)


@given(cycles)
@settings(max_examples=500, deadline=None)
def test_torque_passes_only_on_the_last_word_of_somebody_who_may(run):
    failsafe, damped_since = Failsafe(), None
    for i, (command, faults) in enumerate(run):
        failsafe = advance(failsafe, Events(command, DriverFault(faults)))
        was = i if damped_since is None else damped_since
        damped_since = was if failsafe.phase is Phase.DAMPING else None
    command, faults = run[-1]
    if failsafe.phase in MOVING:
        assert not faults and command in (CommandSeen.TORQUE, CommandSeen.LATE)
        without = [i for i, (seen, _) in enumerate(run) if seen in (CommandSeen.NO_TORQUE, CommandSeen.NONE)]
        since = run[(without[-1] + 1 if without else 0) :]  # since torque was last not asked for
        assert CommandSeen.TORQUE in {seen for seen, _ in since}
        after_first = since[[seen for seen, _ in since].index(CommandSeen.TORQUE) :]
        assert all(not faults and seen is not CommandSeen.LOST for seen, faults in after_first)  # no fault was forgotten on the way
    if damped_since is not None:
        assert all(seen is not CommandSeen.NO_TORQUE for seen, _ in run[damped_since:])


@given(cycles)
@settings(max_examples=300, deadline=None)
def test_damping_lasts_until_a_person_takes_the_torque_away(run):
    failsafe = Failsafe(Phase.DAMPING, LATCHED)
    for command, faults in run:
        if command is CommandSeen.NO_TORQUE:
            return
        failsafe = advance(failsafe, Events(command, DriverFault(faults)))
        assert failsafe == Failsafe(Phase.DAMPING, LATCHED)


EPSILON = 1e-9


@pytest.mark.parametrize("torque", [False, True])
@pytest.mark.parametrize(
    ("age_s", "seen"),
    [
        (None, CommandSeen.NONE),
        (0.0, None),
        (HOLD_AFTER_S - EPSILON, None),
        (HOLD_AFTER_S, CommandSeen.LATE),
        (DAMP_AFTER_S - EPSILON, CommandSeen.LATE),
        (DAMP_AFTER_S, CommandSeen.LOST),
        (1e9, CommandSeen.LOST),
        (math.inf, CommandSeen.LOST),
        (math.nan, CommandSeen.LOST),
        (-EPSILON, None),  # a clock never runs backwards; if it did, Watch says STALLED
    ],
)
def test_what_an_age_means(age_s, seen, torque):
    fresh = CommandSeen.TORQUE if torque else CommandSeen.NO_TORQUE
    assert command_seen(age_s, torque) is (seen or fresh)


def test_the_times_are_those_that_the_pages_promise():
    assert (HOLD_AFTER_S, DAMP_AFTER_S) == (0.06, 0.15)


def test_faults_have_names():
    assert fault_names(DriverFault.REMOTE_STOP | DriverFault.POWER) == "REMOTE_STOP, POWER"
    assert fault_names(NO_FAULT) == ""
    assert len({int(fault) for fault in DriverFault}) == len(DriverFault) and all(int(f).bit_count() == 1 for f in DriverFault)
