import itertools
import time
from dataclasses import replace

import numpy as np
import pytest

from common.errors import ConfigError
from loop.twin_station import twin_station
from offline_finetune.released.policies import import_policy
from robot import go1
from robot.command import trot_command
from robot.control_cycle import ControlCycle
from robot.control_loop import ControlLoop
from robot.driver import BaseVelocity, DriverError, DriverFault
from robot.log.episode import END_FALL, END_OPERATOR, END_SAFETY, END_TIME_LIMIT, EpisodeAttributes
from robot.log.episode_log import EpisodeWriter, read_episode
from robot.observation import GO1_LAYOUT
from robot.pace import AsFastAsPossible, RealTime
from robot.policy.artifact import load_artifact
from robot.policy.metadata import layout_json
from robot.reward import WEIGHTS
from robot.run_episode import STOP_STEPS, EpisodePlan, HeldBackError, run_episode, stand_up
from robot.still_driver import StillDriver, StillPolicy, StillVelocity
from robot.supervisor import DAMPING_KD, Mode, ModeError, SafetyEvent, Supervisor
from twin.world import FLAT

ON_ITS_SIDE = np.array([0.7071067811865476, 0.7071067811865476, 0.0, 0.0])
ATTRIBUTES = EpisodeAttributes(
    robot=go1.NAME, policy_sha256="", control_dt_s=0.02, layout_json=layout_json(GO1_LAYOUT), config_json="{}", session="s", source="still"
)


class OnesPolicy(StillPolicy):
    """Asks for one unit of every action; raises at its `breaks_at`-th action."""

    def __init__(self, breaks_at=None):
        super().__init__()
        self._mean = np.ones(12, dtype=np.float32)
        self._acts, self._breaks_at = 0, breaks_at

    def act(self, observation_history, /):
        self._acts += 1
        if self._acts == self._breaks_at:
            raise ZeroDivisionError("the network fell over")
        return super().act(observation_history)


class ScriptedVelocity:
    """Forward speeds, one a reading, from the first reading on, then zero; None is no measurement."""

    def __init__(self, speeds):
        self._speeds = iter(speeds)

    def read(self, state):
        speed = next(self._speeds, 0.0)
        lin_vel_b = np.full(3, np.nan) if speed is None else np.array([speed, 0.0, 0.0])
        return BaseVelocity(lin_vel_b, np.zeros(3), "script", 0.01, speed is not None)


class Rig:
    def __init__(self, tmp_path, policy=None, rng=None):
        self.driver = StillDriver()
        self.driver.connect()
        self.loop = ControlLoop(policy or StillPolicy(), Supervisor(20.0, 0.5), rng)
        self.path = tmp_path / "episode.hdf5"

    def run(self, steps, command_at=lambda step: trot_command(), velocity=None, should_stop=lambda: False, pace=None):
        plan = EpisodePlan(steps, command_at, should_stop)
        with EpisodeWriter(self.path, ATTRIBUTES, force=True) as writer:
            return run_episode(ControlCycle(self.driver, velocity or StillVelocity(), self.loop, pace or AsFastAsPossible()), plan, writer)

    def at(self, when, action):
        """A command source that also does `action` at control step `when`, before the robot's state is read."""

        def command_at(step):
            if step == when:
                action()
            return trot_command()

        return command_at


@pytest.fixture
def rig(tmp_path):
    return Rig(tmp_path)


def test_a_still_robot_told_to_stand_earns_the_full_reward(rig):
    summary = rig.run(10)
    assert summary.steps == 10 and summary.ended == END_TIME_LIMIT and not summary.fell
    assert summary.episode_return == pytest.approx(0.3)
    assert summary.distance_m == 0.0 and summary.events == SafetyEvent(0)
    assert summary.overruns == 0 and summary.invalid_velocity == 0
    assert rig.loop.mode is Mode.READY


def test_a_still_robot_told_to_walk_earns_what_the_equation_says(rig):
    # 0.02 exp(-0.5^2 / 0.25) + 0.01 = 0.02 x 0.367879 + 0.01
    summary = rig.run(1, lambda step: trot_command(vx=0.5))
    assert summary.episode_return == pytest.approx(0.01735759, abs=1e-8)


