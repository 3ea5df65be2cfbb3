"""D4RL's flat HDF5 files as transitions, and transitions as such files.

A file holds one array a key, a row a step, episode after episode: observations (N, O), actions (N, A), rewards (N,), terminals (N,),
and often timeouts (N,) and next_observations (N, O).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray
from common.errors import QuadloopError
from common.files import refuse_to_overwrite, whole_or_absent
from common.hdf5_arrays import check_chunks, stored_here
from d4rl_bench.task import Task, all_tasks
from learners.transitions import Transitions

Columns = dict[str, NDArray[Any]]
"""Arrays under D4RL's keys: float32 numbers, bool flags, all of N rows"""

MAX_FILE_BYTES = 4 * 2**30
"""Of a file, which may hold more than is read"""
MAX_BYTES = 2**30
"""Of what is read, as it comes into memory: three times the largest of D4RL's. Successors, scaled copies and the process of a
baseline make up to about eight times as much of it, and two cells at once must fit into 24 GiB."""
ABSURD = 1e9
"""Larger than any observation, action or reward of a task could be, whatever its units"""
REQUIRED = ("observations", "actions", "rewards", "terminals")
OPTIONAL = ("timeouts", "next_observations")
TABLES = ("observations", "actions", "next_observations")
FLAGS = ("terminals", "timeouts")
MADE_BY = "quadloop"
"""The attribute `made_by` of data of our own"""
ORIGIN = ("task", "made_by")
"""Attributes that say where data are from"""
MAX_WORD_BYTES = 1024
"""Of such an attribute, as far as its size is known before it is read; one of variable length is no larger than the file"""
_MAX_CHUNK_BYTES = 64 * 2**20
_CHECKSUMMED = ("v110", "v110")  # HDF5's format since 1.10: its metadata carry checksums


class DataError(QuadloopError):
    """Data that cannot be learnt from. The message names them and says what is wrong."""


def read_d4rl(path: Path, task: Task) -> Transitions:
    """The transitions in a file, with its own rewards and actions within [-1, 1], where the environments clip them.

    An episode ends at a terminal, at a timeout, after task.episode_steps if the file has no key `timeouts`, and with the file.
    Where there are no next_observations, a row's successor is the row behind it; the last row of an episode that did not terminate
    has none: it is left out, as in D4RL's qlearning_dataset, and the row before it is truncated. A terminated row's own observation
    stands in for the one behind it, which has no value. A row that is both a terminal and a timeout is terminated.
    DataError names the file and what is wrong with it: it comes from outside and is checked before and after it is read.
    """
    check_file(path)
    columns = _read_columns(path, task)
    terminated = columns["terminals"]
    columns["timeouts"] = _ends(terminated, columns.get("timeouts"), task.episode_steps) & ~terminated
    if "next_observations" not in columns:
        columns = _with_successors(columns)
    return transitions_of(path, columns)


def write_d4rl(path: Path, transitions: Transitions, attributes: Mapping[str, str | int | float], force: bool = False) -> None:
    """Write `transitions` with all of D4RL's keys, compressed and checksummed, and `attributes` on the root; whole or not at all.

    `read_d4rl` gives equal transitions back (of actions beyond [-1, 1]: clipped ones). DataError if the flags do not say where the
    episodes end, FileExistsAlreadyError if `path` exists and `force` is not set.
    """
    refuse_to_overwrite(path, force)
    columns = {
        "observations": transitions.observations,
        "actions": transitions.actions,
        "rewards": transitions.rewards,
        "next_observations": transitions.next_observations,
        "terminals": transitions.terminated,
        "timeouts": transitions.truncated,
    }
    _check_ends(path, transitions)
    with whole_or_absent(path) as temporary, h5py.File(temporary, "w", libver=_CHECKSUMMED) as file:
        for name, values in columns.items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True, fletcher32=True)
        file.attrs.update(attributes)


def origin_of(path: Path) -> dict[str, str]:
    """What a file says of where it is from: those of the attributes ORIGIN that it has. DataError if one of them is not a short text."""
    with blamed(path), h5py.File(path, "r") as file:
        return {name: _word(file.attrs, name) for name in ORIGIN if name in file.attrs}


def rows_in(path: Path) -> int:
    """How many rows a file has that `read_d4rl` takes, those that it leaves out too. DataError if it cannot be read."""
    with blamed(path), h5py.File(path, "r") as file:
        return int(file["rewards"].shape[0])


