"""Episode logs in the formats that other offline learners read: D4RL's flat HDF5 and Minari."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from learners.transitions import leads_to_next
from offline_finetune.dataset import DatasetError, is_usable, read_all, read_together
from robot import go1
from robot.log.episode import Episode, without_unreadable_end
from robot.log.hdf5_image import new_image
from robot.observation import GO1_LAYOUT

MINARI_ROOT = "MINARI_DATASETS_PATH"  # where Minari looks for datasets
NAMESPACE = "quadloop"
DATASET_ID = f"{NAMESPACE}/go1-v0"
NOTHING_USABLE = "no step in these logs can be used: see quadloop inspect"


def export_d4rl(logs: Sequence[Path], path: Path) -> dict[str, int]:
    """Write the steps that a data set would hold as one file with D4RL's keys; returns how many, of how many episodes and fragments.

    observations (N, 290), actions (N, 12), rewards (N,), next_observations (N, 290), terminals and timeouts (N,). Where a row was
    left out inside an episode the row before it is a timeout, so that nobody takes the next row for its successor.
    """
    parts = [part for part in read_all(logs) if len(part)]
    if not parts:
        raise DatasetError(NOTHING_USABLE)
    names = ("observations", "actions", "rewards", "next_observations")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    terminals = np.concatenate([part.terminated for part in parts])
    timeouts = ~terminals & ~np.concatenate([leads_to_next(part.observations, part.next_observations) for part in parts])
    with new_image(path) as file:
        for name, values in (columns | {"terminals": terminals, "timeouts": timeouts}).items():
            file.create_dataset(name, data=values, compression="gzip", shuffle=True)
        file.attrs["robot"] = go1.NAME
    return {"episodes": len(parts), "fragments": int((terminals | timeouts).sum()), "steps": len(terminals)}


def export_minari(logs: Sequence[Path], directory: Path) -> dict[str, int]:
    """Write whole episodes as a Minari dataset `DATASET_ID` below `directory`; set MINARI_DATASETS_PATH to it to load it.

    Every row but an unreadable end is there, in order, with the observation after the last one; `infos["usable"][t + 1]` says whether
    row t is one to learn from: a data set of ours would hold it. Of the others the reward was not measured, the history was empty, or what
    followed came late or was not what they led to.
    """
    directory = directory.resolve()  # "." has no name to put another beside
    if directory.exists() and not _is_export(directory):
        raise DatasetError(f"{directory} holds something else than a dataset that was exported there; give another place")
    from gymnasium.spaces import Box
    from minari import create_dataset_from_buffers
    from minari.data_collector import EpisodeBuffer

    episodes = [episode for episode in map(without_unreadable_end, read_together(logs)) if len(episode)]
    if not episodes:
        raise DatasetError(NOTHING_USABLE)
    buffers = [
        EpisodeBuffer(
            id=number,
            observations=np.concatenate([episode.observations, episode.final_observation[None]]).reshape(len(episode) + 1, -1),
            actions=episode.actions,
            rewards=list(episode.rewards),
            terminations=list(episode.terminated),
            truncations=list(episode.truncated),
            infos={"usable": np.append(False, is_usable(episode))},  # infos[0] is of the reset
        )
        for number, episode in enumerate(episodes)
    ]
    with _whole_or_absent(directory, _room(episodes)) as temporary, _minari_root(temporary), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # Minari misses an environment that could be made anew; a recorded robot is none
        create_dataset_from_buffers(
            DATASET_ID, buffers, algorithm_name="recorded", author="quadloop", code_permalink="none", author_email="none",
            description="Walks of a Unitree Go1: five frames of 58 scaled values, joint actions, rewards a control step of 20 ms.",
            observation_space=Box(-np.inf, np.inf, (GO1_LAYOUT.size,), np.float32),
            action_space=Box(-go1.ACTION_CLIP, go1.ACTION_CLIP, (go1.NUM_JOINTS,), np.float32),
        )  # fmt: skip
    return {"episodes": len(episodes), "steps": sum(map(len, episodes))}


def put_back(directory: Path) -> None:
    """After exports that were killed: the dataset that one had moved aside is again at `directory`, if nothing has taken its place, and
    what else they left beside it is deleted. What belongs to a process that lives is left alone."""
    directory = directory.resolve()
    left = re.compile(rf"\.{re.escape(directory.name)}\.(\d+)\.(old|tmp)")
    entries = directory.parent.iterdir() if directory.parent.is_dir() else ()
    named = ((entry, left.fullmatch(entry.name)) for entry in entries if entry.is_dir())
    remains = [entry for entry, name in named if name and not Path("/proc", name[1]).exists()]
    older = [entry for entry in remains if entry.suffix == ".old" and _is_export(entry)]
    if older and not directory.exists():
        max(older, key=lambda entry: entry.stat().st_mtime).rename(directory)
    for entry in remains:
        if entry.suffix == ".tmp" or directory.exists():
            shutil.rmtree(entry, ignore_errors=True)


def _is_export(directory: Path) -> bool:
    """Whether there is nothing in a directory but what `export_minari` writes."""
    if directory.is_symlink() or not directory.is_dir():
        return False
    names = {path.relative_to(directory).as_posix() for path in (*directory.glob("*"), *directory.glob("*/*"))}
    expected = {NAMESPACE, DATASET_ID}
    return names in (set(), expected, expected | {f"{NAMESPACE}/namespace_metadata.json"}) and (
        not names or (directory / DATASET_ID / "data" / "metadata.json").is_file()
    )


@contextmanager
def _whole_or_absent(directory: Path, room: int) -> Iterator[Path]:
    """Yield a temporary directory that takes the place of `directory` when the block succeeds, and is deleted otherwise.

    OSError, naming `directory`, where the disk refuses or has not so many bytes of room.
    """
    temporary = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        _try_room(temporary, room)
        yield temporary
        older = temporary.with_suffix(".old")
        if directory.exists():
            directory.rename(older)
        temporary.rename(directory)
        shutil.rmtree(older, ignore_errors=True)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(directory)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _room(episodes: Sequence[Episode]) -> int:
    """Bytes that Minari's files surely fit into: measured, they are 5 % larger than these arrays."""
    return sum(int(1.25 * (episode.observations.nbytes + episode.actions.nbytes)) + 2**16 for episode in episodes) + 2**16


def _try_room(directory: Path, size: int) -> None:
    """OSError unless `directory` takes so many bytes: Minari writes with HDF5, which crashes the process on a disk that is full."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.posix_fallocate(file.fileno(), 0, size)


@contextmanager
def _minari_root(directory: Path) -> Iterator[None]:
    """Have Minari write into `directory`."""
    before: Any = os.environ.get(MINARI_ROOT)
    os.environ[MINARI_ROOT] = str(directory.resolve())  # Minari puts a relative one before every path once more
    try:
        yield
    finally:
        if before is None:
            del os.environ[MINARI_ROOT]
        else:
            os.environ[MINARI_ROOT] = before