def test_the_first_action_is_a_change_from_zero(tmp_path):
    # 12 joints change by 1: 0.03 exp(-2e-3 x 12 / 0.02) = 0.03 x 0.301194, then 0.03
    rig = Rig(tmp_path, OnesPolicy())
    rig.run(2)
    np.testing.assert_allclose(read_episode(rig.path).rewards, [0.00903583, 0.03], atol=1e-7)


def test_reward_and_distance_of_a_row_come_from_the_state_after_its_action_its_velocity_from_the_one_before(rig):
    # 76 readings while standing up, then one a control step and one after the last
    velocity = ScriptedVelocity([9.0] * 76 + [9.0, 0.0, 0.5, 0.0])
    summary = rig.run(3, velocity=velocity)
    episode = read_episode(rig.path)
    np.testing.assert_allclose(episode.base_lin_vel_b[:, 0], [9.0, 0.0, 0.5])
    np.testing.assert_allclose(episode.rewards, [0.03, 0.01735759, 0.03], atol=1e-7)
    assert summary.distance_m == pytest.approx(0.01)


def test_a_row_without_a_velocity_is_marked_and_its_velocity_terms_are_unknown(rig):
    summary = rig.run(3, velocity=ScriptedVelocity([0.0] * 76 + [0.0, 0.0, None, 0.0]))
    episode = read_episode(rig.path)
    assert episode.velocity_valid.tolist() == [True, True, False]
    assert episode.reward_measured.tolist() == [True, False, True]
    assert np.isnan(episode.reward_terms[1, :3]).all() and not np.isnan(episode.reward_terms[1, 3:]).any()
    np.testing.assert_allclose(episode.rewards, [0.03, 0.0, 0.03], atol=1e-7)
    assert summary.invalid_velocity == 1 and np.isfinite(summary.distance_m)


class Jerking(StillDriver):
    """Its joints' speed changes sign in every period; once it stands, periods take `apart_s` by its stamps."""

    def __init__(self, speed):
        super().__init__()
        self.speed, self.apart_s = speed, go1.CONTROL_DT

    def read(self):
        return replace(super().read(), joint_vel=np.full(12, self.speed))

    def write(self, command):
        self.speed, self._simulated_s = -self.speed, self._simulated_s + self.apart_s - go1.CONTROL_DT
        return super().write(command)


# 250 rad/s^2 each, for the rows are counted as a control period apart at least: -5e-9 x 12 x 250^2 = -0.00375
@pytest.mark.parametrize(("apart_s", "speed"), [(0.02, 2.5), (0.06, 7.5), (0.018, 2.5), (0.0001, 2.5)])
def test_an_acceleration_is_by_the_time_that_passed_between_two_rows(rig, apart_s, speed):
    rig.driver = Jerking(speed)
    rig.driver.connect()
    rig.run(3, rig.at(0, lambda: setattr(rig.driver, "apart_s", apart_s)))
    episode = read_episode(rig.path)
    assert np.diff(episode.stamp_s) == pytest.approx([apart_s] * 2)
    assert episode.reward_terms[:, list(WEIGHTS).index("joint_acc")] == pytest.approx([-0.00375] * 3)


def test_the_rows_of_an_episode(tmp_path):
    rig = Rig(tmp_path, OnesPolicy())
    rig.run(3, lambda step: trot_command(vx=0.1 * step))
    episode = read_episode(rig.path)
    assert len(episode) == 3 and episode.attributes.ended == END_TIME_LIMIT
    assert episode.truncated.tolist() == [False, False, True] and not episode.terminated.any()
    np.testing.assert_allclose(episode.command[:, 0], [0.0, 0.1, 0.2], atol=1e-7)
    np.testing.assert_array_equal(episode.actions, np.ones((3, 12)))
    np.testing.assert_array_equal(episode.action_mean, np.ones((3, 12)))
    np.testing.assert_allclose(episode.log_prob, np.full(3, 16.603758), atol=1e-5)
    np.testing.assert_allclose(episode.joint_pos_target[:, :3], [[0.225, 1.05, -1.25]] * 3, atol=1e-6)
    np.testing.assert_allclose(episode.joint_pos[:, :3], [[0.1, 0.8, -1.5], [0.225, 1.05, -1.25], [0.225, 1.05, -1.25]], atol=1e-6)
    np.testing.assert_allclose(np.diff(episode.stamp_s), [0.02, 0.02])
    assert (episode.loop_latency_s > 0.0).all() and not episode.overrun.any() and not episode.safety_events.any()
    assert not episode.observations[0, :4].any()
    np.testing.assert_array_equal(episode.observations[2, 3], episode.observations[1, 4])
    np.testing.assert_array_equal(episode.final_observation[:4], episode.observations[2, 1:])
    np.testing.assert_array_equal(episode.final_observation[4, 42:54], np.ones(12))
    # the gait after three steps of 0.06: sin(2 pi 0.18) = 0.904827
    np.testing.assert_allclose(episode.final_observation[4, 54:], [-0.904827, 0.904827, 0.904827, -0.904827], atol=1e-6)


