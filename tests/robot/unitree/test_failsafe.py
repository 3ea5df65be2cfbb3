"""Every state of the failsafe meets every event, and sequences of them; what must hold is written out."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot.driver import NO_FAULT, DriverFault, fault_names
from robot.unitree.failsafe import DAMP_AFTER_S, HOLD_AFTER_S, RESTING, CommandSeen, Events, Failsafe, Phase, advance, command_seen

ALL_FAULTS = DriverFault(sum(DriverFault))
FAULTS = [NO_FAULT, *DriverFault, ALL_FAULTS]
LATCHED = DriverFault.REMOTE_STOP
STATES = [*map(Failsafe, (Phase.IDLE, Phase.FOLLOW, Phase.HOLD, Phase.SINK)), *(Failsafe(Phase.DAMPING, cause) for cause in FAULTS[1:])]
MOVING = (Phase.FOLLOW, Phase.HOLD)
EVERYTHING = list(itertools.product(STATES, CommandSeen, FAULTS, (False, True)))

# Where no fault is present: (phase before, command) -> phase after. The only table of what is normal. SINK is IDLE once the time is over.
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
    (Phase.SINK, CommandSeen.NONE): Phase.SINK,
    (Phase.SINK, CommandSeen.NO_TORQUE): Phase.SINK,
    (Phase.SINK, CommandSeen.TORQUE): Phase.FOLLOW,
    (Phase.SINK, CommandSeen.LATE): Phase.SINK,
    (Phase.SINK, CommandSeen.LOST): Phase.SINK,
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
    "who_rests_gets_torque_only_by_a_fresh_command": lambda before, command, faults, after: (
        before.phase not in RESTING or after.phase in RESTING or command is CommandSeen.TORQUE
    ),
    "torque_passes_only_without_a_fault": lambda before, command, faults, after: (
        after.phase not in MOVING or (not faults and command in (CommandSeen.TORQUE, CommandSeen.LATE))
    ),
    "without_torque_nothing_latches": lambda before, command, faults, after: (
        command is not CommandSeen.NO_TORQUE or after in map(Failsafe, RESTING)
    ),
    "only_damping_has_a_cause": lambda before, command, faults, after: bool(after.cause) == (after.phase is Phase.DAMPING),
}


@pytest.mark.parametrize("name", list(PROPERTIES))
def test_in_every_state_with_every_event(name):
    for before, command, faults, sunk in EVERYTHING:
        after = advance(before, Events(command, faults, sunk))
        assert isinstance(after, Failsafe) and isinstance(after.phase, Phase)
        assert PROPERTIES[name](before, command, faults, after), f"{before} {command} {fault_names(faults)} -> {after}"


def test_everything_was_met():
    assert len(EVERYTHING) == (4 + len(DriverFault) + 1) * 5 * (len(DriverFault) + 2) * 2
    assert set(WITHOUT_FAULTS) == set(itertools.product(Phase, CommandSeen))


@pytest.mark.parametrize("sunk", [False, True])
@pytest.mark.parametrize(("before", "command"), list(WITHOUT_FAULTS))
def test_where_no_fault_is_present(before, command, sunk):
    state = Failsafe(before, LATCHED if before is Phase.DAMPING else NO_FAULT)
    expected = WITHOUT_FAULTS[before, command]
    assert advance(state, Events(command, NO_FAULT, sunk)).phase is (Phase.IDLE if sunk and expected is Phase.SINK else expected)


def test_a_stream_that_begins_sinks_until_the_time_is_over_unless_torque_is_asked_for_and_never_again():
    for before, command, faults, sunk in EVERYTHING:
        sinks = before.phase is Phase.SINK and not sunk and command is not CommandSeen.TORQUE
        assert (advance(before, Events(command, faults, sunk)).phase is Phase.SINK) == sinks


cycles = st.lists(
    st.tuples(st.sampled_from(list(CommandSeen)), st.integers(0, int(ALL_FAULTS)) | st.just(0) | st.just(0)), min_size=1, max_size=60
)


@given(cycles, st.integers(0, 60))
@settings(max_examples=500, deadline=None)
def test_torque_passes_only_on_the_last_word_of_somebody_who_may(run, sunk_after):
    failsafe, damped_since = Failsafe(Phase.SINK), None
    for i, (command, faults) in enumerate(run):
        failsafe = advance(failsafe, Events(command, DriverFault(faults), i >= sunk_after))
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
        failsafe = advance(failsafe, Events(command, DriverFault(faults), sunk=True))
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
