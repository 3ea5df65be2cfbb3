"""A recorded walk as a driver."""

import time
from dataclasses import replace

import numpy as np
import pytest

from robot.driver import DriverError, JointCommand
from robot.log.episode_log import EpisodeLogError, write_episode
from robot.replay_driver import ReplayDriver
from tests.offline_finetune.made_data import made_episode

COMMAND = JointCommand(np.zeros(12), np.zeros(12), np.zeros(12))


@pytest.fixture
def walk(tmp_path):
    joint_pos = np.arange(36, dtype=np.float32).reshape(3, 12) / 100
    return made_episode(3, joint_pos=joint_pos), tmp_path / "walk.hdf5"


def test_row_by_row_and_again_from_the_start(walk):
    episode, path = walk
    write_episode(path, episode)
    driver = ReplayDriver(path)
    with pytest.raises(DriverError, match="not connected"):
        driver.read()
    driver.connect()
    for row in (0, 1, 2, 0):
        state = driver.read()
        np.testing.assert_array_equal(state.joint_pos, episode.joint_pos[row])
        np.testing.assert_array_equal(state.quaternion_wxyz, episode.quaternion_wxyz[row])
        assert abs(state.stamp_s - time.monotonic()) < 1.0
        assert driver.write(COMMAND) is COMMAND
    driver.close()
    driver.close()


def test_what_was_not_recorded_is_zero_and_what_is_needed_is_refused(walk):
    episode, path = walk
    assert "foot_force" in episode.missing
    write_episode(path, episode)
    driver = ReplayDriver(path)
    driver.connect()
    assert (driver.read().foot_force == 0.0).all()
    nothing = np.full_like(episode.joint_vel, np.nan)
    write_episode(path, replace(episode, joint_vel=nothing, missing=(*episode.missing, "joint_vel")), force=True)
    with pytest.raises(DriverError, match="has no joint_vel"):
        ReplayDriver(path)


def test_no_log(tmp_path):
    with pytest.raises(EpisodeLogError):
        ReplayDriver(tmp_path / "none.hdf5")
