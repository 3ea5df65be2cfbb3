import math
from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from robot.command import trot_command
from robot.control_loop import MAX_SAG, CommandError, ControlLoop, furthest_joint, gaussian_log_prob
from robot.observation import COMMAND_SLICE, SLOT_17_TIMING, go1_layout
from robot.still_driver import StillContract, StillDriver, StillPolicy
from robot.supervisor import DAMPING_KD, SINKING_S, Mode, ModeError, SafetyEvent, Supervisor

STAND = go1.DEFAULT_JOINT_POS
LYING = np.array([0.0, 1.2, -2.6] * 4)


class FixedPolicy(StillPolicy):
    """Gives the same mean and std always and remembers the histories it saw."""

    def __init__(self, mean, std=0.1):
        super().__init__(std)
        self._mean = np.full(12, mean, dtype=np.float32)
        self.seen = []

    def act(self, observation_history, /):
        self.seen.append(observation_history.copy())
        return super().act(observation_history)


class Rig:
    """A loop on a still robot in simulated time."""

    def __init__(self, policy=None, rng=None, joint_pos=go1.DEFAULT_JOINT_POS):
        self.driver = StillDriver(joint_pos)
        self.driver.connect()
        self.loop = ControlLoop(policy or StillPolicy(), Supervisor(20.0, 0.5), rng)

    def step(self, **changes):
        state = replace(self.driver.read(), **changes)
        return self.driver.write(self.loop.step(state, state.stamp_s))

    def lie_still(self):
        """Damped, until it may be armed again."""
        for _ in range(round(SINKING_S / go1.CONTROL_DT)):
            self.step()
        assert self.loop.mode is Mode.DAMPING
        return self

    def ready(self):
        self.loop.request_stand()
        for _ in range(77):  # 1.5 s, and one more where the stamps, which are added up, fall short of it
            self.step()
        assert self.loop.mode is Mode.READY
        return self

    def acting(self):
        self.ready().loop.request_start()
        self.step()
        return self


def test_a_new_loop_is_passive_and_without_gains():
    rig = Rig()
    command = rig.step()
    assert rig.loop.mode is Mode.PASSIVE
    assert not command.kp.any() and not command.kd.any()


def test_stand_goes_straight_from_where_the_joints_are_to_the_default_posture_in_one_and_a_half_seconds():
    rig = Rig(joint_pos=LYING)
    rig.step()
    rig.loop.request_stand()
    targets = [rig.step().joint_pos_target for _ in range(77)]
    np.testing.assert_allclose(targets[0], LYING)
    # a third of the way after 25 periods of 0.02 s: hip 0.1 / 3, thigh 1.2 - 0.4 / 3, calf -2.6 + 1.1 / 3
    np.testing.assert_allclose(targets[25][:3], [0.033333, 1.066667, -2.233333], atol=1e-6)
    np.testing.assert_allclose(targets[75], go1.DEFAULT_JOINT_POS, atol=1e-12)
    assert rig.loop.mode is Mode.READY


def test_standing_takes_its_full_time_even_if_the_first_step_comes_long_after_the_request():
    rig = Rig(joint_pos=LYING)
    rig.loop.request_stand()
    np.testing.assert_allclose(rig.loop.step(replace(rig.driver.read(), stamp_s=100.0), 100.0).joint_pos_target, LYING)


@pytest.mark.parametrize(("joint", "sign"), [(joint, sign) for joint in range(12) for sign in (-1, 1) if (joint % 3, sign) != (2, 1)])
def test_a_robot_is_ready_once_no_joint_is_further_off_than_one_that_stands(joint, sign):
    def at(off):
        return STAND + np.where(np.arange(12) == joint, sign * off, 0.0)

    rig = Rig()
    rig.loop.request_stand()
    for _ in range(100):
        rig.step(joint_pos=at(MAX_SAG + 1e-6))
    assert rig.loop.mode is Mode.STAND
    assert furthest_joint(at(MAX_SAG + 0.1)) == (go1.JOINT_NAMES[joint], pytest.approx(MAX_SAG + 0.1))
    rig.step(joint_pos=at(MAX_SAG - 1e-6))
    assert rig.loop.mode is Mode.READY
    rig.step(joint_pos=at(MAX_SAG + 1e-6))
    assert rig.loop.mode is Mode.READY  # it holds what it has