def test_a_fall_terminates_the_step_that_led_to_it(rig):
    summary = rig.run(10, rig.at(4, lambda: setattr(rig.driver, "quaternion_wxyz", ON_ITS_SIDE)))
    episode = read_episode(rig.path)
    assert summary.fell and summary.steps == len(episode) == 4 and summary.events == SafetyEvent.TILT
    assert not summary.fell_settling
    assert episode.attributes.ended == END_FALL
    assert episode.terminated.tolist() == [False, False, False, True] and not episode.truncated.any()
    assert episode.safety_events.tolist() == [0, 0, 0, SafetyEvent.TILT]
    np.testing.assert_allclose(episode.final_observation[4, :3], [0.0, -1.0, 0.0], atol=1e-6)
    assert rig.loop.mode is Mode.DAMPING and (rig.driver.sent.kd == DAMPING_KD).all()


def test_a_fall_on_the_very_last_step_is_a_fall_and_no_time_limit(rig):
    def upset():
        rig.driver.quaternion_wxyz = ON_ITS_SIDE

    asked = iter([False] * 3)

    def never_but_upset_at_the_end():
        if next(asked, True):
            upset()
        return False

    summary = rig.run(3, should_stop=never_but_upset_at_the_end)
    assert summary.steps == 3 and summary.fell


def test_an_emergency_stop_ends_as_a_safety_stop_which_is_no_fall_to_learn_from(rig):
    summary = rig.run(10, rig.at(2, rig.loop.request_estop))
    episode = read_episode(rig.path)
    assert (summary.steps, summary.ended) == (2, END_SAFETY)
    assert episode.truncated.tolist() == [False, True] and not episode.terminated.any()
    with pytest.raises(ModeError, match="ESTOP"):
        rig.run(10)


@pytest.mark.parametrize(
    "broken", [{"quaternion_wxyz": np.full(4, 1e20)}, {"joint_vel": np.full(12, 3e40)}, {"joint_vel": np.full(12, 1e200)}]
)
def test_a_reading_that_float32_cannot_hold_ends_as_a_safety_stop_with_a_finished_log(rig, broken):
    read = rig.driver.read
    summary = rig.run(10, rig.at(2, lambda: setattr(rig.driver, "read", lambda: replace(read(), **broken))))
    assert (summary.steps, summary.ended) == (2, END_SAFETY)
    assert np.isfinite(read_episode(rig.path).final_observation).all()


def test_a_joint_reading_of_no_number_ends_as_a_safety_stop_with_a_readable_log(rig):
    summary = rig.run(10, rig.at(2, lambda: setattr(rig.driver, "joint_pos", np.full(12, np.nan))))
    episode = read_episode(rig.path)
    assert (summary.steps, summary.ended, summary.events) == (2, END_SAFETY, SafetyEvent.NON_FINITE_STATE)
    np.testing.assert_array_equal(episode.final_observation, episode.observations[-1])
    assert np.isfinite(rig.driver.sent.joint_pos_target).all()


def with_faults(driver, faults):
    """What `driver` reads from now on."""
    read = driver.read
    driver.read = lambda: replace(read(), faults=faults)


def test_the_fault_by_which_the_driver_ends_an_episode_is_named(rig):
    summary = rig.run(10, rig.at(2, lambda: with_faults(rig.driver, DriverFault.POWER | DriverFault.MOTOR_HOT)))
    assert (summary.steps, summary.ended, summary.events) == (2, END_SAFETY, SafetyEvent.DRIVER)
    assert summary.line.endswith("ended by safety (DRIVER, MOTOR_HOT, POWER)")


