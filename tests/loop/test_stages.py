from dataclasses import replace

import numpy as np
import pytest

from loop.twin_station import twin_station
from robot.driver import DriverError
from robot.log.episode_log import list_episodes, read_episode
from robot.policy.artifact import load_artifact
from twin.world import FLAT


def test_a_collection_has_the_steps_and_sessions_that_were_asked_for(collect):
    out, result = collect(steps=180, sessions=3)
    episodes = [read_episode(path) for path in list_episodes(out / "logs")]
    assert result == {"episodes": 6, "steps": 180, "falls": 0}
    assert [episode.attributes.session for episode in episodes] == [f"session_0{number}" for number in (0, 0, 1, 1, 2, 2)]
    assert {episode.attributes.source for episode in episodes} == {"twin:flat"}
    assert {episode.attributes.policy_sha256 for episode in episodes} == {load_artifact(out / "pretrained" / "policy.onnx").sha256}
    assert np.concatenate([episode.command[:, 0] for episode in episodes]).min() >= 0.0


def test_a_stage_walks_on_the_world_that_it_is_given_whatever_the_terrains_file_says_by_now(collect):
    out, _ = collect(steps=60, sessions=2, world=replace(FLAT, name="lawn"))
    assert {read_episode(path).attributes.source for path in list_episodes(out / "logs")} == {"twin:lawn"}


def walked(out):
    """Every log, whole or not, by its path."""
    return {path.relative_to(out): read_episode(path) for path in (out / "logs").rglob("*.hdf5*")}


def test_an_interrupted_collection_is_made_again(collect):
    out, first = collect()
    before = walked(out)
    (out / "logs" / "session_00" / "episode_9999.hdf5.part").write_bytes(b"cut short")
    _, second = collect()
    assert second == first
    again = walked(out)
    assert again.keys() == before.keys() and len(again) == 6
    for path, episode in again.items():
        assert np.array_equal(episode.observations, before[path].observations) and np.array_equal(episode.actions, before[path].actions)


def test_a_station_is_closed_behind_its_user():
    with twin_station(FLAT, seed=0) as station:
        assert station.source == "twin:flat"
        assert station.driver.read().joint_pos.shape == (12,)
    with pytest.raises(DriverError):
        station.driver.read()
