"""Minari's data sets, made here, read as transitions."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from d4rl_bench.d4rl_file import DataError
from d4rl_bench.minari_data import read_minari
from d4rl_bench.task import find_task
from learners.transitions import Transitions

minari = pytest.importorskip("minari")
from gymnasium.spaces import Box, Dict  # noqa: E402 - gymnasium comes with Minari
from minari.data_collector import EpisodeBuffer  # noqa: E402

NAME = "mujoco/hopper/medium-v0"
HOPPER, UMAZE = find_task("hopper-medium-v2"), find_task("antmaze-umaze-v2")
Make = Callable[..., None]


def box(*shape: int) -> Any:
    return Box(-np.inf, np.inf, shape, np.float64)


def hopper_episode(number: int, steps: int, terminated: bool = False, **changed: Any) -> Any:
    rng = np.random.default_rng(number)
    last = np.arange(steps) == steps - 1
    values = {
        "observations": rng.normal(size=(steps + 1, 11)),
        "actions": rng.uniform(-1, 1, size=(steps, 3)),
        "rewards": list(rng.normal(size=steps)),
        "terminations": list(last & terminated),
        "truncations": list(last & (not terminated)),
    }
    return EpisodeBuffer(id=number, **(values | changed))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def make_data_set(buffers: list[Any], observation_space: Any = None, action_size: int = 3) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Minari asks for what a data set should say of itself
            minari.create_dataset_from_buffers(
                NAME, buffers, observation_space=observation_space or box(11), action_space=box(action_size), description="made"
            )

    return make_data_set


def test_episodes_become_transitions(make: Make) -> None:
    first, second = hopper_episode(0, 4, terminated=True), hopper_episode(1, 3)
    make([first, second])
    found = read_minari(NAME, HOPPER)
    assert len(found) == 7
    assert found.episode_starts.tolist() == [0, 4]
    assert np.flatnonzero(found.terminated).tolist() == [3]
    assert np.flatnonzero(found.truncated).tolist() == [6]
    assert np.array_equal(found.observations[:4], first.observations[:-1].astype(np.float32))
    assert np.array_equal(found.next_observations[4:], second.observations[1:].astype(np.float32))
    assert np.array_equal(found.actions[:4], first.actions.astype(np.float32))
    assert np.array_equal(found.rewards[4:], np.array(second.rewards, dtype=np.float32))
    types = [getattr(found, field.name).dtype for field in fields(Transitions)]
    assert types == [np.float32] * 4 + [np.bool_] * 2 + [np.int64]


def test_what_was_broken_off_is_truncated_and_actions_are_clipped(make: Make) -> None:
    make([hopper_episode(0, 3, actions=np.full((3, 3), 1.5), truncations=[False] * 3)])
    found = read_minari(NAME, HOPPER)
    assert found.truncated.tolist() == [False, False, True]
    assert (found.actions == 1).all()


def test_a_row_that_terminates_within_a_recording_ends_an_episode(make: Make) -> None:
    make([hopper_episode(0, 4, terminations=[False, True, False, True], truncations=[False, True, False, True])])
    found = read_minari(NAME, HOPPER)
    assert found.terminated.tolist() == [False, True, False, True]
    assert not found.truncated.any()
    assert found.episode_starts.tolist() == [0, 2]


def maze_episode(**left_out: None) -> tuple[Any, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    sizes = {"observation": 105, "achieved_goal": 2, "desired_goal": 2}
    observations = {name: rng.normal(size=(4, size)) for name, size in sizes.items() if name not in left_out}
    episode = hopper_episode(0, 3, observations=observations, actions=np.zeros((3, 8)))
    return episode, observations


def test_a_maze_s_observations_are_those_of_d4rl(make: Make) -> None:
    episode, observations = maze_episode()
    make([episode], Dict({name: box(values.shape[1]) for name, values in observations.items()}), action_size=8)
    found = read_minari(NAME, UMAZE)
    assert found.observations.shape == (3, 29)
    assert np.array_equal(found.observations[:, :2], observations["achieved_goal"][:-1].astype(np.float32))
    assert np.array_equal(found.next_observations[:, 2:], observations["observation"][1:, :27].astype(np.float32))


def test_other_dictionaries_are_refused(make: Make) -> None:
    episode, observations = maze_episode(achieved_goal=None)
    make([episode], Dict({name: box(values.shape[1]) for name, values in observations.items()}), action_size=8)
    with pytest.raises(DataError, match="dictionary of desired_goal, observation; only antmaze's"):
        read_minari(NAME, UMAZE)


@pytest.mark.parametrize("name", ["D4RL/hopper/expert-v9", "nothing", "", "mujoco/hopper", "mujoco"])
def test_a_missing_data_set_names_the_way_to_get_it(make: Make, name: str) -> None:
    make([hopper_episode(0, 3)])
    with pytest.raises(DataError, match=f"minari download {name}") as caught:
        read_minari(name, HOPPER)
    assert str(caught.value).startswith(f"minari:{name}: ")
    assert "\n" not in str(caught.value)


def test_another_task_is_refused(make: Make) -> None:
    make([hopper_episode(0, 3)])
    with pytest.raises(DataError, match=f"minari:{NAME}: observations of 11 values .* they fit hopper-medium-v2"):
        read_minari(NAME, find_task("door-human-v1"))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"observations": np.full((4, 11), np.nan)}, "'observations' is NaN or infinite in 3 rows"),
        ({"rewards": [0.0, 1e300, 0.0]}, "'rewards' is NaN or infinite in 1 rows, the first of them row 1"),
        ({"observations": np.zeros((3, 11))}, "episode 0 has 3 rewards, but not as many"),
        ({"actions": np.zeros((2, 3))}, "episode 0 has 3 rewards, but not as many"),
        ({"terminations": [0.5] * 3}, "'terminations' holds values that are neither 0 nor 1"),
        ({"terminations": [False] * 2}, "episode 0 has 3 rewards, but not as many"),
        ({"actions": np.zeros((3, 3, 1))}, "'actions' of an episode is float64"),
    ],
)
def test_episodes_that_do_not_fit_together_are_refused(make: Make, changed: dict[str, Any], complaint: str) -> None:
    make([hopper_episode(0, 3, **changed)])
    with pytest.raises(DataError, match=complaint) as caught:
        read_minari(NAME, HOPPER)
    assert str(caught.value).startswith(f"minari:{NAME}: ")


def test_too_few_rows_are_refused(make: Make) -> None:
    make([hopper_episode(0, 1)])
    with pytest.raises(DataError, match="holds 1 usable rows; at least 2"):
        read_minari(NAME, HOPPER)


def test_damage_is_one_line(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    (tmp_path / NAME / "data" / "main_data.hdf5").write_bytes(b"damaged")
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_minari(NAME, HOPPER)
    assert "\n" not in str(caught.value)


def test_metadata_that_cannot_be_read_are_not_taken_for_data_that_are_missing(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    (tmp_path / NAME / "data" / "metadata.json").write_text("{")
    with pytest.raises(DataError, match="metadata cannot be read"):
        read_minari(NAME, HOPPER)


def test_arrays_that_lie_in_another_file_are_refused(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    with h5py.File(tmp_path / "other.hdf5", "w") as other:
        other.create_dataset("observations", data=np.zeros((4, 11)))
    with h5py.File(tmp_path / NAME / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0/observations"]
        file["episode_0/observations"] = h5py.ExternalLink(tmp_path / "other.hdf5", "observations")
    with pytest.raises(DataError, match="'observations' is a link to somewhere else"):
        read_minari(NAME, HOPPER)


def test_a_data_set_cannot_have_code_run(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    path = tmp_path / NAME / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    spec = {"id": "Harmless-v0", "entry_point": "this:Entry", "max_episode_steps": 1, "kwargs": {}, "additional_wrappers": []}
    del metadata["observation_space"]  # for which Minari itself would make the environment
    path.write_text(json.dumps(metadata | {"env_spec": json.dumps(spec)}))
    sys.modules.pop("this", None)
    assert len(read_minari(NAME, HOPPER)) == 3
    assert "this" not in sys.modules


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"data_format": "arrow", "minari_version": "0.0.1"}, "of another version of Minari"),
        ({"total_episodes": 10**12}, "no 'episode_1' in /"),
        ({"total_episodes": 0}, "holds no episode"),
    ],
)
def test_metadata_that_do_not_fit_the_data_are_refused(make: Make, tmp_path: Path, changed: dict[str, Any], complaint: str) -> None:
    make([hopper_episode(0, 3)])
    path = tmp_path / NAME / "data" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(DataError, match=complaint):
        read_minari(NAME, HOPPER)


def test_another_format_than_hdf5_is_named(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    (tmp_path / NAME / "data" / "main_data.hdf5").rename(tmp_path / NAME / "data" / "0.arrow")
    with pytest.raises(DataError, match=r"holds no main_data.hdf5; only data sets in Minari's HDF5 format"):
        read_minari(NAME, HOPPER)


def test_what_is_not_needed_is_not_read(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    with h5py.File(tmp_path / NAME / "data" / "main_data.hdf5", "r+") as file:
        file["episode_0/infos/note"] = h5py.ExternalLink("nowhere.hdf5", "note")
        file.create_dataset("episode_0/infos/large", (2**40,), "f8", chunks=(2**27,))
    assert len(read_minari(NAME, HOPPER)) == 3


@pytest.mark.parametrize(
    ("name", "stored", "complaint"),
    [
        ("rewards", {"data": ["a", "b", "c"], "dtype": h5py.string_dtype()}, "'rewards' holds values of type object, not numbers"),
        ("terminations", {"data": np.full(3, b"a")}, "'terminations' holds values of type |S1, not flags"),
        ("rewards", {"shape": (3,), "dtype": "f8", "chunks": (2**27,), "maxshape": (None,)}, "chunks of an absurd size"),
        ("actions", {"shape": (3, 3), "dtype": "f8", "external": [("/etc/hostname", 0, 72)]}, "of 'actions' lie outside the file"),
        ("truncations", None, "no 'truncations' in /episode_0"),
    ],
)
def test_arrays_are_looked_at_before_they_are_read(make: Make, tmp_path: Path, name: str, stored: Any, complaint: str) -> None:
    make([hopper_episode(0, 3)])
    with h5py.File(tmp_path / NAME / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0"][name]
        if stored is not None:
            file["episode_0"].create_dataset(name, **stored)
    with pytest.raises(DataError) as caught:
        read_minari(NAME, HOPPER)
    assert complaint in str(caught.value) and "\n" not in str(caught.value)


def test_an_episode_that_is_an_array_is_refused(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    with h5py.File(tmp_path / NAME / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_0"]
        file.create_dataset("episode_0", (2**40,), "f8", chunks=(100,))
    with pytest.raises(DataError, match="/episode_0 is an array, not a group"):
        read_minari(NAME, HOPPER)


def test_an_episode_that_would_fill_the_memory_is_refused_before_it_is_read(make: Make, tmp_path: Path) -> None:
    make([hopper_episode(0, 3)])
    path = tmp_path / NAME / "data" / "main_data.hdf5"
    with h5py.File(path, "r+") as file:
        del file["episode_0/rewards"]
        file.create_dataset("episode_0/rewards", (2**28,), "i1", chunks=(2**20,), compression="gzip")
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match=r"its arrays take 1,073,\d+,\d+ bytes of memory, more than the 1,073,741,824 that data may"):
        read_minari(NAME, HOPPER)


def test_many_episodes_that_would_fill_the_memory_are_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("d4rl_bench.d4rl_file.MAX_BYTES", 1000)
    make([hopper_episode(number, 4) for number in range(3)])  # a row of hopper's has (2 * 11 + 3 + 1) * 4 + 2 = 106 bytes
    with pytest.raises(DataError, match="its arrays take 1,272 bytes of memory, more than the 1,000 that data may"):
        read_minari(NAME, HOPPER)
