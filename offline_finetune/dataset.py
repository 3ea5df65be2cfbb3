"""Episode logs as a data set for the offline learners: transitions, with whole sessions held out, and a report of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import QuadloopError
from learners.transitions import Transitions
from robot.episode import Episode
from robot.episode_log import read_episode

BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]

NO_HISTORY = "no_history"  # acted on a history of zeros: what the robot did there says nothing about any state
VELOCITY_GLITCH = "velocity_glitch"  # the velocity that the reward needs was not measured


class DatasetError(QuadloopError):
    """Episode logs that cannot become a data set."""


@dataclass(frozen=True)
class DatasetReport:
    """What is in a data set and what is not: train + holdout + dropped = steps."""

    sessions: tuple[str, ...]  # all, in the order in which they were first met
    holdout_sessions: tuple[str, ...]
    episodes: int
    steps: int  # rows of all episode logs
    train_steps: int
    holdout_steps: int
    falls: int
    falls_without_velocity: int  # kept all the same: see `usable_rows`
    dropped: dict[str, int]


@dataclass(frozen=True)
class RobotDataset:
    """Histories (290,), oldest frame first, actions before the clip, rewards a step; train and holdout share no session."""

    train: Transitions
    holdout: Transitions
    holdout_sessions: NDArray[np.int64]  # of each held-out row, its place in report.holdout_sessions: rows of one are not independent
    report: DatasetReport


@dataclass(frozen=True)
class UsableRows:
    """The kept rows of one episode, flattened histories, and what was dropped."""

    session: str
    observations: Float32Array  # (K, 290)
    next_observations: Float32Array  # (K, 290)
    actions: Float32Array  # (K, 12)
    rewards: Float32Array  # (K,)
    terminated: BoolArray  # (K,)
    truncated: BoolArray  # (K,)
    dropped: Counter[str]
    falls_without_velocity: int

    def __len__(self) -> int:
        return len(self.rewards)


def build_dataset(episode_paths: Sequence[Path], holdout_share: float = 0.2, seed: int = 0) -> RobotDataset:
    """The transitions of the episode logs, in the given order; whole sessions, at most `holdout_share` of the rows, are held out.

    Steps of one session share a floor, a battery and an operator: held-out rows of a seen session would flatter every estimate.
    DatasetError if there is nothing to learn from or nothing to hold out.
    """
    if not 0 <= holdout_share < 1:
        raise DatasetError(f"the share to hold out is {holdout_share:g}; it must be at least 0 and below 1")
    parts = read_all(episode_paths)
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.session] += len(part)
    holdout = held_out_sessions(sizes, holdout_share, seed)
    report = _report(parts, holdout)
    if report.train_steps == 0:
        raise DatasetError(f"none of {report.steps} steps in {report.episodes} episode logs can be learnt from; dropped: {report.dropped}")
    labels = [(report.holdout_sessions.index(part.session), len(part)) for part in parts if part.session in holdout]
    holdout_sessions = np.repeat(*np.array(labels, dtype=np.int64).reshape(-1, 2).T)
    return RobotDataset(_joined(parts, frozenset(sizes) - holdout), _joined(parts, holdout), holdout_sessions, report)


def read_all(episode_paths: Sequence[Path]) -> list[UsableRows]:
    """The usable rows of every episode log; DatasetError if there is none or if they do not show the policy the same observation."""
    if not episode_paths:
        raise DatasetError("no episode logs to build a data set from")
    layout, parts = "", []
    for path in episode_paths:
        episode = read_episode(path)
        layout = layout or episode.attributes.layout_json
        if episode.attributes.layout_json != layout:
            raise DatasetError(f"{path}: another observation layout than {episode_paths[0]}; build a data set of each")
        parts.append(usable_rows(episode))
    return parts


def usable_rows(episode: Episode) -> UsableRows:
    """The rows of an episode that say what an action in a state led to.

    next_observations is the next recorded history even where the row between was dropped. A fall is kept even if the velocity
    was not measured there: its reward is off by 0.03 at most, but without the fall a learner would be off by a whole future.
    """
    no_history = ~episode.observations.any(axis=(1, 2))
    glitch = ~episode.reward_measured
    lost = glitch & ~episode.terminated
    keep = ~(no_history | lost)
    size = episode.final_observation.size
    following = np.concatenate([episode.observations[1:], episode.final_observation[None]])
    truncated = episode.truncated[keep]
    if len(truncated):  # where the recorded end was dropped, the last kept row still has a future
        truncated[-1] = not episode.terminated[keep][-1]
    return UsableRows(
        session=episode.attributes.session,
        observations=episode.observations[keep].reshape(-1, size),
        next_observations=following[keep].reshape(-1, size),
        actions=episode.actions[keep],
        rewards=episode.rewards[keep],
        terminated=episode.terminated[keep],
        truncated=truncated,
        dropped=+Counter({NO_HISTORY: int(no_history.sum()), VELOCITY_GLITCH: int((lost & ~no_history).sum())}),
        falls_without_velocity=int((glitch & episode.terminated & keep).sum()),
    )


def held_out_sessions(sizes: Counter[str], share: float, seed: int) -> frozenset[str]:
    """Sessions in random order, each taken if the held-out rows stay within `share` of all; at least the smallest one."""
    if share == 0:
        return frozenset()
    if len(sizes) < 2:
        raise DatasetError("all episode logs are of one session, so none can be held out; add a session or hold out a share of 0")
    budget, taken = share * sizes.total(), set()
    for session in np.random.default_rng(seed).permutation(sorted(sizes)).tolist():
        if sizes[session] <= budget:
            taken.add(session)
            budget -= sizes[session]
    return frozenset(taken or {min(sizes, key=lambda session: (sizes[session], session))})


def _joined(parts: Sequence[UsableRows], sessions: frozenset[str]) -> Transitions:
    chosen = [part for part in parts if part.session in sessions and len(part)]

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(parts[0], name)[:0], *(getattr(part, name) for part in chosen)])

    return Transitions(
        observations=column("observations"),
        actions=column("actions"),
        rewards=column("rewards"),
        next_observations=column("next_observations"),
        terminated=column("terminated"),
        truncated=column("truncated"),
        episode_starts=np.cumsum([0, *map(len, chosen)], dtype=np.int64)[:-1],
    )


def _report(parts: Sequence[UsableRows], holdout: frozenset[str]) -> DatasetReport:
    dropped: Counter[str] = sum((part.dropped for part in parts), Counter())
    held = sum(len(part) for part in parts if part.session in holdout)
    kept = sum(len(part) for part in parts)
    sessions = tuple(dict.fromkeys(part.session for part in parts))
    return DatasetReport(
        sessions=sessions,
        holdout_sessions=tuple(session for session in sessions if session in holdout),
        episodes=len(parts),
        steps=kept + dropped.total(),
        train_steps=kept - held,
        holdout_steps=held,
        falls=sum(int(part.terminated.sum()) for part in parts),
        falls_without_velocity=sum(part.falls_without_velocity for part in parts),
        dropped=dict(dropped),
    )