def returns_of_episodes(transitions: Transitions) -> NDArray[np.float64]:
    """The sum of the rewards of each episode (E,)."""
    return np.add.reduceat(transitions.rewards.astype(np.float64), transitions.episode_starts)


def transitions_of(source: object, columns: Columns) -> Transitions:
    """The transitions of all six columns, actions clipped to [-1, 1]; every episode's last row, and no other, has one of the flags.

    DataError names `source` if there are fewer than two rows.
    """
    rows, ends = len(columns["terminals"]), columns["terminals"] | columns["timeouts"]
    if rows < 2:
        raise DataError(f"{source}: holds {rows} usable rows; at least 2 are needed")
    return Transitions(
        observations=columns["observations"],
        actions=np.clip(columns["actions"], -1, 1),
        rewards=columns["rewards"],
        next_observations=columns["next_observations"],
        terminated=columns["terminals"],
        truncated=columns["timeouts"],
        episode_starts=_starts(ends),
    )


@contextmanager
def blamed(source: object) -> Iterator[None]:
    """Turn whatever goes wrong while foreign data are read into one DataError line that names `source`."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{source}: {error}") from error
    except Exception as error:  # the HDF5 library answers damage with errors of almost any type
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{source}: cannot be read ({reason})") from error


def check_file(path: Path) -> None:
    """DataError unless `path` is a regular file of at most MAX_FILE_BYTES that may be read."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if not path.is_file():
        raise DataError(f"{path}: {'a directory' if path.is_dir() else 'not a regular file'}; give a D4RL file (.hdf5)")
    if not os.access(path, os.R_OK):
        raise DataError(f"{path}: you may not read this file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise DataError(f"{path}: {size:,} bytes, more than the {MAX_FILE_BYTES:,} that a file may have")


def array_in(group: h5py.Group, name: str, flags: bool = False) -> h5py.Dataset:
    """The array under `name`, not read yet; DataError unless plain numbers, or flags, are stored in this very file."""
    dataset: Any = stored_here(group, name, DataError)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"'{name}' is a group, not an array")
    if dataset.dtype.kind not in ("biuf" if flags else "iuf"):
        raise DataError(f"'{name}' holds values of type {dataset.dtype}, not {'flags' if flags else 'numbers'}")
    check_chunks(dataset, name, max(_MAX_CHUNK_BYTES, math.prod(dataset.shape or ()) * dataset.dtype.itemsize), DataError)
    return dataset


def bytes_in_memory(dataset: h5py.Dataset) -> int:
    """What reading it takes: its values as they are stored, or as float32 if that is more."""
    return int(math.prod(dataset.shape or ()) * max(dataset.dtype.itemsize, np.dtype(np.float32).itemsize))


def check_bytes(count: int) -> None:
    """DataError if arrays of so many bytes are more than MAX_BYTES."""
    if count > MAX_BYTES:
        raise DataError(f"its arrays take {count:,} bytes of memory, more than the {MAX_BYTES:,} that data may")


def check_sizes(observation_size: int, action_size: int, task: Task) -> None:
    """DataError unless the task has these sizes; it names the tasks that have them."""
    sizes = (observation_size, action_size)
    if sizes == (task.observation_size, task.action_size):
        return
    fitting = [other.name for other in all_tasks().values() if (other.observation_size, other.action_size) == sizes]
    raise DataError(
        f"observations of {observation_size} values and actions of {action_size}, but {task.name} has {task.observation_size} and "
        f"{task.action_size}; {'they fit ' + ', '.join(fitting) if fitting else 'no task has such'}"
    )


def check_finite(name: str, values: NDArray[np.float32]) -> None:
    """DataError if a row of `values` (N,) or (N, K) has NaN, infinity, or what no task has and would make all other rows alike."""
    for wrong, good in (("NaN or infinite", np.isfinite(values)), (f"beyond +-{ABSURD:g}", np.abs(values) <= ABSURD)):
        if not good.all():
            bad = np.flatnonzero(~good.reshape(len(values), -1).all(axis=1))
            raise DataError(f"'{name}' is {wrong} in {len(bad):,} rows, the first of them row {bad[0]:,}")


def _read_columns(path: Path, task: Task) -> Columns:
    with blamed(path):
        if not h5py.is_hdf5(path):
            raise DataError("not an HDF5 file")
        with h5py.File(path, "r") as file:
            stored = _stored(file)
            _check_shapes(stored, task)
            return {name: _values(name, dataset) for name, dataset in stored.items()}


