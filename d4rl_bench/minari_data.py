"""Minari's data sets as transitions: D4RL's tasks are kept there too, recorded anew with today's environments."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from common.hdf5_arrays import stored_here
from d4rl_bench.d4rl_file import (
    TABLES,
    Columns,
    DataError,
    array_in,
    blamed,
    bytes_in_memory,
    check_bytes,
    check_file,
    check_finite,
    check_sizes,
    flags_of,
    transitions_of,
)
from d4rl_bench.task import Task
from learners.transitions import Transitions

ANT_VALUES = 27
"""What D4RL knows of an ant besides where it is; AntMaze-v5 has contact forces behind that"""
FILE = "main_data.hdf5"
"""Has all episodes of a data set in Minari's HDF5 format, a group each"""
FLAGS = ("terminations", "truncations")
OF_MAZE = ("achieved_goal", "observation")
"""What is taken of observations that are a dictionary"""
Stored = dict[str, h5py.Dataset]
"""What an episode has under each name, not read yet"""


def read_minari(name: str, task: Task) -> Transitions:
    """The data set `name` of Minari's folder (MINARI_DATASETS_PATH, or its own), with its own rewards and actions within [-1, 1].

    Observations are a Box or, for antmaze, a Dict of which D4RL's 29 values are made: achieved_goal (2) and the first 27 of
    observation. An episode's last row is truncated unless it is terminated. Nothing else of an episode is read. DataError if there is no
    such data set in HDF5 or it does not fit the task; ModuleNotFoundError if Minari is not installed.
    """
    import minari

    source = f"minari:{name}"
    with blamed(source), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Minari, about other data sets in its folder
        found = minari.list_local_datasets(prefix=name, compatible_minari_version=True).get(name)
        folder = minari.storage.get_dataset_path() / name / "data"
        if found is None:
            if folder.is_dir():
                raise DataError("its metadata cannot be read or are of another version of Minari; delete it and fetch it again")
            raise DataError(f"no such data set here; get it with: minari download {name}")
        if not (folder / FILE).exists():
            raise DataError(f"holds no {FILE}; only data sets in Minari's HDF5 format can be read")
        columns = _columns(folder / FILE, int(found["total_episodes"]), task)
    return transitions_of(source, columns)


def _columns(path: Path, episodes: int, task: Task) -> Columns:
    """The columns of that many episodes, one after the other."""
    check_file(path)
    parts, count = [], 0
    with h5py.File(path, "r") as file:
        for number in range(episodes):
            parts.append(_episode(file, number, task))
            count += sum(values.nbytes for values in parts[-1].values())
            check_bytes(count)
    if not parts:
        raise DataError("holds no episode")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name in (*TABLES, "rewards"):
        check_finite(name, columns[name])
    return columns


def _episode(file: h5py.File, number: int, task: Task) -> Columns:
    """The columns of one episode of T steps, which has T + 1 observations."""
    stored = _stored(file, f"episode_{number}")
    observations = _observations(stored)
    actions, rewards = _numbers("actions", stored, 2), _numbers("rewards", stored, 1)
    terminated, timeouts = (flags_of(name, stored[name][()]) for name in FLAGS)
    check_sizes(observations.shape[1], actions.shape[1], task)
    steps = len(rewards)
    if (len(observations), len(actions), terminated.shape, timeouts.shape) != (steps + 1, steps, (steps,), (steps,)):
        raise DataError(f"episode {number} has {steps} rewards, but not as many actions and flags and one observation more")
    timeouts[-1:] = True
    return {
        "observations": observations[:-1],
        "actions": actions,
        "rewards": rewards,
        "next_observations": observations[1:],
        "terminals": terminated,
        "timeouts": timeouts & ~terminated,
    }


def _stored(file: h5py.File, name: str) -> Stored:
    """The arrays of the episode `name` that are wanted, looked at before they are read: compressed they may be small."""
    _require(file, (name,))
    episode = stored_here(file, name, DataError)
    _require(episode, ("observations", "actions", "rewards", *FLAGS))
    seen = stored_here(episode, "observations", DataError)
    stored = {name: array_in(episode, name, flags=name in FLAGS) for name in ("actions", "rewards", *FLAGS)}
    if isinstance(seen, h5py.Group):
        if not set(OF_MAZE) <= seen.keys():
            raise DataError(f"observations are a dictionary of {', '.join(sorted(seen))}; only antmaze's can be read")
        stored |= {name: array_in(seen, name) for name in OF_MAZE}
    else:
        stored["observations"] = array_in(episode, "observations")
    check_bytes(sum(map(bytes_in_memory, stored.values())))
    return stored


def _require(group: h5py.Group | h5py.Dataset, names: Iterable[str]) -> None:
    """DataError unless it is a group that has all these names."""
    if not isinstance(group, h5py.Group):
        raise DataError(f"{group.name} is an array, not a group")
    for name in names:
        if name not in group:
            raise DataError(f"no '{name}' in {group.name}")


def _observations(stored: Stored) -> NDArray[np.float32]:
    """(T + 1, O) of a Box's or, as D4RL had them, of a maze's."""
    if "observations" in stored:
        return _numbers("observations", stored, 2)
    goal, rest = (_numbers(name, stored, 2) for name in OF_MAZE)
    return np.concatenate([goal, rest[:, :ANT_VALUES]], axis=1)


def _numbers(name: str, stored: Stored, rank: int) -> NDArray[np.float32]:
    dataset = stored[name]
    if len(dataset.shape or ()) != rank:
        raise DataError(f"'{name}' of an episode is {dataset.dtype} {dataset.shape}, not numbers of rank {rank}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity and is refused later
        return np.asarray(dataset[()]).astype(np.float32)
