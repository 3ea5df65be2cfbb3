"""Minari's data sets as transitions: D4RL's tasks are kept there too, recorded anew with today's environments."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from common.hdf5_arrays import stored_here
from d4rl_bench.d4rl_file import (
    TABLES,
    Columns,
    DataError,
    blamed,
    bytes_in_memory,
    check_bytes,
    check_finite,
    check_sizes,
    flags_of,
    transitions_of,
)
from d4rl_bench.task import Task
from learners.transitions import Transitions

ANT_VALUES = 27
"""What D4RL knows of an ant besides where it is; AntMaze-v5 has contact forces behind that"""


def read_minari(name: str, task: Task) -> Transitions:
    """The data set `name` of Minari's folder (MINARI_DATASETS_PATH, or its own), with its own rewards and actions within [-1, 1].

    Observations are a Box or, for antmaze, a Dict of which D4RL's 29 values are made: achieved_goal (2) and the first 27 of
    observation. An episode's last row is truncated unless it is terminated. DataError if there is no such data set or it does not fit
    the task; ModuleNotFoundError if Minari is not installed.
    """
    import minari

    source = f"minari:{name}"
    with blamed(source), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Minari, about other data sets in its folder and environments that this does not need
        found = minari.list_local_datasets(prefix=name).get(name)
        if found is None:
            if (minari.storage.get_dataset_path() / name / "data").is_dir():
                raise DataError("its metadata cannot be read; delete it and fetch it again")
            raise DataError(f"no such data set here; get it with: minari download {name}")
        if not {"observation_space", "action_space"} <= found.keys():  # Minari would run whatever environment the data set names
            raise DataError("its metadata do not describe observations and actions")
        dataset = minari.load_dataset(name)
        for path in dataset.storage.data_path.rglob("*.hdf5"):
            _check_episodes(path)
        columns = _columns(dataset.iterate_episodes(), task)
    return transitions_of(source, columns)


def _check_episodes(path: Path) -> None:
    """DataError if an episode of the file, which is read as a whole, would take more memory than data may; compressed it may be small."""
    with h5py.File(path, "r") as file:
        for name in file:
            check_bytes(sum(map(bytes_in_memory, _arrays(stored_here(file, name, DataError)))))


def _arrays(item: h5py.Group | h5py.Dataset) -> Iterator[h5py.Dataset]:
    """All arrays in a group, or the array itself; DataError for what lies outside the file."""
    if isinstance(item, h5py.Group):
        for name in item:
            yield from _arrays(stored_here(item, name, DataError))
    else:
        yield item


def _columns(episodes: Iterable[Any], task: Task) -> Columns:
    parts, count = [], 0
    for episode in episodes:
        parts.append(_episode(episode, task))
        count += sum(values.nbytes for values in parts[-1].values())
        check_bytes(count)
    if not parts:
        raise DataError("holds no episode")
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name in (*TABLES, "rewards"):
        check_finite(name, columns[name])
    return columns


def _episode(episode: Any, task: Task) -> Columns:
    """The columns of one episode of T steps, which has T + 1 observations."""
    observations = _observations(episode.observations)
    actions, rewards = _numbers("actions", episode.actions, 2), _numbers("rewards", episode.rewards, 1)
    terminated, timeouts = (flags_of(name, np.asarray(getattr(episode, name))) for name in ("terminations", "truncations"))
    check_sizes(observations.shape[1], actions.shape[1], task)
    steps = len(rewards)
    if (len(observations), len(actions), terminated.shape, timeouts.shape) != (steps + 1, steps, (steps,), (steps,)):
        raise DataError(f"episode {episode.id} has {steps} rewards, but not as many actions and flags and one observation more")
    timeouts[-1:] = True
    return {
        "observations": observations[:-1],
        "actions": actions,
        "rewards": rewards,
        "next_observations": observations[1:],
        "terminals": terminated,
        "timeouts": timeouts & ~terminated,
    }


def _observations(values: Any) -> NDArray[np.float32]:
    """(T + 1, O) of a Box's or, as D4RL had them, of a maze's."""
    if not isinstance(values, dict):
        return _numbers("observations", values, 2)
    if not {"achieved_goal", "observation"} <= values.keys():
        raise DataError(f"observations are a dictionary of {', '.join(sorted(values))}; only antmaze's can be read")
    goal, rest = (_numbers(name, values[name], 2) for name in ("achieved_goal", "observation"))
    return np.concatenate([goal, rest[:, :ANT_VALUES]], axis=1)


def _numbers(name: str, values: Any, rank: int) -> NDArray[np.float32]:
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.ndim != rank:
        raise DataError(f"'{name}' of an episode is {array.dtype} {array.shape}, not numbers of rank {rank}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity and is refused later
        return array.astype(np.float32)