def test_what_was_cut_on_the_way_is_no_reason_for_the_end(rig):
    summary = replace(rig.run(3), events=SafetyEvent.POSITION_LIMIT)
    assert summary.line == "3 steps, 0.00 m, return 0.09, ended by time_limit; on the way POSITION_LIMIT"


def test_an_episode_in_which_nothing_happened_tells_of_nothing(rig):
    assert rig.run(3).line == "3 steps, 0.00 m, return 0.09, ended by time_limit"


def test_the_operators_stop_truncates_and_leaves_the_robot_standing(rig):
    answers = iter([False, False, False, True])
    summary = rig.run(10, should_stop=lambda: next(answers))
    episode = read_episode(rig.path)
    assert (summary.steps, summary.ended) == (3, END_OPERATOR)
    assert episode.truncated.tolist() == [False, False, True] and not episode.terminated.any()
    assert rig.loop.mode is Mode.READY


def test_a_robot_that_runs_is_slowed_down_for_a_second_before_it_must_stand(rig):
    answers = iter([False, False, False])
    summary = rig.run(200, lambda _step: trot_command(0.5, 0.1, 0.2), should_stop=lambda: next(answers, True))
    episode = read_episode(rig.path)
    assert (summary.steps, summary.ended) == (3 + STOP_STEPS, END_OPERATOR)
    np.testing.assert_allclose(episode.command[:3, :3], [[0.5, 0.1, 0.2]] * 3, atol=1e-6)
    assert not episode.command[3:, :3].any()
    np.testing.assert_allclose(episode.command[3:, 3:], np.tile(trot_command()[3:], (STOP_STEPS, 1)), atol=1e-6)


def test_what_it_has_stood_still_already_counts_and_the_episode_is_no_longer_than_planned(rig):
    answers = iter([False] * 13)
    summary = rig.run(200, lambda step: trot_command(0.5 if step < 3 else 0.0), should_stop=lambda: next(answers, True))
    assert (summary.steps, summary.ended) == (3 + STOP_STEPS, END_OPERATOR)
    rig.path.unlink()
    assert rig.run(20, lambda _step: trot_command(0.5), should_stop=lambda: rig.loop.mode is Mode.POLICY).steps == 20


@pytest.mark.parametrize(("steps", "walking"), [(1, 1), (3, 3), (40, 30), (199, 150), (200, 150), (400, 350)])
def test_a_robot_is_slowed_down_before_its_time_is_over_whatever_it_is_told(rig, steps, walking):
    told = trot_command(0.5, 0.1, 0.2)
    summary = rig.run(steps, lambda _step: told)
    command = read_episode(rig.path).command
    assert (summary.steps, summary.ended) == (steps, END_TIME_LIMIT)
    np.testing.assert_array_equal(command[:walking], np.tile(told, (walking, 1)).astype(np.float32))
    np.testing.assert_array_equal(command[walking:], np.tile(trot_command(), (steps - walking, 1)).astype(np.float32))
    assert told[0] == 0.5  # the teller's own is left alone


def test_a_stop_shortly_before_the_end_makes_the_episode_no_longer(rig):
    answers = iter([False] * 190)
    assert rig.run(200, lambda _step: trot_command(0.5), should_stop=lambda: next(answers, True)).ended == END_OPERATOR
    assert 190 < len(read_episode(rig.path)) <= 200


def test_a_stop_before_the_first_step_makes_no_log(rig):
    summary = rig.run(10, should_stop=lambda: True)
    assert (summary.steps, summary.ended) == (0, END_OPERATOR)
    assert rig.loop.mode is Mode.READY and not list(rig.path.parent.iterdir())


def test_a_robot_that_is_damped_in_the_first_tick_makes_no_log_and_can_try_again(rig):
    summary = rig.run(10, rig.at(0, lambda: setattr(rig.driver, "quaternion_wxyz", ON_ITS_SIDE)))
    assert (summary.steps, summary.ended, summary.events) == (0, END_FALL, SafetyEvent.TILT)
    assert rig.loop.mode is Mode.DAMPING and not list(rig.path.parent.iterdir())


