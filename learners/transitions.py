"""A data set of transitions, whatever it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Transitions:
    """N steps in the order in which they were recorded, episode after episode.

    A terminated step has no future; a truncated one goes on from next_observations, which belongs to the same episode.
    """

    observations: NDArray[np.float32]  # (N, O)
    actions: NDArray[np.float32]  # (N, A)
    rewards: NDArray[np.float32]  # (N,)
    next_observations: NDArray[np.float32]  # (N, O)
    terminated: NDArray[np.bool_]  # (N,)
    truncated: NDArray[np.bool_]  # (N,)
    episode_starts: NDArray[np.int64]  # (E,) row of each episode's first step

    def __len__(self) -> int:
        return len(self.actions)

    def __post_init__(self) -> None:
        count = len(self.actions)
        for name in ("observations", "rewards", "next_observations", "terminated", "truncated"):
            if len(getattr(self, name)) != count:
                raise ValueError(f"transitions: {name} has {len(getattr(self, name))} rows, actions {count}")
        if self.observations.shape != self.next_observations.shape:
            raise ValueError("transitions: observations and next_observations differ in shape")

    @cached_property
    def sha256(self) -> str:
        """Hex, of all arrays: the same data wherever and whenever they were written."""
        digest = hashlib.sha256()
        for field in fields(self):
            digest.update(np.ascontiguousarray(getattr(self, field.name)).reshape(-1).data)
        return digest.hexdigest()

    @cached_property
    def followed(self) -> NDArray[np.bool_]:
        """(N,) whether the next row is the step that came after this one: not where an episode ends or a step is missing."""
        return leads_to_next(self.observations, self.next_observations) & ~(self.terminated | self.truncated)

    @cached_property
    def episodes(self) -> NDArray[np.int64]:
        """(N,) the number of each row's episode, from 0."""
        return np.repeat(np.arange(len(self.episode_starts)), np.diff(np.append(self.episode_starts, len(self))))

    @cached_property
    def time(self) -> NDArray[np.int64]:
        """(N,) rows of the same episode before each row."""
        return np.arange(len(self)) - self.episode_starts[self.episodes]

    def only(self, rows: NDArray[np.int64]) -> Transitions:
        """The given rows in the order in which they were recorded; what is left of an episode is an episode."""
        rows = np.sort(rows)
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "episode_starts"}
        return Transitions(**columns, episode_starts=np.flatnonzero(np.append(True, np.diff(self.episodes[rows]) != 0)))

    def split(self, share: float, order: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to learn from, and about `share` of the rows to judge by: whole episodes, the last ones in `order` (E,), and the end of
        one more. Neither is empty, and they share no row; of a single row both are that row."""
        ends = np.append(self.episode_starts[1:], len(self))
        rows = np.concatenate([np.arange(self.episode_starts[episode], ends[episode]) for episode in order])
        last = len(rows) - 1
        known = min(max(1, round((1 - share) * len(rows))), max(1, last))
        return rows[:known], rows[min(known, last) :]


def leads_to_next(observations: NDArray[np.float32], next_observations: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(N,) whether what each row led to (N, O) is what the next row saw (N, O); the last row has none."""
    leads = np.zeros(len(observations), dtype=np.bool_)
    leads[:-1] = (next_observations[:-1] == observations[1:]).all(axis=1)
    return leads