def test_one_that_is_held_back_is_not_told_to_go_beyond_the_default_posture():
    rig = Rig()
    rig.loop.request_stand()
    for _ in range(150):  # twice the time that standing up takes
        command = rig.step(joint_pos=LYING)
    assert rig.loop.mode is Mode.STAND
    np.testing.assert_allclose(command.joint_pos_target, STAND, atol=1e-12)


def test_one_that_lies_or_whose_joints_are_no_numbers_does_not_stand_while_one_that_sags_does():
    assert furthest_joint(LYING)[1] > MAX_SAG
    assert not furthest_joint(np.where(np.arange(12) == 3, np.nan, STAND))[1] <= MAX_SAG
    recorded = [0.04, -0.12, -0.26, -0.03, -0.13, -0.21, -0.01, -0.16, -0.66, -0.01, -0.15, -0.67]  # the most, 20230808-205726
    assert furthest_joint(STAND + recorded)[1] < MAX_SAG


def test_a_stand_after_an_emergency_stop_begins_where_the_joints_are_then():
    rig = Rig(joint_pos=LYING)
    rig.loop.request_stand()
    for _ in range(40):
        rig.step()
    rig.loop.request_estop()
    rig.lie_still().loop.rearm()
    rig.loop.request_stand()
    rig.driver.joint_pos = LYING.copy()
    np.testing.assert_allclose(rig.step().joint_pos_target, LYING)


def test_standing_and_acting_use_the_policys_gains():
    for command in (Rig().ready().step(), Rig().acting().step()):
        assert (command.kp == 20.0).all() and (command.kd == 0.5).all()


def test_the_first_observation_of_the_policy_has_four_empty_frames_no_last_action_and_the_gait_at_its_start():
    policy = FixedPolicy(1.0)
    rig = Rig(policy).acting()
    first = policy.seen[0]
    assert first.shape == (5, 58) and first.dtype == np.float32
    assert not first[:4].any()
    np.testing.assert_array_equal(first[4, :3], [0.0, 0.0, -1.0])
    np.testing.assert_array_equal(first[4, 18:54], np.zeros(36))
    np.testing.assert_allclose(first[4, 54:], np.zeros(4), atol=1e-6)  # sin of half and whole turns
    np.testing.assert_array_equal(rig.loop.last_tick.act.observation, first)


def test_the_second_observation_has_the_first_frame_the_action_and_the_gait_one_step_on():
    policy = FixedPolicy(1.0)
    Rig(policy).acting().step()
    first, second = policy.seen
    np.testing.assert_array_equal(second[3], first[4])
    np.testing.assert_array_equal(second[4, 42:54], np.ones(12))
    # 3 Hz x 0.02 s = 0.06 of a turn: sin(21.6 degrees) = 0.368125; the trot's other diagonal is half a turn away
    np.testing.assert_allclose(second[4, 54:], [-0.368125, 0.368125, 0.368125, -0.368125], atol=1e-6)
    # one unit of action moves hips by 0.125 rad, the others by 0.25 rad
    np.testing.assert_allclose(second[4, 18:21], [0.125, 0.25, 0.25], atol=1e-6)


def test_a_policy_that_sees_the_gaits_time_is_given_it():
    policy = FixedPolicy(0.0)
    policy.metadata = StillContract(layout=go1_layout(SLOT_17_TIMING))
    Rig(policy).acting().step()
    assert [seen[4, 17] for seen in policy.seen] == pytest.approx([0.0, 0.06])  # 3 Hz x 0.02 s


def test_each_start_forgets_the_episode_before():
    policy = FixedPolicy(1.0)
    rig = Rig(policy).acting()
    rig.loop.request_stop()
    for _ in range(77):
        rig.step()
    rig.loop.request_start()
    rig.step()
    np.testing.assert_array_equal(policy.seen[0], policy.seen[1])