def test_a_fall_while_settling_is_a_fall_that_the_log_does_not_have(rig):
    upset_at_s = (76 + 3 + 10) * 0.02  # ten periods after the policy's three

    def read():
        if rig.driver.sent is not None and stillness().stamp_s >= upset_at_s:
            rig.driver.quaternion_wxyz = ON_ITS_SIDE
        return stillness()

    stillness, rig.driver.read = rig.driver.read, read
    summary = rig.run(3)
    assert summary.fell_settling and summary.fell and summary.ended == END_TIME_LIMIT
    assert rig.loop.mode is Mode.DAMPING
    episode = read_episode(rig.path)
    assert episode.attributes.ended == END_TIME_LIMIT
    assert episode.truncated.tolist() == [False, False, True] and not episode.terminated.any()


def test_episodes_follow_each_other_alike(tmp_path):
    rig = Rig(tmp_path, OnesPolicy())
    rig.run(5)
    first = read_episode(rig.path)
    rig.run(5)
    second = read_episode(rig.path)
    np.testing.assert_array_equal(first.observations[:, :, 3:], second.observations[:, :, 3:])
    np.testing.assert_array_equal(first.rewards, second.rewards)


def test_an_exception_in_the_policy_damps_the_robot_keeps_the_part_and_goes_on(tmp_path):
    rig = Rig(tmp_path, OnesPolicy(breaks_at=5))
    with pytest.raises(ZeroDivisionError, match="the network fell over"):
        rig.run(10)
    assert (rig.driver.sent.kp == 0.0).all() and (rig.driver.sent.kd == DAMPING_KD).all()
    np.testing.assert_allclose(rig.driver.sent.joint_pos_target[:3], [0.225, 1.05, -1.25])
    assert rig.loop.mode is Mode.DAMPING and rig.loop.supervisor.cause == SafetyEvent.FAULT
    assert not rig.path.exists() and rig.path.with_name("episode.hdf5.part").exists()


def test_an_interrupt_from_the_keyboard_damps_the_robot(rig):
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rig.run(10, rig.at(3, interrupt))
    assert (rig.driver.sent.kd == DAMPING_KD).all()


def test_a_lost_driver_is_reported_as_itself(rig):
    with pytest.raises(DriverError, match="not connected"):
        rig.run(10, rig.at(3, rig.driver.close))
    assert rig.loop.mode is Mode.DAMPING


def test_a_robot_that_lies_on_its_side_does_not_begin(rig):
    rig.driver.quaternion_wxyz = ON_ITS_SIDE
    with pytest.raises(ModeError, match=r"could not stand up \(TILT\)"):
        rig.run(10)
    assert (rig.driver.sent.kd == DAMPING_KD).all()


def test_a_frozen_robot_is_damped_in_simulated_time(rig):
    stamps = iter([0.02 * i for i in range(80)] + [1.6] * 100)
    rig.driver = StillDriver(clock=lambda: next(stamps))
    rig.driver.connect()
    summary = rig.run(50)
    assert summary.ended == END_SAFETY and SafetyEvent.STALE_STATE in summary.events


def hold_back(driver, joint, by):
    """`joint` stays `by` rad from where it stands, whatever it is told."""
    read, held = driver.read, np.arange(12) == joint
    driver.read = lambda: replace(state := read(), joint_pos=np.where(held, go1.DEFAULT_JOINT_POS + by, state.joint_pos))


def test_a_robot_that_is_held_back_on_its_way_up_is_named_by_its_joint_and_stays_where_it_is(rig):
    hold_back(rig.driver, 5, -1.05)
    cycle = ControlCycle(rig.driver, StillVelocity(), rig.loop, AsFastAsPossible())
    for _ in range(2):  # it may be tried again
        begun_s = rig.driver.read().stamp_s
        with pytest.raises(HeldBackError, match=r"the robot does not stand: FR_calf_joint is 1\.05 rad from where it should be"):
            stand_up(cycle)
        assert rig.driver.read().stamp_s - begun_s == pytest.approx(3.5) and rig.loop.mode is Mode.STAND
        np.testing.assert_allclose(rig.driver.sent.joint_pos_target, go1.DEFAULT_JOINT_POS)
    del rig.driver.read  # let go
    stand_up(cycle)
    assert rig.loop.mode is Mode.READY


