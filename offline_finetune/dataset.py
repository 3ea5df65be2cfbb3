"""Episode logs as a data set for the offline learners: transitions, with whole sessions held out, and a report of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from common.array_types import BoolArray, Float32Array, Float64Array
from common.errors import QuadloopError
from learners.transitions import Transitions
from robot.log.episode import GAP_PERIODS, Episode, EpisodeAttributes, is_simulated, without_unreadable_end
from robot.log.episode_log import read_episode
from robot.observation import GO1_LAYOUT, ObservationLayout
from robot.policy.metadata import layout_from_json

NO_HISTORY = "no_history"  # acted on a history of zeros: what the robot did there says nothing about any state
UNREADABLE_END = "unreadable_end"  # what the last action led to was no reading of the robot
MISSED_PERIOD = "missed_period"  # by the stamps more than one control period lies between the row and what it led to
OUT_OF_ORDER = "out_of_order"  # what comes next in the log is not what the row led to: rows were moved, lost or put together
VELOCITY_GLITCH = "velocity_glitch"  # the velocity that the reward needs was not measured

REPLAY = "replay"  # begins the source of a log that was recorded while another log was played
LEARNT_FROM = ("observations", "actions", "rewards")  # what a log without is no use

HoldoutBy = Literal["session", "episode"]
FOR_TWO: dict[HoldoutBy, int] = {"session": 3, "episode": 4}
"""With so many groups at least two are held out: one alone gives no interval."""


class DatasetError(QuadloopError):
    """Episode logs that cannot become a data set."""


@dataclass(frozen=True)
class DatasetReport:
    """What is in a data set and what is not: train + holdout + dropped = steps."""

    sessions: tuple[str, ...]  # all, in the order in which they were first met
    train_sessions: tuple[str, ...]  # those with a row that is learnt from
    holdout_sessions: tuple[str, ...]  # empty where single episodes are held out
    holdout_by: HoldoutBy  # "episode" where all usable rows are of one session
    episodes: int
    steps: int  # rows of all episode logs
    train_steps: int
    holdout_steps: int
    falls: int
    falls_without_velocity: int  # kept all the same: see `usable_rows`
    dropped: dict[str, int]


@dataclass(frozen=True)
class RobotDataset:
    """Histories (290,), oldest frame first, actions within +-10, rewards a step; train and holdout share no group.

    A group is a session or, where report.holdout_by says so, an episode; rows of one group are not independent.
    """

    train: Transitions
    holdout: Transitions
    holdout_sessions: NDArray[np.int64]  # group of each held-out row: place in report.holdout_sessions, or of its log in the given order
    report: DatasetReport
    layout: ObservationLayout  # of every observation


@dataclass(frozen=True)
class UsableRows:
    """The kept rows of one episode, flattened histories, and what was dropped."""

    session: str
    layout_json: str
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
    """The transitions of the episode logs, in the given order; whole sessions, about `holdout_share` of the rows, are held out.

    Steps of one session share a floor, a battery and an operator: held-out rows of a seen session flatter every estimate. Where
    there is only one session, whole episodes are held out and the report says so. DatasetError if there is nothing to learn from
    or nothing to hold out.
    """
    if not 0 <= holdout_share < 1:
        raise DatasetError(f"the share to hold out is {holdout_share:g}; it must be at least 0 and below 1")
    parts = read_all(episode_paths)
    if not any(map(len, parts)):
        dropped = ", ".join(f"{count:,} for {reason}" for reason, count in _dropped(parts).items())
        raise DatasetError(f"no step of {len(parts)} episode logs can be learnt from ({dropped}); see quadloop inspect")
    groups, holdout_by = holdout_groups(parts)
    lengths = np.array([len(part) for part in parts])
    taken = held_out_groups(np.bincount(groups, lengths), holdout_share, seed, FOR_TWO[holdout_by])
    held = np.isin(groups, list(taken))
    labels = np.repeat(groups[held], lengths[held])
    if holdout_by == "session":
        labels = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    layout = layout_from_json(parts[0].layout_json)
    return RobotDataset(_joined(parts, ~held), _joined(parts, held), labels, _report(parts, held, holdout_by), layout)


def read_all(episode_paths: Sequence[Path]) -> list[UsableRows]:
    """The usable rows of every episode log; DatasetError if there is none, or if one cannot be learnt from together with the first."""
    if not episode_paths:
        raise DatasetError("no episode logs to build a data set from")
    return [usable_rows(episode) for episode in read_together(episode_paths)]


def read_together(episode_paths: Sequence[Path]) -> Iterator[Episode]:
    """The episodes one by one; DatasetError for one that cannot be learnt from, or not together with the first, or that came before."""
    first = None
    for path, episode in of_one_kind((path, read_episode(path)) for path in episode_paths):
        first = first or episode.attributes
        _check_belongs(path, episode, episode_paths[0], first)
        yield episode


def of_one_kind(found: Iterable[tuple[Path, Episode]]) -> Iterator[tuple[Path, Episode]]:
    """Episodes with the files that they are from, one by one; DatasetError for one of a replayed walk, of another kind of robot than the
    first, simulated or real, or that came before."""
    first: tuple[Path, str] | None = None
    known: dict[int, Path] = {}
    for path, episode in found:
        source = episode.attributes.source
        first = first or (path, source)
        _check_source(path, source, *first)
        for row in _rows(episode):
            if (before := known.setdefault(row, path)) is not path:
                raise DatasetError(f"{path}: steps of the same walk as {before}; they would be learnt from and held out too, leave one out")
        yield path, episode


def _rows(episode: Episode) -> Iterator[int]:
    """A hash of what the joints did in each row: no two walks have that in common to the last bit, but a copy has, cut and renamed as it
    may be."""
    columns = (episode.joint_pos, episode.joint_vel, episode.joint_torque, episode.actions)
    return (int.from_bytes(sha256(row.tobytes()).digest()[:8], "little") for row in np.concatenate(columns, axis=1))


def _check_belongs(path: Path, episode: Episode, first_path: Path, first: EpisodeAttributes) -> None:
    if lacking := [name for name in LEARNT_FROM if name in episode.missing]:
        raise DatasetError(f"{path}: has no {', '.join(lacking)}, which is learnt from; leave the log out")
    if episode.attributes.layout_json != first.layout_json:
        raise DatasetError(f"{path}: another observation layout than {first_path}; build a data set of each")


def _check_source(path: Path, source: str, first_path: Path, first: str) -> None:
    if source.startswith(REPLAY):
        raise DatasetError(f"{path}: of a replayed walk, in which no action led to anything; leave it out")
    if (simulated := is_simulated(source)) != is_simulated(first):
        one, other = (path, first_path) if simulated else (first_path, path)
        raise DatasetError(f"{one} is of the simulated robot, {other} of a real one; keep their logs in folders of their own")


def usable_rows(recorded: Episode) -> UsableRows:
    """The rows of an episode that say what an action in a state led to, one control period later.

    next_observations is the next recorded history even where the row between was dropped. A fall is kept even if the velocity
    was not measured there: its reward is off by 0.03 at most, but without the fall a learner would be off by a whole future.
    """
    episode = without_unreadable_end(recorded)
    left_out = _left_out(episode)
    keep = _none_of(left_out)
    size = episode.final_observation.size
    truncated = episode.truncated[keep]
    if len(truncated):  # where the recorded end was dropped, the last kept row still has a future
        truncated[-1] = not episode.terminated[keep][-1]
    return UsableRows(
        session=episode.attributes.session,
        layout_json=episode.attributes.layout_json,
        observations=episode.observations[keep].reshape(-1, size),
        next_observations=_following(episode)[keep].reshape(-1, size),
        actions=episode.actions[keep],
        rewards=episode.rewards[keep],
        terminated=episode.terminated[keep],
        truncated=truncated,
        dropped=+Counter({reason: int(rows.sum()) for reason, rows in left_out.items()} | {UNREADABLE_END: len(recorded) - len(episode)}),
        falls_without_velocity=int((~episode.reward_measured & episode.terminated & keep).sum()),
    )


def is_usable(episode: Episode) -> BoolArray:
    """Whether each row (T,) can be learnt from, of an episode without an unreadable end."""
    return _none_of(_left_out(episode))


def _none_of(left_out: dict[str, BoolArray]) -> BoolArray:
    return np.asarray(~np.any(list(left_out.values()), axis=0))


def _left_out(episode: Episode) -> dict[str, BoolArray]:
    """Why rows (T,) cannot be learnt from; each for one reason, the first that it has."""
    passed_s = _until_next_s(episode)
    reasons = {
        NO_HISTORY: ~episode.observations.any(axis=(1, 2)),
        VELOCITY_GLITCH: ~episode.reward_measured & ~episode.terminated,
        MISSED_PERIOD: passed_s > GAP_PERIODS * episode.attributes.control_dt_s,
        OUT_OF_ORDER: (passed_s < 0) | _breaks_off(episode),
    }
    left = np.ones(len(episode), dtype=np.bool_)
    found: dict[str, BoolArray] = {}
    for reason, rows in reasons.items():
        found[reason], left = rows & left, left & ~rows
    return found


def _until_next_s(episode: Episode) -> Float64Array:
    """Seconds (T,) until the next row by the stamps; NaN of the last row and without stamps."""
    with np.errstate(over="ignore", invalid="ignore"):  # of stamps that are no times
        return np.diff(episode.stamp_s, append=np.nan)


def _breaks_off(episode: Episode) -> BoolArray:
    """Whether (T,) what follows a row does not go on from it: older frames are the row's own newer ones, and the last action is its own.

    Such rows alone are left out: on either side of a place where a log was put together its steps are what they say. A terminated row has
    no future to be wrong about, and after a fall what followed may have been no reading.
    """
    following = _following(episode)
    other_frames = (following[:, :-1] != episode.observations[:, 1:]).any(axis=(1, 2))
    other_action = (following[:, -1, GO1_LAYOUT.slice_of("last_action")] != episode.actions).any(axis=1)
    return np.asarray((other_frames | other_action) & ~episode.terminated)


def _following(episode: Episode) -> Float32Array:
    """The recorded histories (T, 5, 58) after each row."""
    return np.concatenate([episode.observations[1:], episode.final_observation[None]])


def holdout_groups(parts: Sequence[UsableRows]) -> tuple[NDArray[np.int64], HoldoutBy]:
    """What of the E episodes can only be held out together (E,): sessions, as they were first met, or each for itself if there is but one.

    Sessions without a usable row do not count.
    """
    if len({part.session for part in parts if len(part)}) < 2:
        return np.arange(len(parts)), "episode"
    sessions = list(dict.fromkeys(part.session for part in parts))
    return np.array([sessions.index(part.session) for part in parts]), "session"


def held_out_groups(sizes: NDArray[Any], share: float, seed: int, for_two: int) -> frozenset[int]:
    """Which of G groups of so many rows (G,) to hold out: in random order, each taken if the held-out rows stay within `share` of all.

    At least the smallest one, of `for_two` groups with rows the two smallest, even if that is more than `share`. DatasetError if
    there is one group only.
    """
    if share == 0:
        return frozenset()
    groups = np.flatnonzero(sizes)
    if len(groups) < 2:
        raise DatasetError("only one episode log holds usable steps, so none can be held out; add another episode")
    budget, taken = share * sizes.sum(), set()
    for group in np.random.default_rng(seed).permutation(groups).tolist():
        if sizes[group] <= budget:
            taken.add(group)
            budget -= sizes[group]
    smallest = [group for group in groups[np.argsort(sizes[groups], kind="stable")].tolist() if group not in taken]
    missing = (2 if len(groups) >= for_two else 1) - len(taken)
    return frozenset(taken.union(smallest[: max(missing, 0)]))


def _joined(parts: Sequence[UsableRows], wanted: BoolArray) -> Transitions:
    chosen = [part for part, want in zip(parts, wanted, strict=True) if want and len(part)]

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


def _report(parts: Sequence[UsableRows], held: BoolArray, holdout_by: HoldoutBy) -> DatasetReport:
    held_out = [part for part, out in zip(parts, held, strict=True) if out]
    learnt_from = [part for part, out in zip(parts, held, strict=True) if not out and len(part)]
    dropped, holdout_steps = _dropped(parts), sum(map(len, held_out))
    kept = sum(map(len, parts))
    return DatasetReport(
        sessions=tuple(dict.fromkeys(part.session for part in parts)),
        train_sessions=tuple(dict.fromkeys(part.session for part in learnt_from)),
        holdout_sessions=tuple(dict.fromkeys(part.session for part in held_out)) if holdout_by == "session" else (),
        holdout_by=holdout_by,
        episodes=len(parts),
        steps=kept + dropped.total(),
        train_steps=kept - holdout_steps,
        holdout_steps=holdout_steps,
        falls=sum(int(part.terminated.sum()) for part in parts),
        falls_without_velocity=sum(part.falls_without_velocity for part in parts),
        dropped=dict(dropped),
    )


def _dropped(parts: Sequence[UsableRows]) -> Counter[str]:
    return sum((part.dropped for part in parts), Counter())