def test_stopping_leads_through_stand_to_ready_and_still_tells_what_the_policy_would_have_seen():
    policy = FixedPolicy(1.0)
    rig = Rig(policy).acting()
    rig.loop.request_stop()
    rig.step()
    tick = rig.loop.last_tick
    assert tick.mode is Mode.STAND and len(policy.seen) == 1
    np.testing.assert_array_equal(tick.act.observation[4, 42:54], np.ones(12))
    np.testing.assert_array_equal(tick.act.observation[3], policy.seen[0][4])
    for _ in range(76):
        rig.step()
    assert rig.loop.mode is Mode.READY
    assert not rig.loop.last_tick.act.observation.any()


def test_the_mean_action_and_its_log_prob():
    rig = Rig(FixedPolicy(0.5)).acting()
    act = rig.loop.last_tick.act
    np.testing.assert_array_equal(act.action, np.full(12, 0.5))
    # 12 x (-ln 0.1 - ln(2 pi) / 2) = 12 x (2.302585 - 0.918939)
    assert act.log_prob == pytest.approx(16.603758, abs=1e-5)
    np.testing.assert_allclose(rig.loop.last_tick.joint_pos_target[:3], [0.1625, 0.925, -1.375])


def test_sampled_actions_come_from_the_policys_gaussian():
    rig = Rig(FixedPolicy(0.5, std=0.2), np.random.default_rng(3)).acting()
    actions, log_probs = [], []
    for _ in range(400):
        rig.step()
        actions.append(rig.loop.last_tick.act.action)
        log_probs.append(rig.loop.last_tick.act.log_prob)
        np.testing.assert_array_equal(rig.loop.last_tick.act.action_mean, np.full(12, 0.5, dtype=np.float32))
    assert np.mean(actions) == pytest.approx(0.5, abs=0.01)
    assert np.std(actions) == pytest.approx(0.2, abs=0.01)
    # the entropy of 12 dimensions: 12 x (ln 0.2 + (1 + ln(2 pi)) / 2) = 12 x (-1.609438 + 1.418939) = -2.285990
    assert np.mean(log_probs) == pytest.approx(2.285990, abs=0.4)


def test_the_same_seed_draws_the_same_actions():
    acts = [Rig(rng=np.random.default_rng(7)).acting().loop.last_tick.act.action for _ in range(2)]
    np.testing.assert_array_equal(*acts)


def test_log_prob_by_hand():
    # deviations of 1 and 2 std: -(1 + 4) / 2 - ln 0.5 - ln 2 - ln(2 pi) = -2.5 - 1.837877
    action, mean, std = (np.array(v, dtype=np.float32) for v in ([1.5, -3.0], [1.0, 1.0], [0.5, 2.0]))
    assert gaussian_log_prob(action, mean, std) == pytest.approx(-4.337877, abs=1e-6)


@pytest.mark.parametrize("sign", [-1, 1])
def test_actions_beyond_10_are_stored_clipped_with_the_log_prob_of_what_is_stored(sign):
    rig = Rig(FixedPolicy(sign * 10.5, std=1.0)).acting()
    np.testing.assert_array_equal(rig.loop.last_tick.act.action, np.full(12, sign * 10.0))
    # half a std from the mean in 12 dimensions: -12 (0.125 + 0.918939)
    assert rig.loop.last_tick.act.log_prob == pytest.approx(-12.527263, abs=1e-5)


@pytest.mark.parametrize(
    ("mean", "std"), [(math.nan, 0.1), (math.inf, 0.1), (-math.inf, 0.1), (0.0, math.nan), (0.0, 0.0), (0.0, math.inf)]
)
def test_a_policy_that_breaks_is_damped(mean, std):
    rig = Rig(FixedPolicy(mean, std)).acting()
    tick = rig.loop.last_tick
    assert tick.mode is Mode.DAMPING and tick.events == SafetyEvent.NON_FINITE_ACTION
    assert (rig.driver.sent.kp == 0.0).all() and (rig.driver.sent.kd == DAMPING_KD).all()
    assert np.isfinite(tick.act.action).all() and np.isfinite(tick.act.observation).all()


