"""Recorded episodes on the twin, with episodes that a twin itself has walked: what it did it must predict."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from robot import go1
from robot.forward_commands import ForwardCommands
from robot.log.episode import Episode
from robot.log.episode_log import read_episode
from robot.observation import GO1_LAYOUT
from robot.pace import AsFastAsPossible
from robot.station import Collector, Station
from twin.actuator import ActuatorConfig
from twin.driver import TwinDriver, TwinVelocity
from twin.replay import ReplayError, drive, errors_of, follow, recorded_poses, standing_sink, windows_of
from twin.world import FLAT, MATTRESS, Pushes, Variation

STEPS = 60


@pytest.fixture
def walk(write_policy, tmp_path) -> Episode:
    """A twin that stands and fidgets: every action is noise around the default posture."""
    driver = TwinDriver(FLAT, 0)
    driver.connect()
    station = Station(driver, TwinVelocity(driver, 0, noise_std=0.0), AsFastAsPossible(), driver.place, "twin:flat")
    rng = np.random.default_rng(0)
    Collector(station, write_policy(std=1.0), rng, "s", {}).collect(tmp_path / "walk.hdf5", ForwardCommands(0.0, 0.0).draw(STEPS, rng))
    driver.close()
    return read_episode(tmp_path / "walk.hdf5")


def rms(values):
    return float(np.sqrt(np.square(values).mean()))


def test_a_twin_predicts_what_a_twin_did(walk):
    windows = windows_of(walk, horizon=10, every=1, sink=standing_sink(FLAT))
    errors = errors_of(windows, drive(windows, FLAT))
    assert rms(errors.joint_pos[:, 0]) < 0.4 * rms(errors.joint_pos_held[:, 0])  # how high the trunk was is only known from its feet
    assert rms(errors.joint_pos[:, -1]) < 0.2 * rms(errors.joint_pos_held[:, -1])
    assert np.median(errors.tilt) < 0.01


def test_a_weaker_twin_predicts_worse(walk):
    windows = windows_of(walk, horizon=5, every=1)
    right, wrong = (errors_of(windows, drive(windows, replace(FLAT, robot=Variation(motor_strength=share)))) for share in (1.0, 0.6))
    assert rms(wrong.joint_pos) > 2 * rms(right.joint_pos)


def test_a_twin_whose_motors_are_late_predicts_worse(walk):
    windows = windows_of(walk, horizon=5, every=1)
    right, late = (errors_of(windows, drive(windows, replace(FLAT, actuator=ActuatorConfig((delay, delay))))) for delay in (0.0, 0.02))
    assert rms(late.joint_pos) > 2 * rms(right.joint_pos)


def test_windows_hold_the_recorded_rows_in_their_order(walk):
    windows = windows_of(walk, horizon=3, every=20)
    assert len(windows.qpos) == 3  # they start at rows 1, 21 and 41
    assert windows.qpos[1, 7:] == pytest.approx(walk.joint_pos[21])
    assert windows.qvel[1, 6:] == pytest.approx(walk.joint_vel[21])
    assert windows.target_before[1] == pytest.approx(walk.joint_pos_target[20])
    assert windows.targets[1] == pytest.approx(walk.joint_pos_target[21:24])
    assert windows.joint_pos[1] == pytest.approx(walk.joint_pos[22:25])


def test_a_window_does_not_start_where_the_velocity_was_not_measured(walk):
    valid = np.ones(len(walk), dtype=np.bool_)
    valid[10:] = False
    assert len(windows_of(replace(walk, velocity_valid=valid), horizon=3, every=1).qpos) == 9
    with pytest.raises(ReplayError, match="no row has a measured state"):
        windows_of(replace(walk, velocity_valid=np.zeros_like(valid)), horizon=3, every=1)


def test_a_window_holds_no_gap_in_time(walk):
    stamps = walk.stamp_s.copy()
    stamps[30:] += 0.02  # a period was left out before row 30
    windows = windows_of(replace(walk, stamp_s=stamps), horizon=3, every=1)
    assert len(windows.qpos) == len(windows_of(walk, horizon=3, every=1).qpos) - 3


def test_a_quaternion_of_zeros_is_refused(walk):
    with pytest.raises(ReplayError, match="quaternion is zero"):
        recorded_poses(replace(walk, quaternion_wxyz=np.zeros_like(walk.quaternion_wxyz)))


def test_where_no_velocity_was_measured_no_error_is_claimed(walk):
    nothing = np.full_like(walk.base_lin_vel_b, np.nan)
    windows = windows_of(replace(walk, base_lin_vel_b=nothing, missing=("base_lin_vel_b",)), horizon=3, every=20)
    assert np.isnan(errors_of(windows, drive(windows, FLAT)).base_lin_vel).all()


def test_without_any_velocity_windows_start_at_rest(walk):
    nothing = np.full_like(walk.base_lin_vel_b, np.nan)
    windows = windows_of(replace(walk, base_lin_vel_b=nothing, missing=("base_lin_vel_b",)), horizon=3, every=20)
    assert not windows.qvel[:, :3].any()


def test_what_a_replay_needs_and_the_log_lacks_is_named(walk):
    nothing = np.full_like(walk.joint_pos_target, np.nan)
    joint_pos = walk.joint_pos.copy()
    joint_pos[5, 2] = np.nan
    with pytest.raises(ReplayError, match=r"joint_pos, .* is no number in 1 of \d+ rows, the first of them row 5$"):
        recorded_poses(replace(walk, joint_pos=joint_pos))
    with pytest.raises(ReplayError, match="no joint_pos_target"):
        windows_of(replace(walk, joint_pos_target=nothing, missing=("joint_pos_target",)), horizon=3, every=1)


def test_poses_stand_on_the_floor_and_move_with_the_velocity(walk):
    forward = np.zeros_like(walk.base_lin_vel_b)
    forward[:, 0] = 0.5
    upright = np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (len(walk), 1))
    poses = recorded_poses(replace(walk, base_lin_vel_b=forward, quaternion_wxyz=upright))
    assert poses[-1, 0] == pytest.approx(0.5 * 0.02 * (len(walk) - 1), rel=1e-5)
    assert np.median(poses[:, 2]) == pytest.approx(0.27, abs=0.05)
    assert recorded_poses(walk, sink=0.04)[:, 2] == pytest.approx(recorded_poses(walk)[:, 2] - 0.04)


def test_feet_sink_into_a_mattress():
    assert 0.0 < standing_sink(FLAT) < 0.002
    assert 0.02 < standing_sink(MATTRESS) < 0.1
    assert standing_sink(replace(MATTRESS, pushes=Pushes(0.1, 1.0))) == standing_sink(MATTRESS)  # nothing pushes it meanwhile


class Leaner:
    """Bends its front left hip as far as it is commanded to walk."""

    def act(self, observation_history):
        mean = np.zeros((len(observation_history), 12), dtype=np.float32)
        mean[:, 0] = observation_history[:, -GO1_LAYOUT.frame_size :][:, GO1_LAYOUT.slice_of("command/vx")][:, 0]
        return mean, np.ones(12, dtype=np.float32)


def test_a_policy_sees_the_recorded_commands(walk):
    command = walk.command.copy()
    command[STEPS // 2 :, 0] = 1.0
    poses, _, _ = follow(Leaner(), replace(walk, command=command), FLAT)
    before, after = poses[STEPS // 2 - 1, 7], poses[-1, 7]
    assert abs(after - before) > 0.1


def test_a_followed_recording_starts_where_the_robot_was(walk, write_policy):
    poses, _, _ = follow(write_policy("still"), walk, FLAT)
    assert poses[0, 7:] == pytest.approx(walk.joint_pos[0], abs=0.2)


def test_a_policy_walks_under_the_recorded_commands(walk, write_policy):
    poses, speeds, fell = follow(write_policy("still"), walk, FLAT)
    assert poses.shape == (len(walk), 19)
    assert speeds.shape == (len(walk), 3)
    assert not fell
    assert poses[-1, 7:] == pytest.approx(go1.DEFAULT_JOINT_POS, abs=0.35)  # what gravity bends the motors by