def _stored(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Key -> what is stored under it, looked at before it is read."""
    missing = [name for name in REQUIRED if name not in file]
    if missing:
        raise DataError(f"no {' and no '.join(missing)} in it; D4RL's files have {', '.join(REQUIRED)}")
    stored = {name: array_in(file, name, flags=name in FLAGS) for name in (*REQUIRED, *OPTIONAL) if name in file}
    check_bytes(sum(map(bytes_in_memory, stored.values())))
    return stored


def _check_shapes(stored: Mapping[str, h5py.Dataset], task: Task) -> None:
    for name, dataset in stored.items():
        shape: tuple[int, ...] = dataset.shape or ()
        column = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)  # some of D4RL's own are (N, 1)
        if not (len(shape) == 2 if name in TABLES else column):
            raise DataError(f"'{name}' has shape {shape}; it must be {'(rows, values)' if name in TABLES else '(rows,)'}")
    observations, actions = stored["observations"].shape, stored["actions"].shape
    check_sizes(observations[1], actions[1], task)
    following = stored.get("next_observations", stored["observations"]).shape
    if following[1] != observations[1]:
        raise DataError(f"next_observations of {following[1]} values, observations of {observations[1]}")
    lengths = {name: dataset.shape[0] for name, dataset in stored.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"not the same number of rows under each key: {', '.join(f'{name} {rows:,}' for name, rows in lengths.items())}")


def _word(attributes: h5py.AttributeManager, name: str) -> str:
    """The text of an attribute, which is read once it is known to be a single one: of many each may be as large as the file."""
    stored = attributes.get_id(name)
    text = h5py.check_string_dtype(stored.dtype)
    if text is None or stored.shape != () or (text.length or 0) > MAX_WORD_BYTES:
        raise DataError(f"its attribute '{name}' is not a short text")
    value = attributes[name]
    return value.decode() if isinstance(value, bytes) else str(value)


def _values(name: str, dataset: h5py.Dataset) -> NDArray[Any]:
    """Flags (N,) as bool, numbers (N,) or (N, K) as float32, all of them finite."""
    if name in FLAGS:
        return flags_of(name, dataset[()].reshape(-1))
    values: NDArray[np.float32] = dataset.astype(np.float32)[()]
    check_finite(name, values)
    return values if name in TABLES else values.reshape(-1)


def flags_of(name: str, values: NDArray[Any]) -> BoolArray:
    """`values` as flags; DataError unless each is 0 or 1."""
    if values.dtype == np.bool_:
        values = values.view(np.uint8)  # a file may hold other bytes than 0 and 1 for booleans; what numpy makes of them is undefined
    if not ((values == 0) | (values == 1)).all():
        raise DataError(f"'{name}' holds values that are neither 0 nor 1")
    return values.astype(np.bool_)


def _ends(terminated: BoolArray, timeouts: BoolArray | None, episode_steps: int) -> BoolArray:
    """Which rows (N,) are the last of their episode."""
    ends = terminated.copy() if timeouts is None else terminated | timeouts
    ends[-1:] = True
    if timeouts is None:
        starts = _starts(ends)
        steps = np.arange(len(ends)) - np.repeat(starts, np.diff(starts, append=len(ends)))
        ends |= (steps + 1) % episode_steps == 0
    return ends


def _starts(ends: BoolArray) -> NDArray[np.int64]:
    """The first row (E,) of each episode; the last row ends one."""
    return np.append(0, np.flatnonzero(ends)[:-1] + 1).astype(np.int64)


def _with_successors(columns: Columns) -> Columns:
    """The columns with next_observations, without the rows that have no known successor; `timeouts` moves to the rows before those."""
    observations, terminated, unknown = columns["observations"], columns["terminals"], columns["timeouts"]
    following = np.concatenate([observations[1:], observations[-1:]])
    following[terminated] = observations[terminated]
    truncated = np.append(unknown[1:], False) & ~(terminated | unknown)
    columns = columns | {"next_observations": following, "timeouts": truncated}
    return {name: values[~unknown] for name, values in columns.items()}


def _check_ends(path: Path, transitions: Transitions) -> None:
    ends = transitions.terminated | transitions.truncated
    both = transitions.terminated & transitions.truncated
    if both.any() or not ends[-1:].all() or not np.array_equal(_starts(ends), transitions.episode_starts):
        raise DataError(f"{path}: not written: the last row of each episode, and no other, must be either terminated or truncated")
