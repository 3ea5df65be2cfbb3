"""Data by their place, and the rewards that learners see."""

from __future__ import annotations

import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from d4rl_bench.d4rl_file import DataError, read_d4rl, write_d4rl
from d4rl_bench.source import load
from d4rl_bench.task import find_task
from learners.transitions import Transitions

HOPPER = find_task("hopper-medium-v2")


def made_transitions(rewards: tuple[float, ...] = (1.0, 2.0, 4.0, 5.0)) -> Transitions:
    """Two episodes of two rows each."""
    observations = np.random.default_rng(0).normal(size=(4, 11)).astype(np.float32)
    return Transitions(
        observations=observations,
        actions=np.zeros((4, 3), dtype=np.float32),
        rewards=np.array(rewards, dtype=np.float32),
        next_observations=observations + np.float32(1),
        terminated=np.array([False, True, False, False]),
        truncated=np.array([False, False, False, True]),
        episode_starts=np.array([0, 2]),
    )


def test_a_file_and_the_directory_that_holds_it_are_the_same_data(tmp_path: Path) -> None:
    path = tmp_path / "hopper-medium-v2.hdf5"
    write_d4rl(path, made_transitions(), {})
    again = tmp_path / "again.hdf5"
    write_d4rl(again, made_transitions(), {"revision": "another"})
    for where in (path, tmp_path):
        loaded = load(HOPPER, str(where))
        assert loaded.source == path.name
        assert loaded.sha256 == load(HOPPER, str(again)).sha256  # of the arrays, not of the bytes
        assert np.array_equal(loaded.transitions.rewards, [1, 2, 4, 5])


def test_rows_that_are_left_out_are_counted_in_the_source(tmp_path: Path) -> None:
    path = tmp_path / "data.hdf5"
    write_d4rl(path, made_transitions(), {})
    loaded = load(HOPPER, str(path))
    assert (loaded.rows, len(loaded.transitions)) == (4, 4)
    with h5py.File(path, "r+") as file:
        del file["next_observations"]  # the second episode was cut off: who followed its last row is unknown
    loaded = load(HOPPER, str(path))
    assert (loaded.rows, len(loaded.transitions)) == (4, 3)


def test_data_that_say_they_are_another_tasks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.hdf5"
    write_d4rl(path, made_transitions(), {"task": "hopper-medium-expert-v2", "made_by": "quadloop"})
    with pytest.raises(DataError, match=r"holds the data of hopper-medium-expert-v2, not of hopper-medium-v2"):
        load(HOPPER, str(path))
    assert load(find_task("hopper-medium-expert"), str(path)).made_locally


@pytest.mark.parametrize("where", ["", "hopper-medium-v2.hdf5", "nowhere/data"])
def test_where_there_is_nothing_the_ways_to_get_data_are_named(tmp_path: Path, where: str) -> None:
    with pytest.raises(DataError) as caught:
        load(HOPPER, str(tmp_path / where))
    assert str(caught.value) == (
        f"{tmp_path / where}: no such file, nor a directory that holds hopper-medium-v2.hdf5; "
        "fetch D4RL's with: quadloop d4rl data download hopper-medium-v2, "
        "or make a data set of your own with: quadloop d4rl data make hopper"
    )


def test_data_that_cannot_be_made_here_are_not_offered(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data download door-human-v1, or .* --data FILE\|minari:NAME") as caught:
        load(find_task("door-human"), str(tmp_path))
    assert "data make" not in str(caught.value)


def test_data_of_minari_are_known_by_their_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    minari = pytest.importorskip("minari")
    from gymnasium.spaces import Box
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    sums = set()
    for name, reward in (("a-v0", 1.0), ("b-v0", 1.0), ("c-v0", 2.0)):
        flags = [False, False]
        episode = EpisodeBuffer(
            observations=np.ones((3, 11)), actions=np.zeros((2, 3)), rewards=[reward] * 2, terminations=flags, truncations=flags
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.create_dataset_from_buffers(
                name, [episode], observation_space=Box(-np.inf, np.inf, (11,)), action_space=Box(-1, 1, (3,))
            )
        loaded = load(HOPPER, f"minari:{name}")
        assert (loaded.source, len(loaded.transitions), len(loaded.sha256)) == (f"minari:{name}", 2, 64)
        sums.add(loaded.sha256)
    assert len(sums) == 2


def test_the_human_door_demonstrations_by_their_file(real_data: Path) -> None:
    task, path = find_task("door-human-v1"), real_data / "adroit_door_human.hdf5"
    loaded = load(task, str(path))
    assert np.array_equal(loaded.transitions.rewards, read_d4rl(path, task).rewards)
    assert not loaded.made_locally