def test_after_a_state_of_no_numbers_the_last_observation_stands():
    policy = FixedPolicy(1.0)
    rig = Rig(policy).acting()
    rig.step(joint_pos=np.full(12, np.nan))
    assert rig.loop.mode is Mode.DAMPING and len(policy.seen) == 1
    np.testing.assert_array_equal(rig.loop.last_tick.act.observation, policy.seen[0])


@pytest.mark.parametrize(
    "broken",
    [
        {"quaternion_wxyz": np.full(4, 1e20)},
        {"joint_vel": np.full(12, 3e40)},
        {"joint_pos": np.full(12, -1e39)},
    ],
)
def test_after_a_state_that_float32_cannot_hold_the_last_observation_stands(broken):
    policy = FixedPolicy(1.0)
    rig = Rig(policy).acting()
    rig.step(**broken)
    assert rig.loop.mode is Mode.DAMPING
    np.testing.assert_array_equal(rig.loop.last_tick.act.observation, policy.seen[0])


def test_the_command_reaches_the_policy_scaled():
    policy = FixedPolicy(0.0)
    rig = Rig(policy).ready()
    rig.loop.command = trot_command(vx=0.5, vy=-0.2, yaw_rate=0.4)
    rig.loop.request_start()
    rig.step()
    np.testing.assert_allclose(policy.seen[0][4, COMMAND_SLICE][:3], [1.0, -0.4, 0.1], atol=1e-6)


@pytest.mark.parametrize(
    "bad", [np.zeros(14), np.full(15, np.nan), np.full(15, np.inf), np.full(15, 11.0), np.full(15, -11.0), np.zeros((1, 15))]
)
def test_a_broken_command_is_refused_and_the_old_one_kept(bad):
    loop = Rig().loop
    loop.command = trot_command(0.3)
    with pytest.raises(CommandError, match="15 numbers"):
        loop.command = bad
    np.testing.assert_array_equal(loop.command, trot_command(0.3))


def test_the_command_is_a_copy():
    loop, command = Rig().loop, trot_command(0.3)
    loop.command = command
    command[0] = 2.0
    assert loop.command[0] == 0.3


def test_requests_out_of_order_are_refused_by_name():
    rig = Rig()
    with pytest.raises(ModeError, match="'policy' is possible from ready; the robot is passive"):
        rig.loop.request_start()
    with pytest.raises(ModeError, match="nothing to re-arm"):
        rig.loop.rearm()
    rig.acting()
    with pytest.raises(ModeError, match="'stand' is possible from passive or ready; the robot is policy"):
        rig.loop.request_stand()


def test_a_stop_before_the_start_took_effect_withdraws_it():
    rig = Rig().ready()
    rig.loop.request_start()
    rig.loop.request_stop()
    rig.step()
    assert rig.loop.mode is Mode.READY


def test_the_emergency_stop_damps_until_rearmed():
    rig = Rig().acting()
    rig.loop.request_estop()
    for _ in range(3):
        assert (rig.step().kp == 0.0).all()
        assert rig.loop.last_tick.events == SafetyEvent.ESTOP
    with pytest.raises(ModeError):
        rig.loop.request_stand()
    with pytest.raises(ModeError, match="wait until it lies still"):
        rig.loop.rearm()
    rig.lie_still().loop.rearm()
    rig.step()
    assert rig.loop.mode is Mode.PASSIVE
    rig.ready()


def test_policies_are_exchanged_between_episodes_only_and_only_with_equal_gains():
    rig = Rig().acting()
    with pytest.raises(ModeError, match="while the robot is in 'policy'; stop first"):
        rig.loop.use(StillPolicy())
    rig.loop.request_stop()
    rig.step()
    with pytest.raises(ModeError, match=r"while the robot is in 'stand'; .* wait until it stands"):
        rig.loop.use(StillPolicy())
    for _ in range(76):
        rig.step()
    assert rig.loop.mode is Mode.READY
    for gains, named in (({"kp": 30.0}, "30"), ({"kd": 0.7}, "0.7")):
        stiff = StillPolicy()
        stiff.metadata = StillContract(**gains)
        with pytest.raises(ModeError, match=named):
            rig.loop.use(stiff)
    policy = FixedPolicy(1.0)
    rig.loop.use(policy)
    rig.loop.request_start()
    rig.step()
    assert len(policy.seen) == 1