def test_a_robot_that_does_not_get_up_has_no_episode_and_is_damped(rig):
    hold_back(rig.driver, 5, -1.05)
    with pytest.raises(HeldBackError):
        rig.run(10)
    assert rig.loop.mode is Mode.DAMPING and not list(rig.path.parent.iterdir())


def test_a_robot_that_is_held_back_after_its_walk_has_a_whole_log_and_is_not_waited_for_for_ever(rig):
    summary = rig.run(20, rig.at(19, lambda: hold_back(rig.driver, 5, -1.05)))
    assert (summary.steps, summary.ended, summary.fell) == (20, END_TIME_LIMIT, False)
    assert len(read_episode(rig.path)) == 20 and rig.loop.mode is Mode.STAND


class Late(AsFastAsPossible):
    """A pace whose periods are late in a pattern, from the policy's first on."""

    def __init__(self, loop, pattern):
        self._loop, self._pattern = loop, pattern

    def wait_next(self):
        return self._loop.mode is Mode.POLICY and next(self._pattern)


def test_a_policy_that_misses_its_deadline_ten_times_in_a_row_is_stopped(rig):
    summary = rig.run(100, pace=Late(rig.loop, itertools.chain([False] * 3, itertools.repeat(True))))
    assert (summary.steps, summary.ended, summary.overruns) == (13, END_SAFETY, 10)
    assert summary.events == SafetyEvent.OVERRUN and summary.line.endswith("ended by safety (OVERRUN)")
    assert read_episode(rig.path).safety_events[-1] == SafetyEvent.OVERRUN
    assert (rig.driver.sent.kp == 0.0).all() and (rig.driver.sent.kd == DAMPING_KD).all()


def test_a_computer_that_is_busy_now_and_then_is_no_reason_to_stop(rig):
    summary = rig.run(100, pace=Late(rig.loop, itertools.cycle([True] * 9 + [False])))
    assert (summary.steps, summary.ended, summary.overruns) == (100, END_TIME_LIMIT, 90)


def test_an_episode_needs_a_step():
    with pytest.raises(ConfigError, match="at least 1 step"):
        EpisodePlan(0, lambda step: trot_command())


def test_an_episode_without_a_log(rig):
    plan = EpisodePlan(3, lambda step: trot_command())
    assert run_episode(ControlCycle(rig.driver, StillVelocity(), rig.loop, AsFastAsPossible()), plan, None).steps == 3


def test_in_real_time_the_steps_keep_the_clocks_pace(rig):
    rig.driver = StillDriver(clock=time.monotonic)
    rig.driver.connect()
    begun = time.monotonic()
    rig.run(20, pace=RealTime(0.02))
    stamps = read_episode(rig.path).stamp_s
    assert stamps[-1] - stamps[0] == pytest.approx(0.38, abs=0.03)
    assert time.monotonic() - begun > 3.0  # it stood up before and after in its own time


def test_a_missed_beat_is_reported_and_left_out():
    pace = RealTime(0.06)
    assert not pace.wait_next()
    begun = time.monotonic()
    time.sleep(0.08)
    assert pace.wait_next()
    assert time.monotonic() - begun == pytest.approx(0.12, abs=0.03)
    assert not pace.wait_next()


@pytest.mark.parametrize("seed", range(3))
def test_a_real_policy_that_is_stopped_while_it_runs_stays_on_its_feet(real_data, tmp_path, seed):
    import_policy(real_data / "go1_mattress" / "policies" / "sim_000300.npz", tmp_path / "policy.onnx")
    policy = load_artifact(tmp_path / "policy.onnx")
    answers = iter([False] * (150 + 4 * seed))  # at another phase of the gait each time
    plan = EpisodePlan(1000, lambda _step: trot_command(1.2), lambda: next(answers, True))
    with twin_station(FLAT, seed) as station:
        loop = ControlLoop(policy, Supervisor(policy.metadata.kp, policy.metadata.kd))
        summary = run_episode(ControlCycle(station.driver, station.velocity, loop, station.pace), plan, None)
    assert summary.ended == END_OPERATOR and not summary.fell
    assert summary.distance_m > 2.0
